"""The parser of requests to `/api/ui`: the messages of Vercel's AI SDK, as `DefaultChatTransport` sends them.

A message has parts: text, files of a user message, tool calls with their results, and marks between the steps of an
answer. Reasoning goes only to servers that require it. An unknown part of an answer is ignored, because clients add
parts of their own. An unknown part of a user message is refused, because the answer would miss it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest, JsonObject
from quartapp.protocols.common.attachments import base64_in, is_data_url
from quartapp.protocols.common.calls import NonEmptyText
from quartapp.protocols.common.documents import Strict, parse_document
from quartapp.protocols.common.messages import Message, Name, check_messages, open_calls
from quartapp.protocols.common.parts import Attachment, AudioPart, FilePart, ImagePart, TextPart, fault_in
from quartapp.settings.settings import Settings

# The audio types of OpenAI's API, and its names for them.
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_MAX_PARTS = 1000

# JSON levels around the input of a tool: the body, its messages, a message, its parts, a part.
_DEPTH_AROUND = 5

# The states of calls with a result. An error and a denial by the user are results too.
_RESULTS = ("output-available", "output-error", "output-denied")
_PENDING = ("input-streaming", "input-available", "approval-requested", "approval-responded")
_BOTH = (True, False)

# The field of `types.ProviderMetadata`, which clients send back.
_STATE_KEY = "quartapp"


class UIPart(Strict):
    """A part of a message. Its type decides which fields it has, and each version of the SDK adds fields."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: NonEmptyText
    text: str | None = None
    toolCallId: NonEmptyText | None = None  # noqa: N815 - the SDK's names
    toolName: NonEmptyText | None = None  # noqa: N815
    state: Name | None = None
    input: Any = None
    rawInput: Any = None  # noqa: N815
    output: Any = None
    errorText: str | None = None  # noqa: N815
    mediaType: str | None = None  # noqa: N815
    url: str | None = None
    filename: str | None = None
    providerReference: Any = None  # noqa: N815
    providerMetadata: Any = None  # noqa: N815
    callProviderMetadata: Any = None  # noqa: N815
    resultProviderMetadata: Any = None  # noqa: N815
    approval: Any = None

    @property
    def is_call(self) -> bool:
        return self.type == "dynamic-tool" or self.type.startswith("tool-")

    @property
    def own_state(self) -> JsonObject:
        """Return our state of the part. Calls with a result keep it in another field than calls without."""
        places = (self.callProviderMetadata, self.resultProviderMetadata, self.providerMetadata)
        found = [place.get(_STATE_KEY) for place in places if isinstance(place, dict)]
        return next((each for each in found if isinstance(each, dict)), {})


class UIMessage(Strict):
    """A message of the AI SDK."""

    id: str
    role: Literal["user", "assistant", "system"]
    parts: list[UIPart]
    metadata: Any = None


class UIBody(Strict):
    """The JSON body of a chat request of the AI SDK. Pages may add `model`.

    Other fields are ignored, because the SDK and pages add fields that no model receives. `DefaultChatTransport` adds
    the fields of its `body`, assistant-ui `tools`, `system`, `callSettings`, `config` and `metadata`.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    messages: Annotated[list[UIMessage], Field(min_length=1)]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: str | None = None  # noqa: N815
    model: Name | None = None


def parse_ui(body: bytes, settings: Settings) -> ChatRequest:
    """Parse `body` into a request. Raises ChatError: bad_request, too_deep, too_large, invalid_request."""
    document = parse_document(UIBody, body, settings, depth_around=_DEPTH_AROUND)
    turns = [
        (place, turn)
        for place, message in enumerate(document.messages)
        for turn in _turns(message, f"messages.{place}", settings)
    ]
    places, messages = [place for place, _ in turns], [turn for _, turn in turns]
    checked = check_messages(messages, settings, allow_system=settings.allow_system_role, places=places)
    last = document.messages[-1]
    # The SDK adds the answer to the last message, by its id, if that is the assistant's.
    is_next_step = last.role == "assistant" and document.trigger == "submit-message"
    return ChatRequest(
        checked,
        document.model,
        shows_tools=True,
        open_calls=open_calls(messages),
        continued_id=last.id if is_next_step else None,
    )


def _turns(message: UIMessage, path: str, settings: Settings) -> Iterator[Message]:
    """Yield a turn for each step of the message, and one more for the result of each tool call in it."""
    is_answer = message.role == "assistant"
    if not is_answer and len(message.parts) > _MAX_PARTS:
        raise ChatError("invalid_request", path=f"{path}.parts")
    steps = [step for step in _steps(message, path, settings) if step.content or step.calls]
    if not is_answer and (not steps or any(step.calls for step in steps)):
        raise ChatError("invalid_request", path=f"{path}.parts")
    for step in steps:
        state = {"reasoning": step.reasoning, "extra": step.extra} if is_answer else {}
        yield _turn(path, role=message.role, content=step.content or None, tool_calls=step.calls or None, **state)
        for result in step.results:
            yield _turn(path, role="tool", **result)


class _Step:
    """One step of a message: its text and files, then tool calls, then their results."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.extra: JsonObject = {}
        self.calls: list[JsonObject] = []
        self.results: list[JsonObject] = []
        self._parts: list[TextPart | Attachment] = []

    @property
    def content(self) -> str | list[TextPart | Attachment]:
        """Return a list of parts if there are attachments, else a string, because some servers accept only strings."""
        return [*self._parts, *self._last_text()] if self._parts else self.text

    def attach(self, attachment: Attachment) -> None:
        """Append the attachment to the text so far."""
        self._parts += [*self._last_text(), attachment]
        self.text = ""

    def _last_text(self) -> list[TextPart]:
        return [TextPart(type="text", text=self.text)] if self.text else []


