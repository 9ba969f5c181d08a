"""The parts of an answer: a subset of Vercel's UI message stream."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

FinishReason = Literal["stop", "length", "content-filter", "tool-calls", "other", "error"]


class StreamPart(Struct, tag_field="type", rename="camel", omit_defaults=True):
    """One part of the stream, with the names of the SDK."""


class StartMetadata(Struct):
    """The metadata of the part `start`."""

    model: str


class UsageCounts(Struct, rename="camel", omit_defaults=True):
    """The token counts of the upstream, under the names of the SDK."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None


class FinishMetadata(Struct):
    """The metadata of the part `finish`."""

    usage: UsageCounts


class AttachedState(Struct, omit_defaults=True):
    """State that the client sends back with the part: of a call, of the complete step, and that a tool takes text."""

    extra: dict[str, Any] | None = None
    turn: dict[str, Any] | None = None
    kind: Literal["custom"] | None = None


class ProviderMetadata(Struct):
    """The field of a part that the SDK keeps unchanged."""

    quartapp: AttachedState


class StartPart(StreamPart, tag="start"):
    """The start of the answer; `messageId` is the id of the request, or of the message that the answer continues."""

    message_id: str
    message_metadata: StartMetadata


class StartStepPart(StreamPart, tag="start-step"):
    """The start of a step: one turn of the model."""


class TextStartPart(StreamPart, tag="text-start"):
    """The start of a run of text."""

    id: str


class TextDeltaPart(StreamPart, tag="text-delta"):
    """The next piece of the answer's text."""

    id: str
    delta: str


class TextEndPart(StreamPart, tag="text-end"):
    """The end of a run of text."""

    id: str
    provider_metadata: ProviderMetadata | None = None


class ReasoningStartPart(TextStartPart, tag="reasoning-start"):
    """The start of a run of reasoning."""


class ReasoningDeltaPart(TextDeltaPart, tag="reasoning-delta"):
    """The next piece of the reasoning."""


class ReasoningEndPart(TextEndPart, tag="reasoning-end"):
    """The end of a run of reasoning."""


class ToolInputStartPart(StreamPart, tag="tool-input-start"):
    """The start of a tool call."""

    tool_call_id: str
    tool_name: str


class ToolInputDeltaPart(StreamPart, tag="tool-input-delta"):
    """The next piece of the arguments of a tool call; all pieces together are JSON."""

    tool_call_id: str
    input_text_delta: str


class ToolInputAvailablePart(StreamPart, tag="tool-input-available"):
    """The complete arguments of a tool call."""

    tool_call_id: str
    tool_name: str
    input: Any
    provider_metadata: ProviderMetadata | None = None


class ToolInputErrorPart(StreamPart, tag="tool-input-error"):
    """A tool call whose arguments are not JSON."""

    tool_call_id: str
    tool_name: str
    input: str
    error_text: str
    provider_metadata: ProviderMetadata | None = None


class ToolOutputAvailablePart(StreamPart, tag="tool-output-available"):
    """The result of a call that this server ran."""

    tool_call_id: str
    output: Any


class ToolOutputErrorPart(StreamPart, tag="tool-output-error"):
    """The error of a call that this server ran, in the words that the model gets."""

    tool_call_id: str
    error_text: str


class ToolApprovalRequestPart(StreamPart, tag="tool-approval-request"):
    """A call that this server runs only after the approval of the user. Version 5 of the SDK refuses the part."""

    approval_id: str
    tool_call_id: str


class SourceUrlPart(StreamPart, tag="source-url"):
    """A web page that the answer cites."""

    source_id: str
    url: str
    title: str | None = None


class ShownImagePart(StreamPart, tag="file"):
    """An image. `url` is a data URL or a remote URL; `mediaType` is `image/*` if its type is not known."""

    media_type: str
    url: str


class PingPart(StreamPart, tag="data-ping"):
    """A keep-alive while the model is silent. It belongs to no message."""

    data: dict[str, Any]
    transient: Literal[True]


class FinishStepPart(StreamPart, tag="finish-step"):
    """The end of a step."""


class ErrorPart(StreamPart, tag="error"):
    """The reason why the answer is incomplete, in one sentence. `finish` with the reason `error` follows."""

    error_text: str


class FinishPart(StreamPart, tag="finish"):
    """The end of the answer, which is complete unless the reason is `error`."""

    finish_reason: FinishReason
    message_metadata: FinishMetadata | None = None


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
    | ToolOutputAvailablePart
    | ToolOutputErrorPart
    | ToolApprovalRequestPart
    | SourceUrlPart
    | ShownImagePart
    | PingPart
    | FinishStepPart
    | ErrorPart
    | FinishPart
)
