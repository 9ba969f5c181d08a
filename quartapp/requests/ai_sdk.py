"""What `/api/ui` is asked: the messages of Vercel's AI SDK, as `DefaultChatTransport` sends them.

A message has parts. Text counts, and so do tool calls with their results; what a model thought before, and the marks
between steps, are not sent again. A part of any other kind is refused, for an answer without it would be about less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from quartapp.errors import ChatError
from quartapp.requests.documents import Strict, parse_document
from quartapp.requests.messages import (
    ChatRequest,
    FunctionCall,
    Message,
    Name,
    ToolCallMessage,
    check_messages,
)
from quartapp.settings import Settings

_PASSED_OVER = ("reasoning", "step-start", "source-url", "source-document")


class UIPart(Strict):
    """A part of a message; which fields it has goes by its type, and the SDK adds some with each version."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Name
    text: str | None = None
    toolCallId: Name | None = None  # noqa: N815 - the SDK's names
    toolName: Name | None = None  # noqa: N815
    state: Name | None = None
    input: Any = None
    output: Any = None
    errorText: str | None = None  # noqa: N815


class UIMessage(Strict):
    """A message as the page keeps it."""

    id: str
    role: Literal["user", "assistant", "system"]
    parts: Annotated[list[UIPart], Field(max_length=1000)]
    metadata: Any = None


class UIBody(Strict):
    """The JSON body of a chat request of the AI SDK; `model` is what a page may add of its own."""

    id: str
    messages: Annotated[list[UIMessage], Field(min_length=1)]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: str | None = None  # noqa: N815
    model: Name | None = None


def parse_ui(body: bytes, settings: Settings) -> ChatRequest:
    """`body` as a request. Raises ChatError: bad_request, too_deep, too_large, invalid_request."""
    asked = parse_document(UIBody, body, settings)
    messages = [turn for index, message in enumerate(asked.messages) for turn in _turns(message, f"messages.{index}")]
    return ChatRequest(check_messages(messages, settings, allow_system=settings.allow_system_role), asked.model)


def _turns(message: UIMessage, path: str) -> Iterator[Message]:
    """A message as one turn, and one more for the result of each tool call in it."""
    text, calls, results = [], [], []
    for index, part in enumerate(message.parts):
        if part.type == "text":
            text.append(part.text or "")
        elif part.type == "dynamic-tool" or part.type.startswith("tool-"):
            calls.append(_call(part, f"{path}.parts.{index}"))
            results.append(_result(part))
        elif part.type not in _PASSED_OVER and not part.type.startswith("data-"):
            raise ChatError("invalid_request", path=f"{path}.parts.{index}.type")
    if calls and message.role != "assistant":
        raise ChatError("invalid_request", path=f"{path}.parts")
    content = "".join(text)
    if content or calls:
        yield Message(role=message.role, content=content or None, tool_calls=calls or None)
    elif message.role != "assistant":
        raise ChatError("invalid_request", path=f"{path}.parts")
    yield from results


def _call(part: UIPart, path: str) -> ToolCallMessage:
    name = part.toolName or part.type.removeprefix("tool-")
    if part.toolCallId is None or part.state not in ("output-available", "output-error"):
        raise ChatError("invalid_request", path=path)  # a call without its result cannot be answered
    return ToolCallMessage(id=part.toolCallId, function=FunctionCall(name=name, arguments=json.dumps(part.input)))


def _result(part: UIPart) -> Message:
    output = part.errorText if part.state == "output-error" else part.output
    content = output if isinstance(output, str) else json.dumps(output)
    return Message(role="tool", tool_call_id=part.toolCallId, content=content or " ")
