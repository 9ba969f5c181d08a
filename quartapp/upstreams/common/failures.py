"""Errors of servers, as our own error codes, with the time to wait before a retry."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from quartapp.core.error_log import masked
from quartapp.core.errors import ChatError, Code, UpstreamFault

MAX_ERROR_BODY_BYTES: Final = 65_536

_BY_STATUS: Final[Mapping[int, Code]] = {
    402: "upstream_unpaid",
    408: "upstream_error",
    429: "upstream_busy",
    503: "upstream_overloaded",
    529: "upstream_overloaded",
}
#: A retry may help after these and after 5xx, so the server's retry time is kept.
_MAY_PASS: Final = (408, 429)
_BY_NAME: Final[Mapping[str, Code]] = {
    **dict.fromkeys(("context_length_exceeded", "exceed_context_size_error"), "context_too_long"),
    **dict.fromkeys(("content_filter", "content_policy_violation"), "content_filtered"),
    **dict.fromkeys(("responsibleaipolicyviolation", "data_inspection_failed"), "content_filtered"),
    **dict.fromkeys(("image_content_policy_violation", "invalid_prompt"), "content_filtered"),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "rate_limit_reached_error"), "upstream_busy"),
    **dict.fromkeys(("insufficient_quota", "exceeded_current_quota_error"), "upstream_unpaid"),
    **dict.fromkeys(("too_many_requests", "resource_exhausted", "throttlingexception"), "upstream_busy"),
    "slow_down": "upstream_busy",
    **dict.fromkeys(("overloaded", "overloaded_error", "engine_overloaded_error"), "upstream_overloaded"),
    **dict.fromkeys(("service_unavailable", "unavailable", "serviceunavailableexception"), "upstream_overloaded"),
    **dict.fromkeys(("server_is_overloaded", "service_unavailable_error"), "upstream_overloaded"),
}
# Fields with the name of an error: OpenAI; Anthropic and vLLM; Google.
_NAMED_BY: Final = ("code", "type", "status")
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")

_NEVER_PASSES: Final = frozenset({"upstream_unpaid", "context_too_long"})
_BUSY: Final = frozenset({"upstream_busy", "upstream_overloaded"})
_TOO_LARGE: Final = 413
_TOO_LARGE_FOR_A_MINUTE = re.compile(r"\brequest too large\b", re.IGNORECASE)
# Statuses of invalid requests; 0 stands for an error in a stream, which has none.
_MAY_BE_TOO_LONG: Final = frozenset({0, 400, 413, 422, 429})
#: Messages of servers that have no error name for a context that is too long.
_TOO_LONG = re.compile(
    "|".join(
        (
            r"\bcontext[ _-]?(length|window|size|limit)\b",  # OpenAI, vLLM, SGLang, Mistral, llama.cpp, LM Studio
            r"\b(prompt|input|conversation|messages)( token count| length)? (is |are )?too (long|large)\b",  # Anthropic
            r"\binput token count\b.{0,80}\bexceeds\b",  # Gemini
            r"\bmaximum (prompt|input) length\b",  # xAI
            r"\bprompt exceeds\b",  # Zhipu
            r"\bmodel token limit\b",  # Moonshot
            r"\brange of input length\b",  # DashScope
            r"\breduce the length of (the|your) (messages|prompt|input)\b",  # Groq
            r"`inputs` tokens \+ `max_new_tokens` must be",  # Text Generation Inference
        )
    ),
    re.IGNORECASE,
)


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> ChatError:
    """Return the error of a response without success. Only the names and the message of `body` are read."""
    try:
        error = _error_object(msgspec.json.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = {}
    request_id = headers.get("x-request-id", "")
    fault = _fault(error, status, request_id if _SAFE.fullmatch(request_id) else None)
    code = (_by_name(error, fault.message, status) if status < 500 else None) or _by_status(status)
    may_pass = (status in _MAY_PASS or status >= 500) and code not in _NEVER_PASSES
    return ChatError(code, retry_after_s=_retry_after_s(headers, error) if may_pass else None, fault=fault)


def from_error_object(error: Any) -> ChatError:
    """Return the error of an object in a stream with a success status. `error` may have any type.

    Its names count as in an error response. A number in a name's place counts as the status.
    """
    error = _error_object(error)
    fault, status = _fault(error, None, None), _status_in(error)
    code = _by_name(error, fault.message, status) or _by_status(status)
    return ChatError(code, retry_after_s=_retry_after_s({}, error) if code in _BUSY else None, fault=fault)


def _error_object(document: Any) -> dict[str, Any]:
    """Return the object under `error`, or the document itself. Google sends a list with one document."""
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    return error if isinstance(error, dict) else document


def _by_name(error: Mapping[str, Any], message: str | None, status: int) -> Code | None:
    """Return the code for an error's names, or for its message if the names are ambiguous."""
    names = [error.get(name) for name in _NAMED_BY]
    known = [_BY_NAME[name.lower()] for name in names if isinstance(name, str) and name.lower() in _BY_NAME]
    code = known[0] if known else None
    if code == "upstream_busy" and (status == _TOO_LARGE or _TOO_LARGE_FOR_A_MINUTE.search(message or "")):
        return "context_too_long"  # larger than the token limit of a minute, so a retry cannot help
    if code is None and status in _MAY_BE_TOO_LONG and _TOO_LONG.search(message or ""):
        return "context_too_long"
    return code


