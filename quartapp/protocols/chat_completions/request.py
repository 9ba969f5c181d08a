"""The parser of requests to `/v1/chat/completions`: OpenAI's parameters, by allowlist.

A parameter that is not in the list is refused unless the entry of the model allows it. Some of these name a
server, a key or a header; others let the provider store data (`store`, `metadata`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest, JsonObject
from quartapp.protocols.common.documents import Strict, parse_document
from quartapp.protocols.common.messages import (
    GenerationBody,
    Message,
    Name,
    Number,
    Typed,
    check_max_tokens,
    check_messages,
)
from quartapp.settings.settings import Settings

_BIAS = Field(ge=-100, le=100)
Bias = Annotated[int, _BIAS] | Annotated[Number, _BIAS]


class StreamOptions(Strict):
    """Options of a stream. `include_obfuscation` is OpenAI's, and has no effect here."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionBody(GenerationBody):
    """The JSON body of a chat completion. Without `model` the default model answers.

    It may have parameters of compatible servers too. The schema does not list them, because the entry of each model
    decides which parameters its clients may send.
    """

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra={"additionalProperties": False})

    messages: Annotated[list[Message], Field(min_length=1)]
    stream_options: StreamOptions | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=1024)] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: Annotated[JsonObject, WithJsonSchema({"type": "object", "maxProperties": 0})] | None = None
    modalities: Annotated[list[Name], WithJsonSchema({"const": ["text"]})] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Typed | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    prompt_cache_key: Name | None = None
    reasoning_effort: Name | None = None
    safety_identifier: Name | None = None
    service_tier: Annotated[Name, WithJsonSchema({"enum": ["auto", "default"]})] | None = None
    store: Annotated[bool, WithJsonSchema({"const": False})] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    user: Name | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


# OpenAI's parameters with the values that change nothing. A client may send these values to any model. They are not
# sent to the upstream, because other servers refuse them. Other values need a model whose entry allows the parameter.
_WITHOUT_EFFECT: Final[dict[str, list[Any]]] = {
    "metadata": [{}],
    "modalities": [["text"]],
    "service_tier": ["auto", "default"],
    "store": [False],
}
_RESTRICTED: Final = {"prediction", *_WITHOUT_EFFECT}
_NOT_PARAMS: Final = frozenset({"model", "messages", "stream", "stream_options", *_RESTRICTED})
_PARAMS: Final = set(CompletionBody.model_fields) - _NOT_PARAMS


def parse_completion(body: bytes, settings: Settings) -> ChatRequest:
    """Parse `body` into a request. Raises ChatError: bad_request, too_deep, too_large, invalid_request."""
    document = parse_document(CompletionBody, body, settings)
    if document.stream_options is not None and not document.stream:
        raise ChatError("invalid_request", path="stream_options")
    if document.n is not None and document.n > settings.max_choices:
        raise ChatError("invalid_request", path="n")
    _check_one_limit(document)
    check_max_tokens(document.max_tokens, "max_tokens", settings)
    check_max_tokens(document.max_completion_tokens, "max_completion_tokens", settings)
    return ChatRequest(
        check_messages(document.messages, settings, allow_system=True),
        document.model,
        document.model_dump(include=_PARAMS, exclude_none=True),
        _extras(document),
        whole=not document.stream,
        raw=True,
        include_usage=not document.stream or bool(document.stream_options and document.stream_options.include_usage),
    )


def _extras(document: CompletionBody) -> JsonObject:
    """Return the parameters that only some models may receive. Null means the same as no parameter."""
    if not document.model_extra and not document.model_fields_set & _RESTRICTED:
        return {}
    own = document.model_dump(include=_RESTRICTED, exclude_none=True)
    foreign = {name: value for name, value in (document.model_extra or {}).items() if value is not None}
    return foreign | {name: value for name, value in own.items() if value not in _WITHOUT_EFFECT.get(name, [])}


def _check_one_limit(document: CompletionBody) -> None:
    """Raise ChatError, invalid_request, for two different limits: one of them would silently have no effect.

    OpenAI refuses them too.
    """
    limits = {document.max_tokens, document.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise ChatError("invalid_request", path="max_tokens", reason="unsupported")
