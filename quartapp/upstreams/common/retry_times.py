"""The time to wait before a retry, from the headers and error fields of many servers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

_MAX_S: Final = 86_400
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


def retry_after_s(headers: Mapping[str, str], error: Mapping[str, Any]) -> int | None:
    """Return the seconds to wait before a retry, rounded up and at most a day; None if the server sends no time.

    `headers` have lower-case names. A moment counts from the response's own `date`, so that no clock is needed.
    """
    seconds = next(_times(headers, error), None)
    return None if seconds is None else min(math.ceil(seconds), _MAX_S)


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
