"""The data of an event: JSON, in whatever form, or what stands in its place."""

from __future__ import annotations

from typing import Any, Final

from quartapp.errors import ChatError
from quartapp.readers.failures import from_error_object
from quartapp.readers.loose import parse
from quartapp.readers.strict import Choice

_LINE_ENDS_TO_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")


class EventData:
    """The data of an event that has several `data` lines, from the first one to the blank line after the last.

    Many servers end an event at the end of its line, so a line that is JSON by itself is not added here. `lines` is
    empty between such events. It has no more than `max_bytes`.
    """

    def __init__(self, max_bytes: int) -> None:
        self.lines = bytearray()
        self._max_bytes = max_bytes

    def begin(self, payload: bytes) -> bool:
        """Keep the first line. Return False for a line that more lines cannot make an object or a list."""
        if payload.lstrip()[:1] not in (b"{", b"["):
            return False
        try:
            parse(payload)
        except RecursionError:
            return False
        except ValueError:
            self.lines += payload
        return bool(self.lines)

    def add(self, line: bytes) -> bytes | None:
        """Add a line of any field. Return the data once a blank line ends it: JSON, in one line.

        Raise ChatError, upstream_error, for data that is no JSON or is too long.
        """
        if not self.lines:
            return None
        if line.startswith(b"data:"):
            self.lines += b"\n" + line[5:]
            if len(self.lines) > self._max_bytes:
                raise ChatError("upstream_error")
        if line.rstrip(b"\r"):
            return None
        payload = bytes(self.lines)
        self.lines.clear()
        parsed(payload)
        return payload.translate(_LINE_ENDS_TO_SPACES)  # in JSON, line ends are white space and never in a text


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


def is_error_event(line: bytes, was_error: bool) -> bool:
    """Return whether the event is named `error` after a line of any field; `was_error` is the same before it.

    Raise ChatError for an error in a field of its own, as llama.cpp sent it once, for JSON that is in no field, and for
    a carriage return that would end a line where none ends here.
    """
    field, _, value = line.rstrip(b"\r").partition(b":")
    if field == b"event":
        return value.strip() == b"error"
    if field == b"error" or line.lstrip()[:1] in (b"{", b"["):
        raise error_in(value if field == b"error" else line)
    if b"\r" in field + value and field != b"data":
        raise ChatError("upstream_error")
    return was_error


def error_in(data: bytes) -> ChatError:
    """What `data` stands for, which may be an error object, or any words, where an error stands."""
    try:
        return from_error_object(parse(data))
    except (ValueError, RecursionError):
        return ChatError("upstream_error")


def plain_text(choice: Choice) -> str | None:
    """Return the text of the first choice if its chunk adds nothing else to it. Runs for each token."""
    delta = choice.delta
    if (
        choice.index
        or choice.finish_reason
        or delta.reasoning_content
        or delta.reasoning
        or delta.reasoning_details
        or delta.refusal
        or delta.tool_calls
        or delta.extra_content
        or delta.provider_specific_fields
        or delta.thinking_blocks
        or delta.audio
        or delta.images
        or delta.annotations
    ):
        return None
    return delta.content
