"""The types of a chunk of a chat completion in OpenAI's form, with the fields that the app uses.

OpenAI never fills a field of the type None, so a decoder refuses a chunk with a value there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec

from quartapp.core.events import CALL_STATE, TURN_STATE

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
Word = Annotated[str, msgspec.Meta(min_length=1)]


class Function(msgspec.Struct, gc=False):
    """A call of a function: its name, and its arguments; in a stream, a fragment of their JSON text."""

    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct, gc=False):
    """A call of a tool that takes text instead of JSON; in a stream, a fragment of its text."""

    name: str | None = None
    input: str | None = None


class ChunkCall(msgspec.Struct, gc=False):
    """A fragment of a tool call, with or without state of its server."""

    index: int | msgspec.UnsetType = msgspec.UNSET
    id: str | None = None
    type: Word | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None

    @property
    def arguments(self) -> str:
        """Return the fragment of its arguments."""
        if self.custom is not None:
            return self.custom.input or ""
        return (self.function and self.function.arguments) or ""

    @property
    def has_state(self) -> bool:
        return bool(self.extra_content or self.provider_specific_fields)

    @property
    def state(self) -> dict[str, Any]:
        return _state(self, _CALL_STATE)


class ChunkDelta(msgspec.Struct, gc=False):
    """The content that a chunk adds to a choice. If reasoning has several names, all have the same text."""

    content: str | None = None
    role: Word | None = None
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
    def all_text(self) -> str:
        """Return thought, text, refusal and the arguments of calls, in this order."""
        thought = self.reasoning_content or self.reasoning or (self.reasoning_details and self.thought)
        text = (self.content or "") if not thought else thought + (self.content or "")
        if self.refusal:
            text += self.refusal
        return text + "".join([call.arguments for call in self.tool_calls]) if self.tool_calls else text

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
