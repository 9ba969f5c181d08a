"""The data of an event: JSON, in whatever form, or what stands in its place."""

from __future__ import annotations

from typing import Any

from quartapp.errors import ChatError
from quartapp.readers.failures import from_error_object
from quartapp.readers.loose import parse


def parsed(payload: bytes) -> Any:
    """Return the value of a chunk. Raise ChatError, upstream_error, for what is no JSON."""
    try:
        return parse(payload)
    except (ValueError, RecursionError) as error:
        raise ChatError("upstream_error") from error


def is_whole(line: bytes) -> bool:
    """Whether a line that no line feed ended was not cut, as far as that can be told."""
    field, _, value = line.partition(b":")
    if field != b"data" or value.strip() == b"[DONE]":
        return bool(line)
    try:
        parse(value)
    except (ValueError, RecursionError):
        return False
    return True


def error_in(data: bytes) -> ChatError:
    """What `data` stands for, which may be an error object, or any words, where an error stands."""
    try:
        return from_error_object(parse(data))
    except (ValueError, RecursionError):
        return ChatError("upstream_error")
