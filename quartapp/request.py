"""What a client may ask: the request's shape, its limits and its errors.

Parsing raises ChatError with a code and the path of the field; it never repeats what the client sent.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Annotated, Any, Literal

import msgspec
import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quartapp.errors import ChatError
from quartapp.settings import Settings

SYSTEM_ROLES = ("system", "developer")

JsonObject = dict[str, Any]


class ChatRequest(msgspec.Struct, frozen=True):
    """A checked request: messages as an upstream takes them, `model` as the client named it (None: the default).

    `params` are OpenAI's parameters by OpenAI's names.
    """

    messages: list[JsonObject]
    model: str | None = None
    params: JsonObject = {}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class FunctionCall(_Strict):
    """The function a model asked for, and its arguments as the JSON text the model wrote."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: str


class ToolCallMessage(_Strict):
    """A tool call of an earlier answer."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(_Strict):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "tool", "system", "developer"] = "user"
    content: str | None = None
    tool_calls: Annotated[list[ToolCallMessage], Field(min_length=1, max_length=128)] | None = None
    tool_call_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None


Number = Annotated[float, Field(allow_inf_nan=False)]


class ChatBody(_Strict):
    """The JSON body of a chat request: `messages`, or a single `message`."""

    message: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: (
        Annotated[str, Field(min_length=1, max_length=200)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=4)]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    tools: Annotated[list[JsonObject], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | JsonObject | None = None
    response_format: JsonObject | None = None
    stream: Literal[True] | None = None


def parse(body: bytes, settings: Settings) -> ChatRequest:
    """`body` as a ChatRequest. Raises ChatError: bad_request, too_deep, too_large, invalid_request."""
    document = parse_json(body, settings.max_json_depth)
    if not isinstance(document, dict):
        raise ChatError("invalid_request", path="")
    try:
        checked = ChatBody.model_validate(document)
    except ValidationError as error:
        raise ChatError("invalid_request", path=_path(error)) from None
    return _checked(checked, settings)


def parse_json(body: bytes, max_depth: int) -> Any:
    """`body` as strict JSON: UTF-8 without a BOM, no NaN or infinity, no lone surrogate, at most `max_depth` deep."""
    try:
        document = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings=False)
    except ValueError as error:
        # The parser's own recursion limit (200) lies above any max_json_depth.
        raise ChatError("too_deep" if "recursion limit" in str(error) else "bad_request") from None
    _check_tree(document, max_depth)
    return document


def _check_tree(value: Any, depth: int) -> None:
    """Refuses what is nested deeper than `depth` and what overflowed to infinity (1e999 is valid JSON)."""
    if isinstance(value, dict | list):
        if depth == 0:
            raise ChatError("too_deep")
        for item in value.values() if isinstance(value, dict) else value:
            _check_tree(item, depth - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ChatError("bad_request")


def _path(error: ValidationError) -> str:
    """Where the first fault is, as `messages.0.role`; an unknown field's name is cut to harmless characters."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    parts = itertools.takewhile(lambda part: not _UNION_BRANCH.match(str(part)), first["loc"])
    return _UNSAFE.sub("?", ".".join(map(str, parts)))[:100]


# pydantic also names the branch of a union that it tried, as `constrained-str` or `list[...]`: no part of the document.
_UNION_BRANCH = re.compile(r"str$|constrained-|list\[|dict\[|literal\[")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def _checked(body: ChatBody, settings: Settings) -> ChatRequest:
    messages = _messages(body)
    _check_messages(messages, settings)
    if body.max_tokens is not None and body.max_tokens > settings.max_output_tokens:
        raise ChatError("invalid_request", path="max_tokens")
    params = body.model_dump(exclude={"message", "messages", "model", "stream"}, exclude_none=True)
    return ChatRequest([m.model_dump(exclude_none=True) for m in messages], body.model, params)


def _messages(body: ChatBody) -> list[Message]:
    """The one of `message` and `messages` that is given; both, neither, or an empty message are refused."""
    if body.message is None:
        if body.messages is None:
            raise ChatError("invalid_request", path="messages")
        return body.messages
    if body.messages is not None or not body.message:
        raise ChatError("invalid_request", path="message")
    return [Message(content=body.message)]


def _check_messages(messages: list[Message], settings: Settings) -> None:
    if len(messages) > settings.max_messages:
        raise ChatError("too_large", path="messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", settings)
    if sum(map(_chars, messages)) > settings.max_prompt_chars:
        raise ChatError("too_large", path="messages")


def _check_message(message: Message, path: str, settings: Settings) -> None:
    if message.role in SYSTEM_ROLES and not settings.allow_system_role:
        raise ChatError("invalid_request", path=f"{path}.role")
    if message.tool_calls and message.role != "assistant":
        raise ChatError("invalid_request", path=f"{path}.tool_calls")
    if (message.tool_call_id is not None) != (message.role == "tool"):
        raise ChatError("invalid_request", path=f"{path}.tool_call_id")
    if not message.content and not message.tool_calls and message.role != "tool":
        raise ChatError("invalid_request", path=f"{path}.content")


def _chars(message: Message) -> int:
    calls = message.tool_calls or ()
    return len(message.content or "") + sum(len(call.function.arguments) for call in calls)
