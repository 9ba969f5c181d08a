"""The conversation of a client, its checks, and the fields that several protocols have next to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from quartapp.core.errors import ChatError, Reason
from quartapp.core.events import TURN_STATE
from quartapp.core.request import JsonObject, OpenCalls
from quartapp.protocols.common.calls import DENIED, AnswerPart, NonEmptyText, ToolCallMessage, settle, state_in
from quartapp.protocols.common.documents import Strict, safe_path
from quartapp.protocols.common.parts import ATTACHMENTS, Part, fault_in, may_hold, part_chars
from quartapp.settings.settings import Settings

SYSTEM_ROLES = ("system", "developer")

Name = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Typed(Strict):
    """An object with a `type`. Its other fields are not checked, and are sent to the model unchanged."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Name


class ToolFunction(Strict):
    """A function that a model may call, by name."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: Name


class Tool(Typed):
    """A tool that a model may call and the client runs.

    Tools that run at the server of a model, for example a search, can name servers, keys and files. So only the entry
    of the model may have them, and no client.
    """

    type: Literal["function", "custom"]
    function: ToolFunction | None = None


class GenerationBody(Strict):
    """The fields of a request that several protocols have, by OpenAI's names."""

    model: Name | None = None
    stream: bool | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Name | Annotated[list[Name], Field(min_length=1, max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | Typed | None = None
    response_format: Typed | None = None


class Message(AnswerPart):
    """One turn of the conversation. A turn of the assistant may have fields that its server added, others may not."""

    role: Literal["user", "assistant", "tool", "system", "developer"] = "user"
    content: str | Annotated[list[Part], Field(max_length=1000)] | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCallMessage], Field(max_length=128)] | None = None
    tool_call_id: NonEmptyText | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    extra: Any = None

    def as_sent(self) -> JsonObject:
        """Return the message in OpenAI's form. State that the server attached to an answer is in `extra`."""
        turn: JsonObject = {"role": self.role}
        if isinstance(self.content, str):
            turn["content"] = self.content
        elif self.content is not None:
            turn["content"] = [part.model_dump(exclude_none=True) for part in self.content]
        turn |= {name: value for name in _OPTIONAL if (value := getattr(self, name)) is not None}
        if self.role != "assistant":
            return turn
        if not _has_content(self):
            turn["content"] = None  # servers require the key
        if self.tool_calls:
            turn["tool_calls"] = [call.as_sent() for call in self.tool_calls]
        thoughts = self.reasoning_content or self.reasoning
        reasoning = {"reasoning": thoughts} if isinstance(thoughts, str) and thoughts else {}
        extra = {**reasoning, **state_in(self.model_extra, self.extra, TURN_STATE)}
        return turn | {"extra": extra} if extra else turn


_OPTIONAL: Final = ("name", "refusal", "tool_call_id")
#: The fields that a message of any role may have.
_USUAL: Final = frozenset({"role", "content"})
_OF_ANSWERS: Final = ("refusal", "tool_calls", "reasoning", "reasoning_content", "extra")


def check_messages(
    messages: Sequence[Message], settings: Settings, *, allow_system: bool, places: Sequence[int] | None = None
) -> list[JsonObject]:
    """Return the messages as an upstream takes them, each tool call with its result (calls.settle).

    `places` has the index of each message in the body of the client, if one message of the client becomes several.

    Raises ChatError: too_large, invalid_request.
    """
    if len(messages) > settings.max_messages:
        raise ChatError("too_large", path="messages")
    for index, message in zip(places or range(len(messages)), messages, strict=True):
        if field := _field_at_fault(message, allow_system):
            reason: Reason = "invalid" if field.partition(".")[0] in Message.model_fields else "unknown"
            raise ChatError("invalid_request", path=f"messages.{index}.{field}", reason=reason)
        if isinstance(message.content, list):
            _check_parts(message.role, message.content, f"messages.{index}.content", settings)
    if _attachments(messages) > settings.max_attachments or sum(map(_chars, messages)) > settings.max_prompt_chars:
        raise ChatError("too_large", path="messages")
    turns = list(settle([message.as_sent() for message in _with_denials(messages)]))
    if not turns:  # `settle` removes empty answers
        raise ChatError("invalid_request", path="messages")
    return turns