def _by_status(status: int) -> Code:
    return _BY_STATUS.get(status) or ("upstream_refused" if 400 <= status < 500 else "upstream_error")


def _status_in(error: Mapping[str, Any]) -> int:
    """Return the status in an error's names; 0 if there is none."""
    numbers = [int(str(error[name])) for name in _NAMED_BY if re.fullmatch(r"[45]\d\d", str(error.get(name)))]
    return numbers[0] if numbers else 0


def _fault(error: Mapping[str, Any], status: int | None, request_id: str | None) -> UpstreamFault:
    messages = [error.get(name) for name in ("message", "error", "detail")]
    return UpstreamFault(
        status=status,
        type=_safe(error.get("type")),
        code=_safe(error.get("code")),
        request_id=request_id,
        message=next((message for message in messages if isinstance(message, str)), None),
    )


def _safe(value: Any) -> str | None:
    """Return `value` if it is a name and no key. Free text may quote a prompt."""
    text = str(value)
    return text if value is not None and _SAFE.fullmatch(text) and masked(text) == text else None


# -- the time to wait before a retry

_MAX_RETRY_AFTER_S: Final = 86_400
_IN_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
_RESET = re.compile(r"(x-ratelimit-reset|anthropic-ratelimit-(\w+)-reset)(-\w+)?")
_NUMBER = re.compile(r"\s*\d{1,13}(\.\d{1,12})?\s*", re.ASCII)
_DURATION = re.compile(
    r"\s*(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6}(?:\.\d{1,12})?)s)?(?:(\d{1,9}(?:\.\d{1,12})?)ms)?\s*",
    re.ASCII,
)
_UNITS_S: Final = (86_400, 3600, 60, 1, 0.001)
# A number above _EPOCH is Unix time in seconds; above _EPOCH_MS, in milliseconds.
_EPOCH: Final = 10**9
_EPOCH_MS: Final = 10**12


def _retry_after_s(headers: Mapping[str, str], error: Mapping[str, Any]) -> int | None:
    """Return the seconds to wait before a retry, rounded up and at most a day; None if the server sends no time.

    `headers` have lower-case names. A moment counts from the response's own `date`, so that no clock is needed.
    """
    seconds = next(_times(headers, error), None)
    return None if seconds is None else min(math.ceil(seconds), _MAX_RETRY_AFTER_S)


def _times(headers: Mapping[str, str], error: Mapping[str, Any]) -> Iterator[float]:
    for name in _IN_MILLISECONDS:
        if (milliseconds := _number(headers.get(name))) is not None:
            yield milliseconds / 1000
    if (seconds := _number(headers.get("retry-after"))) is not None:
        yield seconds
    if (seconds := _seconds_between(headers.get("date"), headers.get("retry-after"))) is not None:
        yield seconds
    yield from _retry_infos(error)
    if resets := _resets(headers):
        yield max(resets)


def _retry_infos(error: Mapping[str, Any]) -> Iterator[float]:
    """Yield the delays of Google's RetryInfo in the details of an error."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (seconds := _duration(delay)) is not None:
            yield seconds


def _resets(headers: Mapping[str, str]) -> list[float]:
    """Return the seconds until limits are full again: those of used-up limits, or of all if none is used up.

    A request that a used-up limit refused passes once that limit is full again.
    """
    found: list[tuple[float, bool]] = []
    for name, value in headers.items():
        if _RESET.fullmatch(name) and (seconds := _reset_s(value, headers.get("date"))):
            remaining = headers.get(name.replace("reset", "remaining"))
            found.append((seconds, _number(remaining) == 0))
    used_up = [seconds for seconds, is_used_up in found if is_used_up]
    return used_up or [seconds for seconds, _ in found]


def _reset_s(value: str, date: str | None) -> float | None:
    number = _number(value)
    if number is None:
        return _seconds_between(date, value) if "T" in value else _duration(value)
    if number < _EPOCH:
        return number
    now = _moment(date)
    moment = number / 1000 if number >= _EPOCH_MS else number
    # A date without a zone would count as local time, and `timestamp` fails for the year 1.
    return None if now is None or now.tzinfo is None else max(moment - now.timestamp(), 0)


def _duration(value: str) -> float | None:
    """Return the seconds of a duration as Go and Google write it: `6m0s`, `1.5s`, `120ms`."""
    found = _DURATION.fullmatch(value)
    if found is None or not any(found.groups()):
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS_S, strict=True) if part)


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value) else None


def _seconds_between(date: str | None, later: str | None) -> float | None:
    start, end = _moment(date), _moment(later)
    try:
        return None if start is None or end is None else max((end - start).total_seconds(), 0)
    except TypeError:  # one has a zone and the other has none
        return None


def _moment(date: str | None) -> datetime | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return parse(date or "")
        except (TypeError, ValueError, OverflowError):
            continue
    return None
