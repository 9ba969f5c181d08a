"""What `/v1/chat/completions` is asked: OpenAI's parameters, by allowlist.

What the list lacks is refused by its name: parameters that name a server, a key or a header among them, and those that
have the provider keep something (`store`, `metadata`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quartapp.errors import ChatError
from quartapp.requests.chat import Number
from quartapp.requests.documents import Strict, parse_document
from quartapp.requests.messages import ChatRequest, Message, Name, Tool, Typed, check_max_tokens, check_messages
from quartapp.settings import Settings

_BIAS = Field(ge=-100, le=100)
Bias = Annotated[int, _BIAS] | Annotated[Number, _BIAS]


class StreamOptions(Strict):
    """What a stream may tell beside the answer. `include_obfuscation` is OpenAI's, and has no effect here."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionBody(Strict):
    """The JSON body of a chat completion."""

    model: Name
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=1024)] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    prompt_cache_key: Name | None = None
    reasoning_effort: Name | None = None
    response_format: Typed | None = None
    safety_identifier: Name | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Name | Annotated[list[Name], Field(min_length=1, max_length=4)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    tool_choice: Literal["none", "auto", "required"] | Typed | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    user: Name | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


_OURS = {"model", "messages", "stream", "stream_options"}


def parse_completion(body: bytes, settings: Settings) -> ChatRequest:
    """`body` as a request. Raises ChatError: bad_request, too_deep, too_large, invalid_request."""
    asked = parse_document(CompletionBody, body, settings)
    if asked.stream_options is not None and not asked.stream:
        raise ChatError("invalid_request", path="stream_options")
    if asked.n is not None and asked.n > settings.max_choices:
        raise ChatError("invalid_request", path="n")
    check_max_tokens(asked.max_tokens, "max_tokens", settings)
    check_max_tokens(asked.max_completion_tokens, "max_completion_tokens", settings)
    return ChatRequest(
        check_messages(asked.messages, settings, allow_system=True),
        asked.model,
        asked.model_dump(exclude=_OURS, exclude_none=True),
        whole=not asked.stream,
        raw=True,
        include_usage=not asked.stream or bool(asked.stream_options and asked.stream_options.include_usage),
    )