def open_calls(messages: Sequence[Message]) -> OpenCalls | None:
    """Return the calls without a result to which the conversation ends, or None. `messages` have been checked."""
    messages = _with_denials(messages)
    last = next((index for index, each in reversed([*enumerate(messages)]) if each.role != "tool"), None)
    if last is None or not messages[last].tool_calls:
        return None
    turn, *results = [message.as_sent() for message in messages[last:]]
    ids = {call["id"] for call in turn["tool_calls"]}
    results = [result for result in results if result["tool_call_id"] in ids]
    approved = frozenset(call.id for call in messages[last].tool_calls or () if call.approved)
    opened = OpenCalls(turn, results, list(settle([turn, *results])), approved)
    return opened if opened.calls else None


def _with_denials(messages: Sequence[Message]) -> list[Message]:
    """Return `messages` with a result for each call that the user has denied, behind the message with the call."""
    answered: list[Message] = []
    for message in messages:
        denied = [call for call in message.tool_calls or () if call.approved is False]
        texts = [f"{DENIED} {call.reason or ''}".rstrip() for call in denied]
        answered.append(message)
        answered += [
            Message(role="tool", content=text, tool_call_id=call.id) for call, text in zip(denied, texts, strict=True)
        ]
    return answered


def check_max_tokens(max_tokens: int | None, path: str, settings: Settings) -> None:
    """Raise ChatError, invalid_request, if `max_tokens` is above the limit."""
    if max_tokens is not None and max_tokens > settings.max_output_tokens:
        raise ChatError("invalid_request", path=path)


def _field_at_fault(message: Message, allow_system: bool) -> str | None:
    """Return the first field that is not allowed with the other fields, or None for a valid message."""
    role = message.role
    if role in SYSTEM_ROLES and not allow_system:
        return "role"
    if role == "assistant":
        return "tool_call_id" if message.tool_call_id is not None else _call_at_fault(message)
    if not message.model_fields_set <= _USUAL and (other := _field_of_answers(message)):
        return other
    if (message.tool_call_id is not None) != (role == "tool"):
        return "tool_call_id"
    has_content = message.content not in (None, []) if role == "tool" else _has_content(message)
    return None if has_content else "content"


def _field_of_answers(message: Message) -> str | None:
    unknown = [safe_path(name) for name in message.model_extra or ()]
    return next(iter([name for name in _OF_ANSWERS if getattr(message, name) is not None] + unknown), None)


def _call_at_fault(message: Message) -> str | None:
    if not message.tool_calls:
        return None
    faults = [call.field_at_fault for call in message.tool_calls]
    return next((f"tool_calls.{index}.{fault}" for index, fault in enumerate(faults) if fault), None)


def _check_parts(role: str, parts: Sequence[Part], path: str, settings: Settings) -> None:
    for index, part in enumerate(parts):
        if not may_hold(role, part):
            raise ChatError("invalid_request", path=f"{path}.{index}.type")
        if isinstance(part, ATTACHMENTS) and (fault := fault_in(part, settings)):
            raise ChatError(fault.code, path=f"{path}.{index}.{fault.field}")


def _attachments(messages: Sequence[Message]) -> int:
    parts = [part for message in messages if isinstance(message.content, list) for part in message.content]
    return len([part for part in parts if isinstance(part, ATTACHMENTS)])


def _has_content(message: Message) -> bool:
    if isinstance(message.content, list):
        return any(isinstance(part, ATTACHMENTS) or part_chars(part) for part in message.content)
    return bool(message.content)


def _chars(message: Message) -> int:
    content = message.content or ""
    chars = len(content) if isinstance(content, str) else sum(map(part_chars, content))
    if message.refusal:
        chars += len(message.refusal)
    if message.tool_calls:
        chars += sum(call.chars for call in message.tool_calls)
    return chars
