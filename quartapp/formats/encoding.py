"""Text and JSON as UTF-8, whatever a model says: half a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()


def to_utf8(text: str) -> bytes:
    """`text` in UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _whole_characters(text).encode()


def to_json(value: Any) -> bytes:
    """`value` as JSON, without a raw line end in it."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_mended(msgspec.to_builtins(value)))


def to_json_lines(values: Sequence[Any]) -> bytes:
    """Each of `values` as JSON and a line feed."""
    try:
        return _encoder.encode_lines(values)
    except UnicodeEncodeError:
        return b"".join([to_json(value) + b"\n" for value in values])


def _whole_characters(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return _whole_characters(value)
    if isinstance(value, dict):
        return {_mended(name): _mended(each) for name, each in value.items()}
    return [_mended(each) for each in value] if isinstance(value, list | tuple) else value
