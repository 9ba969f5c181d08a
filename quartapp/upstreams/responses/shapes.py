"""Events and items of OpenAI's Responses API, decoded into the needed fields.

Rarely needed fields stay encoded, because decoding is expensive. Those of an unknown kind may have any shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import Delta, Reasoning, Refusal
from quartapp.upstreams.common.lenient_json import REFUSALS, parse

TextPiece = type[Delta] | type[Reasoning] | type[Refusal]

#: A number or an id of an item.
Name = int | str | None

Json = bytes | bytearray | msgspec.Raw
T = TypeVar("T")

_NOTHING: Final = msgspec.Raw(b"null")


class TextKind(Enum):
    """The kind of a text."""

    ANSWER = auto()
    REFUSAL = auto()
    THOUGHT = auto()
    SUMMARY = auto()


#: The event type of each kind of text.
PIECES: Final[Mapping[TextKind, TextPiece]] = {
    TextKind.ANSWER: Delta,
    TextKind.REFUSAL: Refusal,
    TextKind.THOUGHT: Reasoning,
    TextKind.SUMMARY: Reasoning,
}


class Place(NamedTuple):
    """The item of an event: its number in the output, and its id. Servers omit either or both."""

    number: int | None = None
    id: str | None = None

    @property
    def name(self) -> Name:
        return self.id or None if self.number is None else self.number


# -- items


class ItemPart(msgspec.Struct, gc=False):
    """A part of a message, of its reasoning or of a summary of that."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: Any = None


class MessageItem(msgspec.Struct):
    """A message of the model."""

    id: str | None = None
    content: list[ItemPart] | None = None


class ReasoningItem(msgspec.Struct):
    """Reasoning of the model, or a summary of it. If it is encrypted, `item` is all of it, for the next request."""

    id: str | None = None
    content: list[ItemPart] | None = None
    summary: list[ItemPart] | None = None
    encrypted_content: str | None = None
    item: dict[str, Any] | None = None


class CallItem(msgspec.Struct):
    """A tool call of the model. Its result refers to `call_id`. Some tools take text in `input`."""

    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    type: str | None = None

    @property
    def kind(self) -> str | None:
        """Return the kind of its events."""
        return "custom" if self.type == "custom_tool_call" else None


class ImageItem(msgspec.Struct):
    """An image from a tool of the server, in base64."""

    id: str | None = None
    result: str | None = None
    output_format: str | None = None
    content: None = None

    @property
    def url(self) -> str:
        return f"data:image/{self.output_format or 'png'};base64,{self.result}" if self.result else ""


Item = MessageItem | ReasoningItem | CallItem | ImageItem

# -- events


class ResponseEvent(msgspec.Struct, gc=False):
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
        """Return the number of the part within its item."""
        return self.summary_index if self.content_index is None else self.content_index


class IncompleteDetails(msgspec.Struct, gc=False):
    """The reason for an incomplete response."""

    reason: str | None = None


class EndedResponse(msgspec.Struct):
    """A response that has ended."""

    status: str | None = None
    output: list[msgspec.Raw] | None = None
    usage: Any = None
    error: Any = None
    incomplete_details: IncompleteDetails | None = None


class _Typed(msgspec.Struct, gc=False):
    """An object with a type."""

    type: str | None = None


#: Events with a delta of a text: OpenAI's, and the reasoning event of the Open Responses standard.
DELTAS: Final[Mapping[str, TextKind]] = {
    "response.output_text.delta": TextKind.ANSWER,
    "response.refusal.delta": TextKind.REFUSAL,
    "response.reasoning_text.delta": TextKind.THOUGHT,
    "response.reasoning_summary_text.delta": TextKind.SUMMARY,
    "response.reasoning.delta": TextKind.THOUGHT,
}

#: Events with a complete text.
PARTS: Final[Mapping[str, TextKind]] = {name.replace(".delta", ".done"): kind for name, kind in DELTAS.items()}

#: Events at the end of a response, and its status if the response has none.
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

_decode_event: Final = msgspec.json.Decoder(ResponseEvent).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_decode_typed: Final = msgspec.json.Decoder(_Typed).decode
_decode_response: Final = msgspec.json.Decoder(EndedResponse).decode
_decode_call: Final = msgspec.json.Decoder(CallItem).decode
_decode_item: Final[Mapping[str, Callable[[Json], Item]]] = {
    "message": msgspec.json.Decoder(MessageItem).decode,
    "reasoning": msgspec.json.Decoder(ReasoningItem).decode,
    "function_call": _decode_call,
    "custom_tool_call": _decode_call,
    "image_generation_call": msgspec.json.Decoder(ImageItem).decode,
}


def read_event(payload: bytes) -> ResponseEvent | None:
    """Return the event of a `data` line; None for `[DONE]`. Raises ChatError, upstream_error."""
    try:
        return _decode_event(payload)
    except REFUSALS:
        if payload.strip() == b"[DONE]":
            return None
    kind = _decoded(_decode_typed, payload).type
    if kind and kind not in _KNOWN:
        return ResponseEvent(type=kind)
    return _decoded(_decode_event, payload)


def read_item(item: msgspec.Raw) -> Item | None:
    """Return an item of the output; None for an item without a part in an answer. Raises ChatError, upstream_error."""
    decode = _decode_item.get(_decoded(_decode_typed, item).type or "")
    decoded = None if decode is None else _decoded(decode, item)
    if isinstance(decoded, ReasoningItem):
        decoded.item = _decoded(_decode_object, item) if decoded.encrypted_content else None
    return decoded


def read_response(response: Json) -> EndedResponse:
    """Return a response that has ended. Raises ChatError, upstream_error."""
    return _decoded(_decode_response, response)


def _decoded(decode: Callable[[Json], T], payload: Json) -> T:
    """Decode JSON as servers write it. The strict decoder rejects, for example, half a surrogate pair."""
    try:
        return decode(payload)
    except REFUSALS:
        pass
    try:
        return decode(json.dumps(parse(bytes(payload))).encode())
    except (ValueError, *REFUSALS) as error:
        raise ChatError("upstream_error") from error
