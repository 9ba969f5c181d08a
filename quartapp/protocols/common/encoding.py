"""Text and JSON as UTF-8, whatever a model says: half a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder().decode

_LINE_ENDS = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))


def to_utf8(text: str) -> bytes:
    """`text` in UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def to_json(value: Any) -> bytes:
    """`value` as JSON, without a raw line end in it."""
    try:
        return _without_line_ends(_encoder.encode(value))
    except UnicodeEncodeError:
        return _without_line_ends(_mended(msgspec.to_builtins(value)))


def to_json_lines(values: Sequence[Any]) -> bytes:
    """Each of `values` as JSON and a line feed."""
    try:
        return _without_line_ends(_encoder.encode_lines(values))
    except UnicodeEncodeError:
        return b"".join([to_json(value) + b"\n" for value in values])


def from_json(data: bytes) -> Any:
    """The value that JSON in UTF-8 tells, in which half a surrogate pair may stand escaped.

    Raises ValueError for what is not JSON, and RecursionError for what is nested too deeply.
    """
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeError):
        return _decode(_mended(json.loads(data.decode())))


def _mended(value: Any) -> bytes:
    return to_utf8(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _without_line_ends(data: bytes) -> bytes:
    """JSON may hold U+0085, U+2028 and U+2029 as they are, but many a reader of lines ends a line there."""
    if data.isascii():
        return data
    for character, escape in _LINE_ENDS:
        data = data.replace(character, escape)
    return data
