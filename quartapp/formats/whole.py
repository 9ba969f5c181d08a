"""application/json: a whole answer as one object, for those who do not read streams."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quartapp.events import Delta, Done, Event, Reasoning, Refusal, Start, ToolCall, Usage


class WholeToolCall(msgspec.Struct, omit_defaults=True):
    """A tool call put together; `arguments` is the JSON text that the model wrote."""

    id: str | None = None
    name: str | None = None
    arguments: str = ""


class WholeAnswer(msgspec.Struct, omit_defaults=True):
    """The body of an answer that is not streamed; what an answer has none of is left out, but for its text."""

    id: str
    model: str
    finish_reason: str
    text: str = msgspec.field(default_factory=str)
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[WholeToolCall] = []
    usage: Usage | None = None


def merge(events: Iterable[Event]) -> WholeAnswer:
    """The answer that `events` tell, from Start to Done."""
    answer = WholeAnswer("", "", "")
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
            case Done(reason, usage):
                answer.finish_reason, answer.usage = reason, usage
    answer.text, answer.reasoning, answer.refusal = ("".join(pieces) for pieces in texts.values())
    answer.tool_calls = [_whole_call(fragments) for fragments in calls.values()]
    return answer


def _whole_call(fragments: list[ToolCall]) -> WholeToolCall:
    id = next((each.id for each in fragments if each.id), None)
    name = next((each.name for each in fragments if each.name), None)
    return WholeToolCall(id, name, "".join([each.arguments or "" for each in fragments]))
