"""A fast decoder for chunks in OpenAI's form, and the corrections of chunks that are otherwise in it.

A well-formed chunk costs one decode. `loose` decodes the chunks that these types refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from quartapp.core.events import CALL_STATE, ToolCall
from quartapp.core.request import JsonObject, without
from quartapp.protocols.chat_completions.chunk import ChunkCall, CompletionChunk, Function, StreamedChoice, Word
from quartapp.protocols.chat_completions.encode import call_object
from quartapp.upstreams.common.lenient_json import REFUSALS
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.tool_calls import Fragment


class _SoundCall(msgspec.Struct, gc=False):
    index: int
    id: str | None = None
    type: Word | None = None
    function: Function | None = None


class _SoundDelta(msgspec.Struct, gc=False):
    content: str | None = None
    role: Word | None = None
    refusal: str | None = None
    tool_calls: list[_SoundCall] | None = None
    function_call: Annotated[dict[str, Any], msgspec.Meta(min_length=1)] | None = None


class _SoundChoice(msgspec.Struct, gc=False):
    delta: _SoundDelta
    index: int = 0
    finish_reason: str | None = None
    message: None = None


class _SoundChunk(msgspec.Struct, gc=False):
    """The fields that OpenAI's own clients need of a chunk, in the form that they need."""

    choices: list[_SoundChoice]
    error: None = None


decode: Final = msgspec.json.Decoder(CompletionChunk).decode
_decode_sound = msgspec.json.Decoder(_SoundChunk).decode


def is_sound(payload: bytes) -> bool:
    """Return whether OpenAI's own clients can read the chunk. They reject half a surrogate pair and NaN."""
    try:
        _decode_sound(payload)
    except REFUSALS:
        return False
    return True


def fragments_of(calls: list[ChunkCall], origin: Origin) -> list[Fragment]:
    """Return the fragments of tool calls in a chunk of `origin`. Empty text becomes None."""
    return [_fragment(call, origin) for call in calls]


def _fragment(call: ChunkCall, origin: Origin) -> Fragment:
    tool = call.custom or call.function
    return Fragment(
        index=None if call.index is msgspec.UNSET else call.index,
        id=call.id or None,
        name=(tool and tool.name) or None,
        arguments=call.arguments or None,
        is_custom=call.custom is not None,
        extra=origin.mark(call.state) if call.has_state else None,
    )


def mend_choice(choice: JsonObject, decoded: StreamedChoice, calls: list[ToolCall] | None) -> None:
    """Correct the finish reason and the calls of a choice that is otherwise sound."""
    if decoded.finish_reason or choice.get("finish_reason"):
        choice["finish_reason"] = decoded.finish_reason
    if calls:
        choice["delta"]["tool_calls"] = _call_objects(choice["delta"].get("tool_calls") or [], calls)
    elif calls is not None:
        choice["delta"].pop("tool_calls", None)


def _call_objects(sent: Sequence[JsonObject], calls: Sequence[ToolCall]) -> list[JsonObject]:
    """Return the calls, with their servers' other fields if each call can be matched."""
    if len(sent) != len(calls):
        return [call_object(call) for call in calls]
    extras = [without(each, _OF_CALLS) for each in sent]
    return [call_object(call) | extra for call, extra in zip(calls, extras, strict=True)]


_OF_CALLS: Final = frozenset({"index", "id", "type", "function", "custom"}) | CALL_STATE
