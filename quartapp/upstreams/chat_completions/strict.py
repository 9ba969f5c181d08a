"""A chunk of a chat completion in OpenAI's form, decoded into the needed fields.

A well-formed chunk costs one decode. `loose` decodes the chunks that these types refuse. OpenAI never fills a field of
the type None, so the decoder refuses a chunk with a value there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec

from quartapp.core.events import CALL_STATE, TURN_STATE, ToolCall
from quartapp.protocols.chat_completions.encode import call_object
from quartapp.protocols.common.documents import JsonObject
from quartapp.upstreams.common.lenient_json import REFUSALS
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.tool_calls import Fragment

_TEXT_NAMES: Final = ("text", "thinking", "content", "summary")


def text_in(value: Any) -> str:
    """Return the text in `value`: text, or an object or a list with text. Any other value has none."""
    return "".join(_texts(value, 0))


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for each in value:
            yield from _texts(each, depth + 1)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        yield from _texts(next((value[name] for name in _TEXT_NAMES if value.get(name)), None), depth + 1)


# Mistral nests text in an object in a list in an object in a list.
_MAX_DEPTH: Final = 6


# Some servers write an empty role or type for none. OpenAI's clients would read it as the value.
_Word = Annotated[str, msgspec.Meta(min_length=1)]


class ChunkFunction(msgspec.Struct, gc=False):
    """A call of a function: its name, and a fragment of its arguments."""

    name: str | None = None
    arguments: str | None = None


class ChunkCustom(msgspec.Struct, gc=False):
    """A call of a tool that takes text instead of JSON."""

    name: str | None = None
    input: str | None = None


class ChunkCall(msgspec.Struct, gc=False):
    """A fragment of a tool call, with or without state of its server."""

    index: int | msgspec.UnsetType = msgspec.UNSET
    id: str | None = None
    type: _Word | None = None
    function: ChunkFunction | None = None
    custom: ChunkCustom | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None

    @property
    def has_state(self) -> bool:
        return bool(self.extra_content or self.provider_specific_fields)

    @property
    def state(self) -> dict[str, Any]:
        return _state(self, _CALL_STATE)


class ChunkDelta(msgspec.Struct, gc=False):
    """The content that a chunk adds to a choice. If reasoning has several names, all have the same text."""

    content: str | None = None
    role: _Word | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[ChunkCall] | None = None
    function_call: None = None
    thinking: None = None
    extra_content: Any = None
    provider_specific_fields: Any = None
    thinking_blocks: Any = None
    audio: Any = None
    images: Any = None
    annotations: Any = None

    @property
    def thought(self) -> str | None:
        return self.reasoning_content or self.reasoning or (self.reasoning_details and text_in(self.reasoning_details))

    @property
    def transcript(self) -> str:
        """Return the transcript of audio."""
        words = self.audio.get("transcript") if isinstance(self.audio, dict) else None
        return words if isinstance(words, str) else ""

    @property
    def is_event(self) -> bool:
        """Return whether it contains more than a role."""
        return bool(self.content or self.thought or self.refusal or self.tool_calls or self.audio or self.images)

    @property
    def has_state(self) -> bool:
        """Return whether it contains state that the server wants back."""
        value = self.reasoning_details or self.extra_content or self.thinking_blocks or self.provider_specific_fields
        return bool(value)

    @property
    def state(self) -> dict[str, Any]:
        return _state(self, _TURN_STATE)


_CALL_STATE: Final = [name for name in ChunkCall.__struct_fields__ if name in CALL_STATE]
_TURN_STATE: Final = [name for name in ChunkDelta.__struct_fields__ if name in TURN_STATE]


def _state(holder: ChunkCall | ChunkDelta, names: Sequence[str]) -> dict[str, Any]:
    """Return the fields in `names` that are not empty."""
    return {name: value for name in names if (value := getattr(holder, name))}


class StreamedChoice(msgspec.Struct, gc=False):
    """One of the requested answers."""

    delta: ChunkDelta
    index: int = 0
    finish_reason: str | None = None
    message: None = None
    usage: None = None
    error: None = None

    @property
    def is_event(self) -> bool:
        """Return whether it contains more than a role."""
        return self.delta.is_event or bool(self.finish_reason)


class CompletionChunk(msgspec.Struct, gc=False):
    """A chunk. `usage` is the usage object, or one that `loose` has found elsewhere; None for null."""

    choices: list[StreamedChoice]
    usage: Any = msgspec.UNSET
    citations: Any = None
    search_results: Any = None
    error: None = None
    x_groq: None = None
    timings: None = None
    prompt_eval_count: None = None
    eval_count: None = None
    bedrock_metrics: None = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")


class _SoundCall(msgspec.Struct, gc=False):
    index: int
    id: str | None = None
    type: _Word | None = None
    function: ChunkFunction | None = None


class _SoundDelta(msgspec.Struct, gc=False):
    content: str | None = None
    role: _Word | None = None
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
    index = None if call.index is msgspec.UNSET else call.index
    extra = origin.mark(call.state) if call.extra_content or call.provider_specific_fields else None
    if call.custom is not None:
        return Fragment(index, call.id or None, call.custom.name or None, call.custom.input or None, True, extra)
    if call.function is None:
        return Fragment(index, call.id or None, extra=extra)
    return Fragment(index, call.id or None, call.function.name or None, call.function.arguments or None, False, extra)


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
    extras = [{name: value for name, value in each.items() if name not in _OF_CALLS} for each in sent]
    return [call_object(call) | extra for call, extra in zip(calls, extras, strict=True)]


_OF_CALLS: Final = frozenset({"index", "id", "type", "function", "custom"}) | CALL_STATE
