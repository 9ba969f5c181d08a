"""JSON as servers write it: with NaN, with half a surrogate pair, and with numbers of any size."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import msgspec

from quartapp.core.errors import ChatError
from quartapp.protocols.common.encoding import to_utf8

#: Errors of decoding a value of another type, or data that is no JSON.
REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_HALF_PAIR: Final = re.compile(rb"\\ud[89a-f]", re.IGNORECASE)


def parse(payload: bytes) -> Any:
    """Return the value of JSON in UTF-8. Raises ValueError and RecursionError.

    NaN and infinities become null. Half a surrogate pair becomes U+FFFD, because models cut characters in two.
    """
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        value = _decode(payload.decode())
    return _decode(to_utf8(to_text(value)).decode()) if _HALF_PAIR.search(payload) else value


def parsed(payload: bytes) -> Any:
    """Return the value of JSON in UTF-8. Raises ChatError, upstream_error, for anything else."""
    try:
        return parse(payload)
    except (ValueError, RecursionError) as error:
        raise ChatError("upstream_error") from error


def is_json(payload: bytes) -> bool:
    """Return whether `payload` is one complete JSON value."""
    try:
        parse(payload)
    except (ValueError, RecursionError):
        return False
    return True


def to_text(value: Any) -> str:
    """Return a value of `parse` as JSON, with numbers of any size. Raises RecursionError."""
    return _encode(value)


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


_decode: Final = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite).decode
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
