"""What `/api/ui` is asked: the messages of Vercel's AI SDK, as `DefaultChatTransport` sends them.

A message has parts. Text counts, and so do the files of a question and tool calls with their results; marks between
steps say which came first. What a model thought before is not sent again. A part of any other kind is refused, for an
answer without it would be about less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from quartapp.errors import ChatError
from quartapp.requests.attachments import base64_in, is_data_url
from quartapp.requests.documents import JsonObject, Strict, parse_document
from quartapp.requests.messages import ChatRequest, Message, Name, check_messages
from quartapp.requests.parts import Attachment, AudioPart, FilePart, ImagePart, TextPart, fault_in
from quartapp.settings import Settings

# The kinds of sound that OpenAI's API takes, and its names for them.
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_PASSED_OVER = ("reasoning", "source-url", "source-document")


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
    mediaType: str | None = None  # noqa: N815
    url: str | None = None
    filename: str | None = None
    providerReference: Any = None  # noqa: N815


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
    paths = [f"messages.{index}" for index in range(len(asked.messages))]
    messages = [
        turn for message, path in zip(asked.messages, paths, strict=True) for turn in _turns(message, path, settings)
    ]
    return ChatRequest(check_messages(messages, settings, allow_system=settings.allow_system_role), asked.model)


def _turns(message: UIMessage, path: str, settings: Settings) -> Iterator[Message]:
    """A turn for each step of the message, and one more for the result of each tool call in it."""
    said = [step for step in _steps(message, path, settings) if step.content or step.calls]
    if not said and message.role != "assistant":
        raise ChatError("invalid_request", path=f"{path}.parts")
    for step in said:
        if step.calls and message.role != "assistant":
            raise ChatError("invalid_request", path=f"{path}.parts")
        yield _turn(path, role=message.role, content=step.content or None, tool_calls=step.calls or None)
        for result in step.results:
            yield _turn(path, role="tool", **result)


class _Step:
    """What was said in one go, the calls a model made then, and their results."""

    def __init__(self) -> None:
        self.text = ""
        self.calls: list[JsonObject] = []
        self.results: list[JsonObject] = []
        self._parts: list[TextPart | Attachment] = []

    @property
    def content(self) -> str | list[TextPart | Attachment]:
        """Text where there is nothing else, for not every model takes parts."""
        return [*self._parts, *self._last_text()] if self._parts else self.text

    def attach(self, attachment: Attachment) -> None:
        """Adds it behind the text so far."""
        self._parts += [*self._last_text(), attachment]
        self.text = ""

    def _last_text(self) -> list[TextPart]:
        return [TextPart(type="text", text=self.text)] if self.text else []


def _steps(message: UIMessage, path: str, settings: Settings) -> list[_Step]:
    """The steps of a message: what was said after a tool's result is no part of what was said before it."""
    steps = [_Step()]
    for index, part in enumerate(message.parts):
        if part.type == "step-start":
            steps.append(_Step())
        elif part.type == "file" and message.role == "user":
            steps[-1].attach(_attachment(part, f"{path}.parts.{index}", settings))
        else:
            _add(part, steps[-1], f"{path}.parts.{index}")
    return steps


def _add(part: UIPart, step: _Step, path: str) -> None:
    if part.type == "text":
        if part.text is None:
            raise ChatError("invalid_request", path=f"{path}.text")
        step.text += part.text
    elif part.type == "dynamic-tool" or part.type.startswith("tool-"):
        if part.state not in ("output-available", "output-error"):
            raise ChatError("invalid_request", path=path)  # a call without its result cannot be answered
        step.calls.append(_call(part))
        step.results.append(_result(part))
    elif part.type not in _PASSED_OVER and not part.type.startswith("data-"):
        raise ChatError("invalid_request", path=f"{path}.type")


def _attachment(part: UIPart, path: str, settings: Settings) -> Attachment:
    """A file of the page as what its media type says. Raises ChatError: too_large, invalid_request."""
    if part.mediaType is None:
        raise ChatError("invalid_request", path=f"{path}.mediaType")
    if part.providerReference is not None:  # the SDK would have it count before the url
        raise ChatError("invalid_request", path=f"{path}.providerReference")
    try:
        attachment = _as_openai_has_it(part.mediaType, part)
    except ValidationError as error:
        field = "filename" if error.errors(include_input=False)[0]["loc"][-1] == "filename" else "url"
        raise ChatError("invalid_request", path=f"{path}.{field}") from None
    if fault := fault_in(attachment, settings):
        raise ChatError(fault.code, path=f"{path}.url")
    return attachment


def _as_openai_has_it(media_type: str, part: UIPart) -> Attachment:
    """An image by its URL, a sound or any other file by the data in it. Raises ValidationError."""
    if media_type.split("/")[0] == "image":
        return ImagePart.model_validate({"type": "image_url", "image_url": {"url": part.url}})
    data = part.url if part.url and is_data_url(part.url) else None
    if media_type in _AUDIO_FORMATS:
        audio = {"data": data and base64_in(data), "format": _AUDIO_FORMATS[media_type]}
        return AudioPart.model_validate({"type": "input_audio", "input_audio": audio})
    return FilePart.model_validate({"type": "file", "file": {"file_data": data, "filename": part.filename or None}})


def _call(part: UIPart) -> JsonObject:
    name = part.toolName if part.type == "dynamic-tool" else part.type.removeprefix("tool-")
    return {"id": part.toolCallId, "function": {"name": name, "arguments": json.dumps(part.input)}}


def _result(part: UIPart) -> JsonObject:
    output = part.errorText if part.state == "output-error" else part.output
    content = output if isinstance(output, str) else json.dumps(output)
    return {"tool_call_id": part.toolCallId, "content": content}


def _turn(path: str, **fields: Any) -> Message:
    """A message of those fields. Raises ChatError: invalid_request."""
    try:
        return Message.model_validate(fields)
    except ValidationError:
        raise ChatError("invalid_request", path=path) from None
