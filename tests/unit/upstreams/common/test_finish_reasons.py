"""Finish reasons: OpenAI's for those of any server, and the reasons that are failures."""

from __future__ import annotations

import pytest

from quartapp.core.errors import ChatError
from quartapp.upstreams.common.finish_reasons import read_finish_reason

READ = {
    **{reason: reason for reason in ("stop", "length", "tool_calls", "content_filter")},
    **dict.fromkeys(("STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE"), "stop"),
    **dict.fromkeys(("MAX_TOKENS", "max_tokens", "max_output_tokens", "model_length", "Length"), "length"),
    **dict.fromkeys(("tool_use", "function_call", "tool-calls", "TOOL_CALL"), "tool_calls"),
    **dict.fromkeys(("SAFETY", "recitation", "refusal", "content-filter", "content_filter: SAFETY"), "content_filter"),
    **{reason: reason for reason in ("pause_turn", "OTHER", "x", "a.b-c_1", "function_call_filter")},
    "function_call_filter: MALFORMED_FUNCTION_CALL": "function_call_filter",
    **dict.fromkeys(("two words", "a\nb", "é", "a" * 33, " ", ":", "<b>", "sk-canary-7f3a9b1c2d4e"), "other"),
}


@pytest.mark.parametrize("sent", ["null", "None", "NULL", "not_finished", "in_progress"])
def test_some_words_are_placeholders_for_a_finish_reason(sent: str) -> None:
    assert read_finish_reason(sent, has_calls=True) is None


@pytest.mark.parametrize(("sent", "reason"), READ.items())
def test_a_reason_is_one_of_openais_a_safe_name_or_other(sent: str, reason: str) -> None:
    assert read_finish_reason(sent, has_calls=False) == reason


@pytest.mark.parametrize(
    ("sent", "reason"), [("stop", "tool_calls"), ("eos", "tool_calls"), ("length", "length"), ("other", "other")]
)
def test_an_answer_with_tool_calls_stops_for_them_and_for_nothing_else(sent: str, reason: str) -> None:
    assert read_finish_reason(sent, has_calls=True) == reason


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("error", "upstream_error"),
        ("ERROR", "upstream_error"),
        ("network_error", "upstream_error"),
        ("abort", "upstream_truncated"),
        ("cancelled", "upstream_truncated"),
        ("insufficient_system_resource", "upstream_overloaded"),
    ],
)
def test_some_ends_are_failures(sent: str, code: str) -> None:
    with pytest.raises(ChatError) as raised:
        read_finish_reason(sent, has_calls=False)
    assert raised.value.code == code