def _steps(message: UIMessage, path: str, settings: Settings) -> list[_Step]:
    """Return the steps of a message. Text after a tool result and text before it are different steps."""
    steps = [_Step()]
    for index, part in enumerate(message.parts):
        if part.type == "step-start":
            steps.append(_Step())
        elif part.type == "file" and message.role == "user":
            steps[-1].attach(_attachment(part, f"{path}.parts.{index}", settings))
        else:
            _add(part, steps[-1], f"{path}.parts.{index}", is_answer=message.role == "assistant")
    return steps


def _add(part: UIPart, step: _Step, path: str, *, is_answer: bool) -> None:
    if isinstance(part.own_state.get("turn"), dict):
        step.extra |= part.own_state["turn"]
    if part.type == "text":
        if part.text is None:
            raise ChatError("invalid_request", path=f"{path}.text")
        step.text += part.text
    elif part.type == "reasoning":
        step.reasoning += part.text or ""
    elif part.is_call:
        if part.state not in (*_RESULTS, *_PENDING):
            raise ChatError("invalid_request", path=path)
        call = _call(part, path)
        step.calls.append(call)
        if part.state in _RESULTS and call.get("approved") is not False:
            step.results.append(_result(part))
    elif not is_answer and part.type not in _OF_ANSWERS and not part.type.startswith("data-"):
        raise ChatError("invalid_request", path=f"{path}.type")


_OF_ANSWERS = ("source-url", "source-document")


def _attachment(part: UIPart, path: str, settings: Settings) -> Attachment:
    """Return a file of the page in OpenAI's form, by its media type. Raises ChatError: too_large, invalid_request."""
    if part.mediaType is None:
        raise ChatError("invalid_request", path=f"{path}.mediaType")
    if part.providerReference is not None:  # the SDK would use it instead of the url
        raise ChatError("invalid_request", path=f"{path}.providerReference")
    try:
        attachment = _in_openai_form(part.mediaType, part)
    except ValidationError as error:
        field = "filename" if error.errors(include_input=False)[0]["loc"][-1] == "filename" else "url"
        raise ChatError("invalid_request", path=f"{path}.{field}") from None
    if fault := fault_in(attachment, settings):
        raise ChatError(fault.code, path=f"{path}.url")
    return attachment


def _in_openai_form(media_type: str, part: UIPart) -> Attachment:
    """Return an image with its URL, audio or another file with the data of its URL. Raises ValidationError."""
    if media_type.split("/")[0] == "image":
        return ImagePart.model_validate({"type": "image_url", "image_url": {"url": part.url}})
    data = part.url if part.url and is_data_url(part.url) else None
    if media_type in _AUDIO_FORMATS:
        audio = {"data": data and base64_in(data), "format": _AUDIO_FORMATS[media_type]}
        return AudioPart.model_validate({"type": "input_audio", "input_audio": audio})
    return FilePart.model_validate({"type": "file", "file": {"file_data": data, "filename": part.filename or None}})


def _call(part: UIPart, path: str) -> JsonObject:
    """Return the call in the form of the native records (calls.ToolCallMessage)."""
    name = part.toolName if part.type == "dynamic-tool" else part.type.removeprefix("tool-")
    if not name or part.toolCallId is None:
        raise ChatError("invalid_request", path=path)
    is_custom = part.own_state.get("kind") == "custom"
    value = part.rawInput if part.input is None else part.input
    is_text = isinstance(value, str) and (is_custom or part.input is None)
    arguments = value if is_text else json.dumps({} if value is None else value)
    call = {"id": part.toolCallId, "name": name, "arguments": arguments, "extra": part.own_state.get("extra")}
    return call | _decision(part) | ({"kind": "custom"} if is_custom else {})


def _decision(part: UIPart) -> JsonObject:
    """Return the decision of the user about a call that needs an approval, if there is one."""
    approval = part.approval if isinstance(part.approval, dict) else {}
    approved, reason = approval.get("approved"), approval.get("reason")
    if part.state == "output-denied":
        approved = False
    return {"approved": approved, "reason": reason if isinstance(reason, str) else None} if approved in _BOTH else {}


def _result(part: UIPart) -> JsonObject:
    """Return the result of a call. JSON has the form in which tools in Python return it."""
    output = part.errorText if part.state == "output-error" else part.output
    content = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, separators=(",", ":"))
    return {"tool_call_id": part.toolCallId, "content": content}


def _turn(path: str, **fields: Any) -> Message:
    """Return a message with these fields. Raises ChatError: invalid_request."""
    try:
        return Message.model_validate(fields)
    except ValidationError:
        raise ChatError("invalid_request", path=path) from None
