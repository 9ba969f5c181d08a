"""The types of JSON bodies: errors and models, and the schemas of chunks and completions, which are dicts.

Chunks of an upstream are sent unchanged, so all their fields are optional. The fields that OpenAI documents have types,
and chunks may have more fields.
"""

from __future__ import annotations

from typing import Any, Literal, Required, TypedDict

from msgspec import Struct

from quartapp.protocols.chat_completions.chunk import Custom, Function

ErrorType = Literal[
    "authentication_error", "invalid_request_error", "permission_error", "rate_limit_error", "server_error"
]


class OpenAIErrorDetail(Struct):
    """The reason of a refusal in the form of OpenAI's API. `param` names the invalid field."""

    message: str
    type: ErrorType
    code: str
    param: str | None


class OpenAIError(Struct):
    """A refusal by the routes of OpenAI's API, and the last event of a stream that failed."""

    error: OpenAIErrorDetail


class CompletionToolCall(TypedDict, total=False):
    """A tool call; in a stream, a fragment of the call at `index`."""

    index: int
    id: str | None
    type: str | None
    function: Function | None
    custom: Custom | None
    extra_content: Any
    provider_specific_fields: Any


class CompletionMessage(TypedDict, total=False):
    """The message of a choice; in a stream, the next piece of it."""

    role: str | None
    content: str | None
    reasoning_content: str | None
    refusal: str | None
    tool_calls: list[CompletionToolCall] | None
    annotations: Any
    images: Any


class ChunkChoice(TypedDict, total=False):
    """The next piece of the choice at `index`. The last piece has the `finish_reason`."""

    index: int
    delta: CompletionMessage | None
    finish_reason: str | None
    logprobs: Any


class Chunk(TypedDict, total=False):
    """OpenAI's `chat.completion.chunk`, unchanged from the upstream except for the name of the model."""

    id: Any
    object: Any
    created: Any
    model: Any
    choices: list[ChunkChoice] | None
    usage: Any


class CompletionChoice(Struct):
    """One of the requested answers."""

    index: int
    message: CompletionMessage
    finish_reason: str
    logprobs: Any = None


class Completion(TypedDict, total=False):
    """OpenAI's `chat.completion`: a complete answer, merged from the chunks of its stream."""

    object: Required[Literal["chat.completion"]]
    choices: Required[list[CompletionChoice]]
    id: Any
    created: Any
    model: Any
    usage: Any


class ModelCard(Struct):
    """A model that a request may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Struct):
    """The models that a request may name. Parameters of the mock model, after a colon, are not listed."""

    object: Literal["list"]
    data: list[ModelCard]
