"""The parser of requests to the native routes: a JSON body, or the query of an `EventSource`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.protocols.common.documents import Strict, check_document, parse_document
from quartapp.protocols.common.messages import (
    GenerationBody,
    Message,
    Name,
    check_max_tokens,
    check_messages,
    open_calls,
)
from quartapp.settings.settings import Settings


class ChatBody(GenerationBody):
    """The JSON body of a chat request: `messages`, or a single `message`."""

    message: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None


class ChatQuery(Strict):
    """The query of a chat request by GET."""

    message: str
    model: Name | None = None


def parse(body: bytes, settings: Settings, *, shows_tools: bool = True) -> ChatRequest:
    """Parse `body` into a request. The format `shows_tools` if it has records or is one object.

    Raises ChatError: bad_request, too_deep, too_large, invalid_request.
    """
    document = parse_document(ChatBody, body, settings)
    given = _messages(document)
    messages = check_messages(given, settings, allow_system=settings.allow_system_role)
    check_max_tokens(document.max_tokens, "max_tokens", settings)
    params = document.model_dump(exclude={"message", "messages", "model", "stream"}, exclude_none=True)
    is_whole = document.stream is False
    return ChatRequest(
        messages,
        document.model,
        params,
        whole=is_whole,
        shows_tools=shows_tools or is_whole,
        open_calls=open_calls(given) if shows_tools or is_whole else None,
    )


def parse_query(query: Mapping[str, Sequence[str]], settings: Settings) -> ChatRequest:
    """Parse `query`, a list of values for each name, into a request. Raises ChatError: too_large, invalid_request."""
    doubled = next((name for name, values in query.items() if len(values) > 1), None)
    if doubled is not None:
        raise ChatError("invalid_request", path=doubled if doubled in ChatQuery.model_fields else "")
    document = check_document(ChatQuery, {name: values[0] for name, values in query.items()})
    return ChatRequest(check_messages([_single(document.message)], settings, allow_system=False), document.model)


def _messages(document: ChatBody) -> list[Message]:
    """Return the messages from `message` or `messages`. Raises ChatError, invalid_request, for both or neither."""
    if document.message is None:
        if document.messages is None:
            raise ChatError("invalid_request", path="messages")
        return document.messages
    if document.messages is not None:
        raise ChatError("invalid_request", path="message")
    return [_single(document.message)]


def _single(message: str) -> Message:
    if not message:
        raise ChatError("invalid_request", path="message")
    return Message(content=message)
