"""The fields of an error that clients receive: a listed code, or one of the host app."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.errors import ChatError, Code, UpstreamFault
from quartapp.protocols.chat_completions.encode import OPENAI_CODES

KEY = "sk-canary-7f3a9b1c2d4e5f60"
PROMPT = "the prompt nobody may read"
PROTOCOL = Path(__file__).parents[3] / "docs" / "reference" / "protocol.md"


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
        ChatError("over_quota")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"no code 'rate_limit'; .* for example 'rate_limited'"):
        ChatError("rate_limit")  # type: ignore[call-overload]
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


# -- codes of the host app


def test_a_code_of_the_host_app_has_a_message_and_a_status() -> None:
    error = ChatError("brand_unsafe", message="This answer was stopped.", status=451, retry_after_s=3)
    assert (error.code, error.message, error.sentence) == ("brand_unsafe", *["This answer was stopped."] * 2)
    assert (error.status, error.retry_after_s) == (451, 3)
    assert ChatError("brand_unsafe", message="This answer was stopped.").status == 400


@pytest.mark.parametrize("code", ["", "Brand", "1st", "_own", "own-code", "own code", "own\n", "é", "a" * 65])
def test_a_code_consists_of_letters_digits_and_underscores(code: str) -> None:
    with pytest.raises(ValueError, match="is no code: it has 1 to 64 of a-z, 0-9 and _"):
        ChatError(code, message="This answer was stopped.")


@pytest.mark.parametrize("message", ["", " ", "a\nb", "\x00", "a" * 501])
def test_a_message_is_one_printable_line(message: str) -> None:
    with pytest.raises(ValueError, match="the message of 'own' has 1 to 500 printable characters"):
        ChatError("own", message=message)


@pytest.mark.parametrize("status", [0, 200, 302, 399, 600])
def test_the_status_of_an_own_code_is_one_of_an_error(status: int) -> None:
    with pytest.raises(ValueError, match=f"from 400 to 599, not {status}"):
        ChatError("own", message="No.", status=status)


@pytest.mark.parametrize("fields", [{"message": "No."}, {"status": 400}, {"message": "No.", "status": 418}])
def test_a_listed_code_keeps_its_message_and_status(fields: Any) -> None:
    with pytest.raises(ValueError, match="'rate_limited' has a fixed message and status"):
        ChatError("rate_limited", **fields)
