"""The encoder of application/json: a complete answer as one object, for clients that do not read streams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from quartapp.core.events import Annotation, Delta, Done, Event, Image, Reasoning, Refusal, Start, ToolCall, Usage
from quartapp.protocols.common.states import add_state, joined


class WholeToolCall(msgspec.Struct, omit_defaults=True):
    """A complete tool call. `arguments` is the JSON text that the model wrote, or any text for a `custom` tool."""

    id: str | None = None
    name: str | None = None
    arguments: str = ""
    kind: str | None = None
    extra: dict[str, Any] | None = None


class WholeAnnotation(Annotation, frozen=True, tag=False):
    """A source of the text: the record `annotation` without its type."""


class WholeImage(Image, frozen=True, tag=False):
    """An image of the answer: the record `image` without its type."""


class WholeAnswer(msgspec.Struct, omit_defaults=True):
    """The body of an answer that is not streamed. Empty fields are left out, except `text`."""

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


def merge(events: Iterable[Event]) -> WholeAnswer:
    """Merge `events`, from Start to Done, into one answer."""
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
    return answer


def _merge_call(fragments: list[ToolCall]) -> WholeToolCall:
    id = next((each.id for each in fragments if each.id), None)
    name = next((each.name for each in fragments if each.name), None)
    extra: dict[str, Any] = {}
    for each in fragments:
        add_state(extra, each.extra or {})
    arguments = "".join([each.arguments or "" for each in fragments])
    return WholeToolCall(id, name, arguments, fragments[0].kind, joined(extra) or None)
