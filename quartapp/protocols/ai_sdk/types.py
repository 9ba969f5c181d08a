"""The parts of Vercel's UI message stream that are sent; they describe what `encode` writes."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

FinishReason = Literal["stop", "length", "content-filter", "tool-calls", "other", "error"]


class Part(Struct, tag_field="type", rename="camel"):
    """One part of the stream; its names are the SDK's."""


class StartMetadata(Struct):
    """What `start` tells of the answer."""

    model: str


class UsageCounts(Struct, rename="camel"):
    """Tokens the upstream counted, under the SDK's names."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int | UnsetType = UNSET
    reasoning_tokens: int | UnsetType = UNSET


class FinishMetadata(Struct):
    """What `finish` tells of the answer."""

    usage: UsageCounts


class AttachedState(Struct):
    """What the client brings back with the part: state of a call, of the whole step, and that a tool takes text."""

    extra: dict[str, Any] | UnsetType = UNSET
    turn: dict[str, Any] | UnsetType = UNSET
    kind: Literal["custom"] | UnsetType = UNSET


class ProviderMetadata(Struct):
    """What the SDK keeps with a part unchanged."""

    quartapp: AttachedState


class StartPart(Part, tag="start"):
    """The answer has begun; `messageId` is the request's id."""

    message_id: str
    message_metadata: StartMetadata


class StartStepPart(Part, tag="start-step"):
    """The model's only step begins."""


class TextStartPart(Part, tag="text-start"):
    """A run of text begins."""

    id: str


class TextDeltaPart(Part, tag="text-delta"):
    """The next piece of the answer's text."""

    id: str
    delta: str


class TextEndPart(Part, tag="text-end"):
    """A run of text ends."""

    id: str
    provider_metadata: ProviderMetadata | UnsetType = UNSET


class ReasoningStartPart(Part, tag="reasoning-start"):
    """A run of the model's thinking begins."""

    id: str


class ReasoningDeltaPart(Part, tag="reasoning-delta"):
    """The next piece of the model's thinking."""

    id: str
    delta: str


class ReasoningEndPart(Part, tag="reasoning-end"):
    """A run of the model's thinking ends."""

    id: str
    provider_metadata: ProviderMetadata | UnsetType = UNSET


class ToolInputStartPart(Part, tag="tool-input-start"):
    """A tool call begins."""

    tool_call_id: str
    tool_name: str


class ToolInputDeltaPart(Part, tag="tool-input-delta"):
    """The next piece of a tool call's arguments, which are JSON once put together."""

    tool_call_id: str
    input_text_delta: str


class ToolInputAvailablePart(Part, tag="tool-input-available"):
    """A tool call's arguments, whole."""

    tool_call_id: str
    tool_name: str
    input: Any
    provider_metadata: ProviderMetadata | UnsetType = UNSET


class ToolInputErrorPart(Part, tag="tool-input-error"):
    """A tool call whose arguments are not JSON."""

    tool_call_id: str
    tool_name: str
    input: str
    error_text: str
    provider_metadata: ProviderMetadata | UnsetType = UNSET


class SourceUrlPart(Part, tag="source-url"):
    """A page that the answer cites."""

    source_id: str
    url: str
    title: str | UnsetType = UNSET


class ShownImagePart(Part, tag="file"):
    """An image; `url` is a data URL or its address, and `mediaType` is `image/*` if its type is not known."""

    media_type: str
    url: str


class PingPart(Part, tag="data-ping"):
    """Keeps the connection alive while the model is silent. It belongs to no message."""

    data: dict[str, Any]
    transient: Literal[True]


class FinishStepPart(Part, tag="finish-step"):
    """The model's only step ends."""


class ErrorPart(Part, tag="error"):
    """Why the answer is not whole, in one sentence; `finish` with the reason `error` follows."""

    error_text: str


class FinishPart(Part, tag="finish"):
    """The answer is over; it is whole unless the reason is `error`."""

    finish_reason: FinishReason
    message_metadata: FinishMetadata | UnsetType = UNSET


UIMessageChunk = (
    StartPart
    | StartStepPart
    | TextStartPart
    | TextDeltaPart
    | TextEndPart
    | ReasoningStartPart
    | ReasoningDeltaPart
    | ReasoningEndPart
    | ToolInputStartPart
    | ToolInputDeltaPart
    | ToolInputAvailablePart
    | ToolInputErrorPart
    | SourceUrlPart
    | ShownImagePart
    | PingPart
    | FinishStepPart
    | ErrorPart
    | FinishPart
)
