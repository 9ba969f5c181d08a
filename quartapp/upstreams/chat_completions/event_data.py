"""Errors outside of chunks, and chunks whose bytes are passed on: their text, their state and their model's name."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Final

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import Raw
from quartapp.protocols.chat_completions.chunk import ChunkDelta, CompletionChunk, StreamedChoice
from quartapp.upstreams.chat_completions.loose import OddChunk, is_old_call
from quartapp.upstreams.common.failures import from_error_object
from quartapp.upstreams.common.lenient_json import parse, parsed, to_text
from quartapp.upstreams.common.marks import Origin

#: Kinds of text in deltas that a final message may repeat.
TEXT_KINDS: Final = ("text", "thought", "refusal")


def is_error_event(line: bytes, was_error: bool) -> bool:
    """Return whether the event is named `error` after a line of any field; `was_error` is the same before it.

    Raises ChatError for an `error` field, which llama.cpp once sent. So it does for JSON outside of a field, and for a
    carriage return inside a line.
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
    """Return the error in `data`, which is an error object or any text."""
    try:
        return from_error_object(parse(data))
    except (ValueError, RecursionError):
        return ChatError("upstream_error")


def is_marked(chunk: CompletionChunk, origin: Origin) -> bool:
    """Return whether state in a chunk of `origin` gets a mark, so that the chunk must be changed."""
    for choice in chunk.choices:
        for holder in (choice.delta, *(choice.delta.tool_calls or ())):
            if holder.has_state and origin.mark(state := holder.state) is not state:
                return True
    return False


def has_tool_calls(odd: OddChunk, place: int) -> bool:
    """Return whether the choice at `place` has tool calls, and not the older `function_call`."""
    choice = odd.document["choices"][place]
    return not is_old_call(choice.get("delta") or choice.get("message") or {})


def drop_from(delta: ChunkDelta, streamed: Container[str]) -> None:
    """Drop the kinds of text in `streamed`. After a text, thought and refusal are dropped too."""
    has_text = "text" in streamed
    delta.content = None if has_text else delta.content
    if has_text or "thought" in streamed:
        delta.reasoning_content = delta.reasoning_details = None
    if has_text or "refusal" in streamed:
        delta.refusal = None


def check_utf8(payload: bytes) -> None:
    """Raise ChatError, upstream_error, for bytes that are not UTF-8."""
    try:
        _ = payload.isascii() or payload.decode()
    except UnicodeDecodeError as error:
        raise ChatError("upstream_error") from error


def raw(payload: bytes, choices: Sequence[StreamedChoice]) -> Raw:
    """Return the event of an encoded chunk with these choices."""
    if len(choices) == 1 and not (choices[0].index or choices[0].finish_reason):
        return Raw(payload, choices[0].delta.all_text)
    return Raw(payload, choices=choices)


class ModelRenamer:
    """A replacement of the model's name in encoded chunks, without parsing most of them."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._ours = b'"model":' + msgspec.json.encode(model)
        self._theirs = self._ours
        self._their_head = self._our_head = b"{" + self._ours  # the last chunk's beginning, up to the name

    def rename(self, payload: bytes) -> bytes:
        if payload.startswith(self._their_head):
            return self._our_head + payload[len(self._their_head) :]
        at = payload.find(self._theirs)
        if at < 0:
            found = _MODEL.search(payload)
            if found is None:
                return self._rename_by_parsing(payload)
            at, self._theirs = found.start(), found.group()
        end = at + len(self._theirs)
        # The name is the chunk's own if only the chunk closes after it, or only the chunk opens before it.
        if payload.count(b"}", end) == 1:
            return payload[:at] + self._ours + payload[end:]
        if payload.count(b"{", 0, at) > 1:
            return self._rename_by_parsing(payload)
        self._their_head, self._our_head = payload[:end], payload[:at] + self._ours
        return self._our_head + payload[end:]

    def _rename_by_parsing(self, payload: bytes) -> bytes:
        document = parsed(payload)
        return to_text(document | {"model": self._model}).encode() if "model" in document else payload


# These quotes cannot be inside a JSON string, because they would be escaped there.
_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
