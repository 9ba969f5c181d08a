"""The parser of requests, and their errors. Only fields that change the answer are checked.

Other fields (`temperature`, `seed`, …) are ignored, as many compatible servers do. Attachments are described by their
form alone: type, size and name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from . import tokens
from .tokens import Json

_TOKENS_PER_MESSAGE = 3
"""Tokens for each message in addition to its text, after OpenAI's own estimate."""

_PATH = re.compile(r"`\$\.?([^`]*)`$")
"""Matches the path of the invalid field in messages of msgspec."""

_DATA_URL = re.compile(r"data:([^;,]{0,100})(?:;[^,]{0,200})?;base64,")
"""Matches the head of a data URL, with its media type."""


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


class ImageURL(Struct):
    url: str


class File(Struct):
    file_data: str | None = None
    filename: str | None = None


class Sound(Struct):
    data: str
    format: str


class Part(Struct):
    """A part of a message, of any type. Parts of unknown types are ignored."""

    type: str
    text: str = ""
    image_url: ImageURL | None = None
    file: File | None = None
    input_audio: Sound | None = None


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
        known = defaultdict(list)
        for noun, about in filter(None, map(_attachment, parts)):
            known[noun].append(about)
        counted = [f"{len(each)} {noun}{'s' * (len(each) > 1)} ({'; '.join(each)})" for noun, each in known.items()]
        return f"I was sent {', '.join(counted)}." if counted else ""


def _attachment(part: Part) -> tuple[str, str] | None:
    """Return the noun for the attachment in `part` and its description, or None for text and unknown types."""
    match part:
        case Part(type="image_url", image_url=ImageURL(url=url)):
            return "image", _about(url)
        case Part(type="file", file=File(file_data=data, filename=name)):
            known = "by its id" if data is None else _about(data)
            return "file", f"{name}, {known}" if name else known
        case Part(type="input_audio", input_audio=Sound(data=data, format=format)):
            return "sound", f"{format}, {_size(data)}"
    return None


def _about(text: str) -> str:
    """Return the media type and size of a data URL, else the size of base64, else that there is a URL."""
    if found := _DATA_URL.match(text):
        return f"{found[1] or 'of no type'}, {_size(text, found.end())}"
    return "by its URL" if ":" in text else _size(text)


def _size(text: str, start: int = 0) -> str:
    """Return the number of bytes that the base64 from `start` encodes."""
    size = (len(text) - start) * 3 // 4 - text[-2:].count("=")
    return f"{size} byte{'s' * (size != 1)}"


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
    tool_choice: str | Json | None = None

    @property
    def question_message(self) -> Message:
        """Return the last user message, or an empty one if there is none."""
        return next((message for message in reversed(self.messages) if message.role == "user"), Message("user"))

    @property
    def question(self) -> str:
        """Return the text of the last user message."""
        return self.question_message.text

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


T = TypeVar("T")


def read_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Parse the body. Raises RefusedError with status 400 if it is no JSON, or has the wrong form."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        path = _PATH.search(str(error))
        raise RefusedError(400, str(error), param=path[1] if path else None) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(400, "We could not parse the JSON body of your request.") from error


def read_chat(body: bytes) -> Chat:
    """Parse the body. Raises RefusedError with status 400."""
    chat = read_body(_decoder, body)
    if chat.stream_options and not chat.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise RefusedError(400, message, param="stream_options")
    return chat
