"""A chunk of a chat completion as OpenAI sends it: decoded into the few fields that matter, and nothing else taken.

What is well formed costs one decode; whatever these types refuse is for `loose` to read. A field of the type None is
one that OpenAI never fills, so that a chunk with something in it is refused without a look at it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec

from quartapp.core.events import CALL_STATE, TURN_STATE, ToolCall
from quartapp.protocols.chat_completions.encode import call_object
from quartapp.protocols.common.documents import JsonObject
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.tool_calls import Fragment

#: What decoding raises for a chunk of another form, and for what is none.
REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_TEXT_NAMES: Final = ("text", "thinking", "content", "summary")


def text_in(said: Any) -> str:
    """The text in `said`, which is text itself, or an object or a list that holds it; anything else says nothing."""
    return "".join(_texts(said, 0))


def _texts(said: Any, depth: int) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, list) and depth < _MAX_DEPTH:
        for each in said:
            yield from _texts(each, depth + 1)
    elif isinstance(said, dict) and depth < _MAX_DEPTH:
        yield from _texts(next((said[name] for name in _TEXT_NAMES if said.get(name)), None), depth + 1)


# Mistral has its text in an object in a list in an object in a list.
_MAX_DEPTH: Final = 6


# Servers that have no word for a role or a kind write an empty one, which OpenAI's clients would take for the value.
_Word = Annotated[str, msgspec.Meta(min_length=1)]


class Function(msgspec.Struct, gc=False):
    """A call of a function: its name, and a piece of its arguments."""

    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct, gc=False):
    """A call of a tool that takes text in place of JSON."""

    name: str | None = None
    input: str | None = None


class Call(msgspec.Struct, gc=False):
    """A fragment of a tool call, which may have state of its server's."""

    index: int | msgspec.UnsetType = msgspec.UNSET
    id: str | None = None
    type: _Word | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None

    @property
    def has_state(self) -> bool:
        return bool(self.extra_content or self.provider_specific_fields)

    @property
    def state(self) -> dict[str, Any]:
        return _state(self, _CALL_STATE)


class ChunkDelta(msgspec.Struct, gc=False):
    """What a chunk adds to a choice. Servers call reasoning by one name or several; then it is the same each time."""

    content: str | None = None
    role: _Word | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
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
        """The words of a sound."""
        words = self.audio.get("transcript") if isinstance(self.audio, dict) else None
        return words if isinstance(words, str) else ""

    @property
    def is_event(self) -> bool:
        """Whether it says more than a role."""
        return bool(self.content or self.thought or self.refusal or self.tool_calls or self.audio or self.images)

    @property
    def has_state(self) -> bool:
        """Whether the server wants something back with the answer."""
        said = self.reasoning_details or self.extra_content or self.thinking_blocks or self.provider_specific_fields
        return bool(said)

    @property
    def state(self) -> dict[str, Any]:
        return _state(self, _TURN_STATE)


_CALL_STATE: Final = [name for name in Call.__struct_fields__ if name in CALL_STATE]
_TURN_STATE: Final = [name for name in ChunkDelta.__struct_fields__ if name in TURN_STATE]


def _state(holder: Call | ChunkDelta, names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of those names that say something."""
    return {name: value for name in names if (value := getattr(holder, name))}


class Choice(msgspec.Struct, gc=False):
    """One of the answers that were asked for at once."""

    delta: ChunkDelta
    index: int = 0
    finish_reason: str | None = None
    message: None = None
    usage: None = None
    error: None = None

    @property
    def is_event(self) -> bool:
        """Whether it says more than a role."""
        return self.delta.is_event or bool(self.finish_reason)


class Chunk(msgspec.Struct, gc=False):
    """`usage` is the usage object, or what `loose` has read of one elsewhere; None for null."""

    choices: list[Choice]
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
    function: Function | None = None


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
    """What OpenAI's own clients need of a chunk, however odd the rest of it is."""

    choices: list[_SoundChoice]
    error: None = None


decode: Final = msgspec.json.Decoder(Chunk).decode
_decode_sound = msgspec.json.Decoder(_SoundChunk).decode


def is_sound(payload: bytes) -> bool:
    """Whether OpenAI's own clients can take the chunk as it is. Half a surrogate pair and NaN are no JSON to them."""
    try:
        _decode_sound(payload)
    except REFUSALS:
        return False
    return True


def fragments_of(calls: list[Call], origin: Origin) -> list[Fragment]:
    """Return what a chunk of `origin` says of tool calls, in which an empty text says nothing."""
    return [_fragment(call, origin) for call in calls]


def _fragment(call: Call, origin: Origin) -> Fragment:
    index = None if call.index is msgspec.UNSET else call.index
    extra = origin.mark(call.state) if call.extra_content or call.provider_specific_fields else None
    if call.custom is not None:
        return Fragment(index, call.id or None, call.custom.name or None, call.custom.input or None, True, extra)
    if call.function is None:
        return Fragment(index, call.id or None, extra=extra)
    return Fragment(index, call.id or None, call.function.name or None, call.function.arguments or None, False, extra)


def mend_choice(choice: JsonObject, said: Choice, calls: list[ToolCall] | None) -> None:
    """Puts into a choice, which is sound otherwise, what was found of its reason to finish and of its calls."""
    if said.finish_reason or choice.get("finish_reason"):
        choice["finish_reason"] = said.finish_reason
    if calls:
        choice["delta"]["tool_calls"] = _told(choice["delta"].get("tool_calls") or [], calls)
    elif calls is not None:
        choice["delta"].pop("tool_calls", None)


def _told(theirs: Sequence[JsonObject], calls: Sequence[ToolCall]) -> list[JsonObject]:
    """The calls, with what else their server says of each if it is plain which is which."""
    if len(theirs) != len(calls):
        return [call_object(call) for call in calls]
    rests = [{name: value for name, value in each.items() if name not in _OF_CALLS} for each in theirs]
    return [call_object(call) | rest for call, rest in zip(calls, rests, strict=True)]


_OF_CALLS: Final = frozenset({"index", "id", "type", "function", "custom"}) | CALL_STATE
