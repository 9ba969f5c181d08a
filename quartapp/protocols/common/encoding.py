"""Text and JSON as UTF-8. A lone surrogate, which UTF-8 cannot encode, becomes U+FFFD."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder().decode

_LINE_ENDS = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))


def to_utf8(text: str) -> bytes:
    """Encode `text` as UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def to_json(value: Any) -> bytes:
    """Encode `value` as JSON without raw line ends."""
    try:
        return _without_line_ends(_encoder.encode(value))
    except UnicodeEncodeError:
        return _without_line_ends(_mended(msgspec.to_builtins(value)))


def to_json_lines(values: Sequence[Any]) -> bytes:
    """Encode each of `values` as JSON, followed by a line feed."""
    try:
        return _without_line_ends(_encoder.encode_lines(values))
    except UnicodeEncodeError:
        return b"".join([to_json(value) + b"\n" for value in values])


def from_json(data: bytes) -> Any:
    """Decode JSON in UTF-8. A lone surrogate may be in it, escaped.

    Raises ValueError for invalid JSON, and RecursionError for JSON that is nested too deeply.
    """
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeError):
        return _decode(_mended(json.loads(data.decode())))


def _mended(value: Any) -> bytes:
    return to_utf8(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _without_line_ends(data: bytes) -> bytes:
    """Escape U+0085, U+2028 and U+2029, because many parsers end a line there, although JSON allows them."""
    if data.isascii():
        return data
    for character, escape in _LINE_ENDS:
        data = data.replace(character, escape)
    return data
