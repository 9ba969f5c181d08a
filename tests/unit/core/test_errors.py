"""The fields of an error that clients receive, and those that the log contains."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.errors import ChatError, Code, UpstreamFault, describe
from quartapp.protocols.chat_completions.encode import OPENAI_CODES

KEY = "sk-canary-7f3a9b1c2d4e5f60"
PROMPT = "the prompt nobody may read"
PROTOCOL = Path(__file__).parents[3] / "docs" / "reference" / "protocol.md"


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


# -- the error that a client receives


@pytest.mark.parametrize("code", KINDS)
def test_each_code_has_a_status_and_one_plain_sentence(code: Code) -> None:
    error = ChatError(code, path="messages.0", retry_after_s=3, fault=UpstreamFault(message=f"{KEY} {PROMPT}"))
    assert 400 <= error.status <= 504
    assert re.fullmatch(r"[A-Z][A-Za-z0-9'/;,_ -]+\.", error.message)
    assert KEY not in f"{error} {error!r}"
    assert PROMPT not in f"{error} {error!r}"


def test_the_page_of_the_contract_lists_each_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| ([^|]+?) \|$", PROTOCOL.read_text(encoding="utf-8"), re.MULTILINE)
    assert {code: (int(status), message) for code, status, message in rows} == dict(KINDS)


def test_only_known_codes_are_taken_by_type_and_at_run_time() -> None:
    with pytest.raises(ValueError, match=r"ChatError has no code 'over_quota'; .* lists them, for example '"):
        ChatError("over_quota")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no code 'rate_limit'; .* for example 'rate_limited'"):
        ChatError("rate_limit")  # type: ignore[arg-type]
    assert list(get_args(Code)) == list(KINDS)


def test_headers_are_the_errors_own() -> None:
    headers = {"Allow": "POST"}
    error = ChatError("method_not_allowed", headers=headers)
    error.headers["Allow"] = "GET"
    assert headers == {"Allow": "POST"}
    assert ChatError("not_found").headers == {}


def test_the_page_of_the_contract_lists_each_of_openais_codes() -> None:
    table = (
        PROTOCOL.read_text(encoding="utf-8")
        .partition("<!-- openai codes -->")[2]
        .partition("<!-- /openai codes -->")[0]
    )
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", table, re.MULTILINE)) == dict(OPENAI_CODES)


# -- the fields in the log


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
    assert re.fullmatch(r".*test_errors\.py:\d+ crash", fields["at"][-1])
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
