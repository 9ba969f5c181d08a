"""The fields of an error that the log contains, without text that may quote a prompt."""

from __future__ import annotations

import json
import re

import pytest

from quartapp.core.error_log import describe
from quartapp.core.errors import ChatError, Code, UpstreamFault

KEY = "sk-canary-7f3a9b1c2d4e5f60"
PROMPT = "the prompt nobody may read"


def raised_from(cause: BaseException, code: Code = "upstream_error") -> ChatError:
    try:
        raise ChatError(code) from cause
    except ChatError as error:
        return error


def crash() -> None:
    raise ValueError(f"{KEY} {PROMPT}")


def crashed() -> ValueError:
    with pytest.raises(ValueError, match=KEY) as raised:
        crash()
    return raised.value


def test_the_log_contains_the_code_and_no_field_that_does_not_apply() -> None:
    assert describe(ChatError("not_found")) == {"error": "not_found"}
    assert describe(ChatError("invalid_request", path="messages")) == {"error": "invalid_request", "path": "messages"}


def test_the_log_contains_the_types_of_all_causes_and_no_messages() -> None:
    inner = crashed()
    outer = ConnectionError(f"{KEY} {PROMPT}")
    outer.__cause__ = inner
    fields = describe(raised_from(outer), with_message=True)
    assert fields == {"error": "upstream_error", "causes": ["ConnectionError", "ValueError"]}


def test_an_exception_without_a_cause_is_described_by_its_context() -> None:
    outer = ConnectionError()
    outer.__context__ = TimeoutError()
    assert describe(raised_from(outer))["causes"] == ["ConnectionError", "TimeoutError"]


def test_causes_that_go_round_in_a_circle_come_to_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert describe(raised_from(first))["causes"] == ["ValueError", "KeyError"] * 4


def test_an_internal_error_is_described_with_its_place() -> None:
    fields = describe(raised_from(crashed(), "internal_error"))
    assert fields["causes"] == ["ValueError"]
    assert re.fullmatch(r".*test_error_log\.py:\d+ crash", fields["at"][-1])
    assert KEY not in json.dumps(fields)
    assert PROMPT not in json.dumps(fields)


def test_the_frames_of_an_internal_error_are_the_innermost() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            crash()
        deeper(depth - 1)

    with pytest.raises(ValueError, match=KEY) as raised:
        deeper(30)
    frames = describe(raised_from(raised.value, "internal_error"))["at"]
    assert len(frames) < 12
    assert frames[-1].endswith(" crash")


FAULT = UpstreamFault(429, "rate_limit_error", "rate_limit_exceeded", "req_1", f"You are {KEY}: {PROMPT}")


def test_the_upstreams_failure_is_described_by_its_names() -> None:
    assert describe(ChatError("upstream_busy", fault=FAULT))["upstream"] == {
        "status": 429,
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "request_id": "req_1",
    }
    assert describe(ChatError("upstream_error", fault=UpstreamFault()))["upstream"] == {}


def test_the_upstreams_message_is_logged_only_on_request_and_without_keys() -> None:
    fields = describe(ChatError("upstream_busy", fault=FAULT), with_message=True)
    assert fields["upstream"]["message"] == f"You are ***: {PROMPT}"


@pytest.mark.parametrize(
    "sentence",
    [
        f"Incorrect API key provided: {KEY}.",
        f"key={KEY}",
        f"'{KEY}'",
        f'{{"api_key":"{KEY}"}}',
        f"https://models.example/v1?key={KEY}&alt=sse",
        f"Bearer {KEY},",
        f"Authorization: Bearer {KEY}\r\nHost: x",
        f"{KEY}{KEY}",
        f"({KEY})",
        f"`{KEY}`\u2028",
    ],
)
def test_a_key_is_masked_in_any_place(sentence: str) -> None:
    fault = UpstreamFault(message=sentence)
    message = describe(ChatError("upstream_refused", fault=fault), with_message=True)["upstream"]["message"]
    assert "***" in message
    assert "canary" not in message


def test_words_are_not_masked() -> None:
    sentence = "This model's maximum context length is 128000 tokens; characteristically_long_words stay."
    fault = UpstreamFault(message=sentence)
    assert describe(ChatError("context_too_long", fault=fault), with_message=True)["upstream"]["message"] == sentence


@pytest.mark.parametrize("sentence", ["a" * 300_000, "a." * 150_000 + " 1", "a-" * 7 + " " + "a" * 300_000])
def test_masking_a_long_sentence_takes_no_longer_than_reading_it(sentence: str) -> None:
    # What would look at each character for each character would outlast the test's time limit many times.
    fault = UpstreamFault(message=sentence)
    message = describe(ChatError("upstream_error", fault=fault), with_message=True)["upstream"]["message"]
    assert len(message) <= 500


def test_a_log_line_is_json() -> None:
    fault = UpstreamFault(500, "a", "b", "c", "line\nline\r\u2028\x1b[31m\x00\ud800")
    line = json.dumps(describe(ChatError("upstream_error", fault=fault), with_message=True))
    assert line.isprintable()
    assert len(line.splitlines()) == 1
