"""The parser of requests, and their errors. Only fields that change the answer are checked.

Other fields (`temperature`, `seed`, …) are ignored, as many compatible servers do.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from . import attachments, tokens
from .attachments import Part
from .tokens import Json

_TOKENS_PER_MESSAGE = 3
"""Tokens for each message in addition to its text, after OpenAI's own estimate."""

_PATH = re.compile(r"`\$\.?([^`]*)`$")
"""Matches the path of the invalid field in messages of msgspec."""


class RefusedError(Exception):
    """A request that is answered with an HTTP error in OpenAI's form."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body: Json = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    @property
    def attached(self) -> str:
        """Return one sentence that describes the attachments, or an empty string if there are none."""
        parts = self.content if isinstance(self.content, list) else ()
        return attachments.describe(filter(None, map(attachments.attachment, parts)))


class Function(Struct):
    name: str
    parameters: Json | None = None


class Tool(Struct):
    type: str
    function: Function | None = None


class StreamOptions(Struct):
    include_usage: bool | None = None


Limit = Annotated[int, Meta(ge=1)]
Stop = Annotated[str, Meta(min_length=1)]


class Chat(Struct):
    """The body of a chat completion's request."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=4)] | None = None
    tools: list[Tool] | None = None

    @property
    def question(self) -> str:
        """Return the text of the last user message, or an empty string if there is none."""
        return self._last_user_message.text if self._last_user_message else ""

    @property
    def attached(self) -> str:
        """Return one sentence that describes the attachments of the last user message, or an empty string."""
        return self._last_user_message.attached if self._last_user_message else ""

    @property
    def _last_user_message(self) -> Message | None:
        return next((message for message in reversed(self.messages) if message.role == "user"), None)

    @property
    def functions(self) -> list[Function]:
        return [tool.function for tool in self.tools or () if tool.function]

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def prompt_tokens(self) -> int:
        return sum(_TOKENS_PER_MESSAGE + tokens.count(message.text) for message in self.messages)


_decoder = msgspec.json.Decoder(Chat)


def read_chat(body: bytes) -> Chat:
    """Parse the body. Raises RefusedError with status 400 if it is no JSON, or has the wrong form."""
    try:
        chat = _decoder.decode(body)
    except msgspec.ValidationError as error:
        path = _PATH.search(str(error))
        raise RefusedError(400, str(error), param=path[1] if path else None) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(400, "We could not parse the JSON body of your request.") from error
    if chat.stream_options and not chat.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise RefusedError(400, message, param="stream_options")
    return chat
