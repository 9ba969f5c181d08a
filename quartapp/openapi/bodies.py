"""The JSON bodies that have no class where they are written: errors, and what OpenAI's clients read.

They describe and are never filled. An upstream's own chunks are passed on as they came, so that nothing in them is
promised: what OpenAI documents is typed, and more may be there.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from msgspec import UNSET, Struct, UnsetType

# -- errors


class ErrorDetail(Struct):
    """Why a request is refused: a code, its fixed sentence, the request's id; `path` names the field at fault."""

    code: str
    message: str
    id: str
    path: str | UnsetType = UNSET
    retry_after_s: int | UnsetType = UNSET


class Error(Struct):
    """A refusal by our own doors."""

    error: ErrorDetail


class OpenAIErrorDetail(Struct):
    """Why a request is refused, as OpenAI's clients read it; `param` names the field at fault."""

    message: str
    type: Literal[
        "authentication_error", "invalid_request_error", "permission_error", "rate_limit_error", "server_error"
    ]
    code: str
    param: str | None


class OpenAIError(Struct):
    """A refusal by the doors of OpenAI's API, and the last event of a stream that failed."""

    error: OpenAIErrorDetail


# -- chat completions


class Function(TypedDict, total=False):
    """The function that a model calls; in a stream, a fragment of its name and of its arguments' JSON text."""

    name: str | None
    arguments: str | None


class Custom(TypedDict, total=False):
    """The custom tool that a model calls; in a stream, a fragment of its name and of its text."""

    name: str | None
    input: str | None


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
    """What a choice says; in a stream, the next piece of it."""

    role: str | None
    content: str | None
    reasoning_content: str | None
    refusal: str | None
    tool_calls: list[CompletionToolCall] | None
    annotations: Any
    images: Any


class ChunkChoice(TypedDict, total=False):
    """What a chunk adds to the choice at `index`; its last has the `finish_reason`."""

    index: int
    delta: CompletionMessage | None
    finish_reason: str | None
    logprobs: Any


class Chunk(TypedDict, total=False):
    """OpenAI's `chat.completion.chunk`, as the model's server sent it but for the model's name."""

    id: Any
    object: Any
    created: Any
    model: Any
    choices: list[ChunkChoice] | None
    usage: Any


class CompletionChoice(Struct):
    """One of the answers that were asked for."""

    index: int
    message: CompletionMessage
    finish_reason: str
    logprobs: Any = None


class _Completion(TypedDict):
    object: Literal["chat.completion"]
    choices: list[CompletionChoice]


class Completion(_Completion, total=False):
    """OpenAI's `chat.completion`: a whole answer, merged from the chunks of its stream."""

    id: Any
    created: Any
    model: Any
    usage: Any


class ModelCard(Struct):
    """A model that can be asked for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Struct):
    """The models that can be asked for; the mock model's parameters, after a colon, are not listed."""

    object: Literal["list"]
    data: list[ModelCard]
