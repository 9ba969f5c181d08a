"""The encoder of application/json: a complete answer as one object, for clients that do not read streams."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from quartapp.core.events import (
    BLANK_LINE,
    Annotation,
    Delta,
    Done,
    Event,
    Image,
    Reasoning,
    Refusal,
    Start,
    Step,
    ToolApproval,
    ToolCall,
    ToolResult,
    Usage,
)
from quartapp.core.request import JsonObject
from quartapp.protocols.common.states import add_state, joined


class WholeToolCall(msgspec.Struct, omit_defaults=True):
    """A complete tool call. `arguments` is the JSON text that the model wrote, or any text for a `custom` tool.

    If `executor` is `server`, this server has run it, or runs it if the client approves it (`needs_approval`).
    """

    id: str | None = None
    name: str | None = None
    arguments: str = ""
    kind: str | None = None
    extra: dict[str, Any] | None = None
    executor: str | None = None
    needs_approval: bool = False


class WholeAnnotation(Annotation, frozen=True, tag=False):
    """A source of the text: the record `annotation` without its type."""


class WholeImage(Image, frozen=True, tag=False):
    """An image of the answer: the record `image` without its type."""


class WholeAnswer(msgspec.Struct, omit_defaults=True):
    """The body of an answer that is not streamed. Empty fields are left out, except `text`.

    If tools in Python ran, `messages` are the turns of the answer, for the next request: those of the assistant with
    their calls, and the results. `text` is the text of all turns.
    """

    id: str
    model: str
    finish_reason: str
    text: str
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[WholeToolCall] = []
    annotations: list[WholeAnnotation] = []
    images: list[WholeImage] = []
    usage: Usage | None = None
    extra: dict[str, Any] | None = None
    messages: list[dict[str, Any]] = []


def merge(events: Iterable[Event]) -> WholeAnswer:
    """Merge `events`, from Start to Done, into one answer."""
    given = list(events)
    answer = _merge_turn(given)
    if any(isinstance(event, Step | ToolResult) for event in given):
        answer.messages = list(_messages(given))
    return answer


def turn_message(turn: WholeAnswer) -> JsonObject:
    """Return one turn of the assistant as a message of the next request."""
    calls = [_without_defaults(call, {"executor", "needs_approval"}) for call in turn.tool_calls]
    fields = {"reasoning": turn.reasoning, "refusal": turn.refusal, "tool_calls": calls, "extra": turn.extra}
    return {"role": "assistant", "content": turn.text, **{name: value for name, value in fields.items() if value}}


def _without_defaults(call: WholeToolCall, left_out: Container[str]) -> JsonObject:
    return {name: value for name, value in msgspec.to_builtins(call).items() if name not in left_out}


def _messages(events: Sequence[Event]) -> Iterator[JsonObject]:
    """Yield the turns of an answer. Step ends a turn, and Done the last one, which is left out if it is empty.

    A transcript has no Done, and its last turn may not be complete.
    """
    begun = 0
    for index, event in enumerate(events):
        if isinstance(event, Step | Done):
            yield from _turn(events[begun:index], event.extra, is_later=begun > 0)
            begun = index
        elif isinstance(event, ToolResult):
            yield {"role": "tool", "content": event.content, "tool_call_id": event.id}
    yield from _turn([event for event in events[begun:] if not isinstance(event, Done)], None, is_later=begun > 0)


def _turn(events: Sequence[Event], extra: dict[str, Any] | None, *, is_later: bool) -> Iterator[JsonObject]:
    turn = _merge_turn(events)
    turn.text, turn.extra = turn.text.removeprefix(BLANK_LINE) if is_later else turn.text, extra
    if turn.text or turn.refusal or turn.tool_calls:
        yield turn_message(turn)


def _merge_turn(events: Sequence[Event]) -> WholeAnswer:
    answer = WholeAnswer("", "", "", "")
    texts: dict[type, list[str]] = {Delta: [], Reasoning: [], Refusal: []}
    calls: dict[int, list[ToolCall]] = {}
    for event in events:
        match event:
            case Start(id, model):
                answer.id, answer.model = id, model
            case Delta(text) | Reasoning(text) | Refusal(text):
                texts[type(event)].append(text)
            case ToolCall(index):
                calls.setdefault(index, []).append(event)
            case Annotation():
                answer.annotations.append(WholeAnnotation(**msgspec.structs.asdict(event)))
            case Image(url):
                answer.images.append(WholeImage(url))
            case Done(reason, usage, extra):
                answer.finish_reason, answer.usage, answer.extra = reason, usage, extra
    answer.text, answer.reasoning, answer.refusal = ("".join(pieces) for pieces in texts.values())
    answer.tool_calls = [_merge_call(fragments) for fragments in calls.values()]
    waiting = {event.id for event in events if isinstance(event, ToolApproval)}
    for call in answer.tool_calls:
        call.needs_approval = call.id in waiting
    return answer


def _merge_call(fragments: list[ToolCall]) -> WholeToolCall:
    id = next((each.id for each in fragments if each.id), None)
    name = next((each.name for each in fragments if each.name), None)
    extra: dict[str, Any] = {}
    for each in fragments:
        add_state(extra, each.extra or {})
    arguments = "".join([each.arguments or "" for each in fragments])
    return WholeToolCall(id, name, arguments, fragments[0].kind, joined(extra) or None, fragments[0].executor)
