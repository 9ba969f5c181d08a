"""The conversation a client sends, checked, and the request that every door makes of what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from pydantic import ConfigDict, Field

from quartapp.errors import ChatError
from quartapp.requests.documents import JsonObject, Strict
from quartapp.settings import Settings

SYSTEM_ROLES = ("system", "developer")

Name = Annotated[str, Field(min_length=1, max_length=200)]

# Part of an answer as clients add it to the conversation, and of no question.
NotSentOn = Annotated[Any, Field(exclude=True)]


class ChatRequest(msgspec.Struct, frozen=True):
    """A checked request: messages as an upstream takes them, `model` as the client named it (None: the default).

    `params` are OpenAI's parameters by OpenAI's names. `whole` asks for one object in place of a stream. `raw` asks
    for the upstream's own chunks (events.Raw), where it has any; `include_usage` says whether they may tell the usage.
    """

    messages: list[JsonObject]
    model: str | None = None
    params: JsonObject = {}
    whole: bool = False
    raw: bool = False
    include_usage: bool = False

    @property
    def choices(self) -> int:
        """How many answers are asked for at once."""
        return int(self.params.get("n", 1))


class FunctionCall(Strict):
    """The function a model asked for, and its arguments as the JSON text the model wrote."""

    name: Name
    arguments: str
    parsed_arguments: NotSentOn = None


class ToolCallMessage(Strict):
    """A tool call of an earlier answer."""

    id: Name
    type: Literal["function"] = "function"
    function: FunctionCall
    index: NotSentOn = None


class TextPart(Strict):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str


class Typed(Strict):
    """An object that says of which kind it is; what else it holds is between client and model."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Name


class ToolFunction(Strict):
    """What a model may call, by name."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: Name


class Tool(Typed):
    """A tool that a model may use."""

    function: ToolFunction | None = None


class Message(Strict):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "tool", "system", "developer"] = "user"
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=1000)] | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCallMessage], Field(min_length=1, max_length=128)] | None = None
    tool_call_id: Name | None = None
    annotations: NotSentOn = None
    audio: NotSentOn = None
    function_call: NotSentOn = None
    parsed: NotSentOn = None
    reasoning_content: NotSentOn = None


def check_messages(messages: Sequence[Message], settings: Settings, *, allow_system: bool) -> list[JsonObject]:
    """The messages as an upstream takes them. Raises ChatError: too_large, invalid_request."""
    if not messages:  # a page's messages may hold nothing that is sent on
        raise ChatError("invalid_request", path="messages")
    if len(messages) > settings.max_messages:
        raise ChatError("too_large", path="messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", allow_system)
    if sum(map(_chars, messages)) > settings.max_prompt_chars:
        raise ChatError("too_large", path="messages")
    return [message.model_dump(exclude_none=True) for message in messages]


def check_max_tokens(asked: int | None, path: str, settings: Settings) -> None:
    """Raises ChatError: invalid_request."""
    if asked is not None and asked > settings.max_output_tokens:
        raise ChatError("invalid_request", path=path)


def _check_message(message: Message, path: str, allow_system: bool) -> None:
    if message.role in SYSTEM_ROLES and not allow_system:
        raise ChatError("invalid_request", path=f"{path}.role")
    if message.tool_calls and message.role != "assistant":
        raise ChatError("invalid_request", path=f"{path}.tool_calls")
    if (message.tool_call_id is not None) != (message.role == "tool"):
        raise ChatError("invalid_request", path=f"{path}.tool_call_id")
    if message.refusal is not None and message.role != "assistant":
        raise ChatError("invalid_request", path=f"{path}.refusal")
    says = message.content is not None if message.role == "tool" else _content_chars(message) or message.refusal
    if not (says or message.tool_calls):
        raise ChatError("invalid_request", path=f"{path}.content")


def _chars(message: Message) -> int:
    arguments = sum(len(call.function.arguments) for call in message.tool_calls or ())
    return _content_chars(message) + len(message.refusal or "") + arguments


def _content_chars(message: Message) -> int:
    content = message.content or ""
    return len(content) if isinstance(content, str) else sum(len(part.text) for part in content)
