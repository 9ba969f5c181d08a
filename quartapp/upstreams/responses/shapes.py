"""Events and items of OpenAI's Responses API, decoded into the needed fields.

Rarely needed fields stay encoded, because decoding is expensive. Those of an unknown kind may have any shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import Delta, Reasoning, Refusal
from quartapp.upstreams.common.lenient_json import REFUSALS, parsed

#: A number or an id of an item.
Name = int | str | None

Json = bytes | bytearray | msgspec.Raw
T = TypeVar("T")

_NOTHING: Final = msgspec.Raw(b"null")


TextPiece = type[Delta] | type[Reasoning] | type[Refusal]

THOUGHT: Final = "reasoning_text"
SUMMARY: Final = "reasoning_summary_text"

#: The kinds of texts by the API's names, with the type of their pieces.
PIECES: Final[Mapping[str, TextPiece]] = {
    "output_text": Delta,
    "refusal": Refusal,
    THOUGHT: Reasoning,
    SUMMARY: Reasoning,
}

# `reasoning` is the name in the Open Responses standard.
_KINDS: Final = {**{name: name for name in PIECES}, "reasoning": THOUGHT}

#: The kind of the text in events with a delta, and in events with a complete text.
DELTAS: Final[Mapping[str, str]] = {f"response.{name}.delta": kind for name, kind in _KINDS.items()}
PARTS: Final[Mapping[str, str]] = {f"response.{name}.done": kind for name, kind in _KINDS.items()}


class Place(NamedTuple):
    """The place of a text in the output: its item's number and id, and its part's number. Servers omit any of them."""

    number: int | None = None
    id: str | None = None
    part: int | None = None


# -- items


class ItemPart(msgspec.Struct, gc=False):
    """A part of a message, of its reasoning or of a summary of that."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: Any = None


class MessageItem(msgspec.Struct, tag="message"):
    """A message of the model."""

    id: str | None = None
    content: list[ItemPart] | None = None


class ReasoningItem(msgspec.Struct, tag="reasoning"):
    """Reasoning of the model, or a summary of it. If it is encrypted, `item` is all of it, for the next request."""

    id: str | None = None
    content: list[ItemPart] | None = None
    summary: list[ItemPart] | None = None
    encrypted_content: str | None = None
    item: dict[str, Any] | None = None


class CallItem(msgspec.Struct, tag="function_call"):
    """A tool call of the model. Its result refers to `call_id`. Some tools take text in `input`."""

    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class CustomCallItem(CallItem, tag="custom_tool_call"):
    """A call of a tool that takes text instead of JSON."""


class ImageItem(msgspec.Struct, tag="image_generation_call"):
    """An image from a tool of the server, in base64."""

    id: str | None = None
    result: str | None = None
    output_format: str | None = None

    @property
    def url(self) -> str:
        return f"data:image/{self.output_format or 'png'};base64,{self.result}" if self.result else ""


Item = MessageItem | ReasoningItem | CallItem | CustomCallItem | ImageItem
_ITEM_TYPES: Final = {"message", "reasoning", "function_call", "custom_tool_call", "image_generation_call"}

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
        part = self.summary_index if self.content_index is None else self.content_index
        return Place(self.output_index, self.item_id or None, part)


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


# -- decoding

_decode_event: Final = msgspec.json.Decoder(ResponseEvent).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_decode_typed: Final = msgspec.json.Decoder(_Typed).decode
_decode_response: Final = msgspec.json.Decoder(EndedResponse).decode
_decode_item: Final[Callable[[Json], Item]] = msgspec.json.Decoder(Item).decode


def read_event(payload: bytes, known: Container[str]) -> ResponseEvent | None:
    """Return the event of a `data` line; None for `[DONE]`. Raises ChatError, upstream_error.

    An event with a type that is not `known` may have any shape.
    """
    try:
        return _decode_event(payload)
    except REFUSALS:
        if payload.strip() == b"[DONE]":
            return None
    kind = _decoded(_decode_typed, payload).type
    if kind and kind not in known:
        return ResponseEvent(type=kind)
    return _decoded(_decode_event, payload)


def read_item(item: msgspec.Raw) -> Item | None:
    """Return an item of the output; None for an item without a part in an answer. Raises ChatError, upstream_error."""
    if _decoded(_decode_typed, item).type not in _ITEM_TYPES:
        return None
    decoded = _decoded(_decode_item, item)
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
        return decode(json.dumps(parsed(bytes(payload))).encode())
    except (ValueError, *REFUSALS) as error:
        raise ChatError("upstream_error") from error
