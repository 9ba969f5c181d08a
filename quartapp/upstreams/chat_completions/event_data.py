"""The data of an event: JSON, in whatever form, or what stands in its place."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, Final

from quartapp.core.errors import ChatError
from quartapp.core.events import Raw
from quartapp.upstreams.chat_completions.loose import Odd, is_old_call, parse
from quartapp.upstreams.chat_completions.strict import Call, Choice, Chunk, ChunkDelta
from quartapp.upstreams.common.failures import from_error_object
from quartapp.upstreams.common.marks import Origin

#: What deltas of a choice may have said before its final message.
KINDS: Final = ("text", "thought", "refusal")

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


def is_marked(chunk: Chunk, origin: Origin) -> bool:
    """Return whether state in a chunk of `origin` gets a mark, and so cannot be passed on unchanged."""
    for choice in chunk.choices:
        for holder in (choice.delta, *(choice.delta.tool_calls or ())):
            if holder.has_state and origin.mark(state := holder.state) is not state:
                return True
    return False


def has_tool_calls(odd: Odd, place: int) -> bool:
    """Return whether the choice there has calls of tools, and not the call of a function as it was before tools."""
    choice = odd.document["choices"][place]
    return not is_old_call(choice.get("delta") or choice.get("message") or {})


def drop_from(delta: ChunkDelta, streamed: Container[str]) -> None:
    """Drop the kinds of text that were `streamed`. After a text, a thought and a refusal were told too."""
    has_text = "text" in streamed
    delta.content = None if has_text else delta.content
    if has_text or "thought" in streamed:
        delta.reasoning_content = delta.reasoning_details = None
    if has_text or "refusal" in streamed:
        delta.refusal = None


def check_utf8(payload: bytes) -> None:
    """Raise ChatError, upstream_error, for bytes that are no UTF-8."""
    try:
        _ = payload.isascii() or payload.decode()
    except UnicodeDecodeError as error:
        raise ChatError("upstream_error") from error


def raw(payload: bytes, choices: Sequence[Choice]) -> Raw:
    """Return a chunk of those choices as an event."""
    if len(choices) == 1 and not (choices[0].index or choices[0].finish_reason):
        return Raw(payload, text_in_delta(choices[0].delta))
    return Raw(payload, choices=choices)


def text_in_delta(delta: ChunkDelta) -> str:
    """Return all that a chunk adds to a choice: thought, text, refusal and the arguments of calls, in this order."""
    thought = delta.reasoning_content or delta.reasoning or (delta.reasoning_details and delta.thought)
    text = (delta.content or "") if not thought else thought + (delta.content or "")
    if delta.refusal:
        text += delta.refusal
    return text + "".join(map(arguments_in, delta.tool_calls)) if delta.tool_calls else text


def arguments_in(call: Call) -> str:
    """Return what a fragment adds to the arguments of a call."""
    if call.function is not None:
        return call.function.arguments or ""
    return (call.custom and call.custom.input) or ""
