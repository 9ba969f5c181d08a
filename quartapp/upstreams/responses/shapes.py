"""What OpenAI's Responses API sends, decoded into the few fields that matter.

What is dear to decode and rarely needed is left as it came. An event or an item of a kind that is not known here may be
of any shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import Delta, Reasoning, Refusal
from quartapp.upstreams.chat_completions.attached import Picture
from quartapp.upstreams.chat_completions.loose import parse
from quartapp.upstreams.chat_completions.strict import REFUSALS

TextPiece = type[Delta] | type[Reasoning] | type[Refusal]

#: What an item is known by.
Name = int | str | None

Json = bytes | bytearray | msgspec.Raw
T = TypeVar("T")

_NOTHING: Final = msgspec.Raw(b"null")


class TextKind(Enum):
    """What a text is."""

    ANSWER = auto()
    REFUSAL = auto()
    THOUGHT = auto()
    SUMMARY = auto()


#: What a text is told as.
PIECES: Final[Mapping[TextKind, TextPiece]] = {
    TextKind.ANSWER: Delta,
    TextKind.REFUSAL: Refusal,
    TextKind.THOUGHT: Reasoning,
    TextKind.SUMMARY: Reasoning,
}


class Place(NamedTuple):
    """Which item an event speaks of: its number in the output, and its id. Servers leave out either, or both."""

    number: int | None = None
    id: str | None = None

    @property
    def name(self) -> Name:
        return self.id or None if self.number is None else self.number


# -- items


class Part(msgspec.Struct, gc=False):
    """A part of a message, of its reasoning or of the summary of that."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: Any = None


class Message(msgspec.Struct):
    """What the model says."""

    id: str | None = None
    content: list[Part] | None = None


class Thinking(msgspec.Struct):
    """What the model thinks, or a summary of it. If it is encrypted, `item` is all of it, for the next request."""

    id: str | None = None
    content: list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None
    item: dict[str, Any] | None = None


class Call(msgspec.Struct):
    """A tool that the model calls. `call_id` is what its result is told by; some tools take text (`input`)."""

    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    type: str | None = None

    @property
    def kind(self) -> str | None:
        """The kind of the events that tell of it."""
        return "custom" if self.type == "custom_tool_call" else None


Item = Message | Thinking | Call | Picture

# -- events


class Event(msgspec.Struct, gc=False):
    """An event of any kind."""

    type: str = ""
    delta: str | None = None
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    summary_index: int | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    item: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING
    error: Any = None
    code: Any = None
    message: Any = None
    annotation: Any = None

    @property
    def place(self) -> Place:
        return Place(self.output_index, self.item_id or None)

    @property
    def part(self) -> int | None:
        """The number of the part within its item."""
        return self.summary_index if self.content_index is None else self.content_index


class Incomplete(msgspec.Struct, gc=False):
    """Why a response stops short."""

    reason: str | None = None


class Response(msgspec.Struct):
    """A response that has ended."""

    status: str | None = None
    output: list[msgspec.Raw] | None = None
    usage: Any = None
    error: Any = None
    incomplete_details: Incomplete | None = None


class _Typed(msgspec.Struct, gc=False):
    """Anything that says what it is."""

    type: str | None = None


#: The pieces of a text. OpenAI's events, and the one for reasoning of those who made a standard of them.
DELTAS: Final[Mapping[str, TextKind]] = {
    "response.output_text.delta": TextKind.ANSWER,
    "response.refusal.delta": TextKind.REFUSAL,
    "response.reasoning_text.delta": TextKind.THOUGHT,
    "response.reasoning_summary_text.delta": TextKind.SUMMARY,
    "response.reasoning.delta": TextKind.THOUGHT,
}

#: A text once more, whole.
PARTS: Final[Mapping[str, TextKind]] = {name.replace(".delta", ".done"): kind for name, kind in DELTAS.items()}

#: The end of a response, and its status where it does not say so itself.
ENDS: Final[Mapping[str, str]] = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
    "response.done": "completed",
}

ITEM_ADDED: Final = "response.output_item.added"
ITEM_DONE: Final = "response.output_item.done"
ARGUMENTS_DELTA: Final = "response.function_call_arguments.delta"
ARGUMENTS_DONE: Final = "response.function_call_arguments.done"
INPUT_DELTA: Final = "response.custom_tool_call_input.delta"
INPUT_DONE: Final = "response.custom_tool_call_input.done"
ANNOTATION: Final = "response.output_text.annotation.added"
ERROR: Final = "error"

_KNOWN: Final = frozenset(
    {*DELTAS, *PARTS, *ENDS, ITEM_ADDED, ITEM_DONE, ARGUMENTS_DELTA, ARGUMENTS_DONE, INPUT_DELTA, INPUT_DONE, ERROR}
)

# -- decoding

_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_decode_typed: Final = msgspec.json.Decoder(_Typed).decode
_decode_response: Final = msgspec.json.Decoder(Response).decode
_decode_call: Final = msgspec.json.Decoder(Call).decode
_decode_item: Final[Mapping[str, Callable[[Json], Item]]] = {
    "message": msgspec.json.Decoder(Message).decode,
    "reasoning": msgspec.json.Decoder(Thinking).decode,
    "function_call": _decode_call,
    "custom_tool_call": _decode_call,
    "image_generation_call": msgspec.json.Decoder(Picture).decode,
}


def read_event(payload: bytes) -> Event | None:
    """The event of a `data` line, None for `[DONE]`. Raises ChatError: upstream_error."""
    try:
        return _decode_event(payload)
    except REFUSALS:
        if payload.strip() == b"[DONE]":
            return None
    kind = _decoded(_decode_typed, payload).type
    if kind and kind not in _KNOWN:
        return Event(type=kind)
    return _decoded(_decode_event, payload)


def read_item(item: msgspec.Raw) -> Item | None:
    """An item of the output; None for one that an answer cannot tell. Raises ChatError: upstream_error."""
    decode = _decode_item.get(_decoded(_decode_typed, item).type or "")
    read = None if decode is None else _decoded(decode, item)
    if isinstance(read, Thinking):
        read.item = _decoded(_decode_object, item) if read.encrypted_content else None
    return read


def read_response(response: Json) -> Response:
    """A response that has ended. Raises ChatError: upstream_error."""
    return _decoded(_decode_response, response)


def _decoded(decode: Callable[[Json], T], payload: Json) -> T:
    """Decodes JSON as servers write it: half a surrogate pair, say, is none to the decoder."""
    try:
        return decode(payload)
    except REFUSALS:
        pass
    try:
        return decode(json.dumps(parse(bytes(payload))).encode())
    except (ValueError, *REFUSALS) as error:
        raise ChatError("upstream_error") from error
