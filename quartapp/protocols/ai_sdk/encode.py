"""The encoder of Vercel's UI message stream, version 1, which `useChat` reads (AI SDK 5 to 7).

The SDK treats a stream that ends early as a complete answer, so every failure is sent as `error` and `finish`. An
unknown part is an error to it, so only parts that all three versions know are sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

from quartapp.core.events import (
    BLANK_LINE,
    Annotation,
    Delta,
    Done,
    Event,
    Failed,
    Image,
    Ping,
    Reasoning,
    Refusal,
    Start,
    Step,
    ToolApproval,
    ToolCall,
    ToolResult,
)
from quartapp.core.request import JsonObject
from quartapp.protocols.ai_sdk import types as ui
from quartapp.protocols.common.encoding import from_json, to_json, to_utf8
from quartapp.protocols.common.format import Format
from quartapp.protocols.common.states import add_state, joined

HEADERS: Final[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}

_DATA = re.compile(r"data:(image/[a-z0-9.+-]+)", re.IGNORECASE)

_FINISH_REASONS: Final[Mapping[str, ui.FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


class PartEncoder:
    """The parts of one answer. The open part is remembered, because it has to end before another one starts.

    With a `message_id` the answer continues that message of the client.
    """

    def __init__(self, message_id: str | None = None) -> None:
        self._message_id = message_id
        self._run: TextRun | None = None
        self._count = 0
        self._sources: set[str] = set()
        self._calls: dict[int, _Call] = {}
        self._is_between_steps = False
        self._begins_with_line = False

    def encode(self, events: Sequence[Event]) -> bytes:
        """Return the server-sent events for `events`; the last of an answer is `[DONE]`, after a failure too."""
        return b"".join([self._event(event) for event in events])

    def _event(self, event: Event) -> bytes:
        parts = b"".join([b"data: " + to_json(part) + b"\n\n" for part in self._parts(event)])
        return parts + b"data: [DONE]\n\n" if isinstance(event, Done | Failed) else parts

    def _parts(self, event: Event) -> Iterator[ui.StreamPart]:
        match event:
            case Start(id, model):
                yield ui.StartPart(self._message_id or id, ui.StartMetadata(model))
                yield ui.StartStepPart()
            case Ping():
                yield ui.PingPart({}, transient=True)
            case Step(extra):
                yield from self._end_turn(extra or None)
                self._is_between_steps = True
            case ToolResult():
                yield _tool_output(event)
            case ToolApproval(id):
                yield ui.ToolApprovalRequestPart(id, id)
            case Done():
                yield from self._end(event)
            case Failed(_, message):
                yield from self._close()
                yield ui.FinishStepPart()
                yield ui.ErrorPart(message)
                yield ui.FinishPart("error")
            case _:
                yield from self._content(event)

    def _begin_turn(self) -> Iterator[ui.StreamPart]:
        """Yield the beginning of the step for a turn after results of tools."""
        if self._is_between_steps:
            self._is_between_steps = False
            self._begins_with_line = True
            yield ui.FinishStepPart()
            yield ui.StartStepPart()

    def _content(self, event: Event) -> Iterator[ui.StreamPart]:
        """Yield the parts of a piece of a turn."""
        yield from self._begin_turn()
        if isinstance(event, Delta) and self._begins_with_line:  # the SDK has a part for the text of each turn
            self._begins_with_line = False
            event = Delta(event.text.removeprefix(BLANK_LINE))
        match event:
            case Delta(text) | Refusal(text) | Reasoning(text):
                yield from self._text(REASONING if isinstance(event, Reasoning) else TEXT, text)
            case ToolCall():
                yield from self._tool_call(event)
            case Annotation(url=str(url), title=title):
                yield from self._source(url, title)
            case Image(url):
                yield ui.ShownImagePart(_media_type(url), url)

    def _end_turn(self, state: JsonObject | None) -> Iterator[ui.StreamPart]:
        """Yield the rest of a turn of the model, with the `state` that has to come back with it."""
        if self._calls:  # in the first call, because a step with several calls has only one place
            next(iter(self._calls.values())).state.turn = state
        yield from self._close(ui.AttachedState(turn=state))
        for call in self._calls.values():
            yield _tool_input(call)
        self._calls = {}

    def _end(self, done: Done) -> Iterator[ui.StreamPart]:
        if done.finish_reason != "tool_calls":  # a last turn without content: pages must not send the results again
            yield from self._begin_turn()
        yield from self._end_turn(done.extra or None)
        yield ui.FinishStepPart()
        usage = None if done.usage is None else ui.FinishMetadata(ui.UsageCounts(**asdict(done.usage)))
        yield ui.FinishPart(_FINISH_REASONS.get(done.finish_reason, "other"), usage)

    def _source(self, url: str, title: str | None) -> Iterator[ui.StreamPart]:
        """Yield a source once for each URL, because the SDK has no field for the position of a citation."""
        if url not in self._sources:
            self._sources.add(url)
            yield ui.SourceUrlPart(f"source-{len(self._sources)}", url, title or None)

    def _text(self, run: TextRun, text: str) -> Iterator[ui.StreamPart]:
        if self._run is not run:
            yield from self._close()
            self._run = run
            self._count += 1
            yield run.start(str(self._count))
        yield run.delta(str(self._count), text)

    def _close(self, state: ui.AttachedState | None = None) -> Iterator[ui.StreamPart]:
        if self._run is not None:
            yield self._run.end(str(self._count), _metadata(state))
            self._run = None

    def _tool_call(self, event: ToolCall) -> Iterator[ui.StreamPart]:
        yield from self._close()
        call = self._calls.get(event.index)
        if call is None:
            state = ui.AttachedState(kind="custom" if event.kind else None)
            call = _Call(event.id or f"call-{event.index}", event.name or "unknown", state)
            self._calls[event.index] = call
            yield ui.ToolInputStartPart(call.id, call.name)
        if event.arguments:
            call.arguments.append(event.arguments)
            yield ui.ToolInputDeltaPart(call.id, event.arguments)
        if event.extra:
            add_state(call.extra, event.extra)


class TextRun(NamedTuple):
    """The types of the parts of a run of text or of reasoning."""

    start: type[ui.TextStartPart]
    delta: type[ui.TextDeltaPart]
    end: type[ui.TextEndPart]


TEXT: Final = TextRun(ui.TextStartPart, ui.TextDeltaPart, ui.TextEndPart)
REASONING: Final = TextRun(ui.ReasoningStartPart, ui.ReasoningDeltaPart, ui.ReasoningEndPart)


class _Call(Struct):
    """A tool call so far."""

    id: str
    name: str
    state: ui.AttachedState
    arguments: list[str] = []
    extra: dict[str, Any] = {}


def _tool_input(call: _Call) -> ui.StreamPart:
    """Return the complete input of a call.

    Clients run the tool now, not earlier. Input that they cannot read is sent as an error of the model.
    """
    text, state = "".join(call.arguments), call.state
    state.extra = joined(call.extra) or None
    metadata = _metadata(state)
    try:
        value = _input(text) if state.kind is None else text
        return ui.ToolInputAvailablePart(call.id, call.name, value, metadata)
    except (ValueError, RecursionError):
        return ui.ToolInputErrorPart(call.id, call.name, text, "The arguments are not JSON.", metadata)


def _tool_output(result: ToolResult) -> ui.StreamPart:
    """Return the result of a call. An object or a list in JSON is decoded, because pages show its fields."""
    if result.is_error:
        return ui.ToolOutputErrorPart(result.id, result.content)
    try:
        value = _input(result.content) if result.content[:1] in ("{", "[") else result.content
    except (ValueError, RecursionError):
        value = result.content
    return ui.ToolOutputAvailablePart(result.id, value)


def _media_type(url: str) -> str:
    """Return the media type of an image: of a data URL its own, of a remote URL `image/*`."""
    return found[1].lower() if (found := _DATA.match(url)) else "image/*"


def _metadata(state: ui.AttachedState | None) -> ui.ProviderMetadata | None:
    """Return the field in which the SDK keeps state of the server that has to come back with the part."""
    state = state or ui.AttachedState()
    try:
        _check_value([state.extra, state.turn])
    except ValueError:  # without its state the client can still show the call
        state = ui.AttachedState(kind=state.kind)
    return None if state == ui.AttachedState() else ui.ProviderMetadata(state)


def _input(text: str) -> Any:
    """Decode the arguments of a call. Raises ValueError or RecursionError for text that the SDK cannot parse."""
    value = from_json(to_utf8(text) or b"{}")
    _check_value(value)
    return value


def _check_value(value: Any) -> None:
    """Raise ValueError for a value that contains a key for which the SDK discards the answer."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            _check_names(each)
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _check_names(value: dict[str, Any]) -> None:
    """Raise ValueError for a key that could reach the prototype of an object: all versions discard the answer."""
    constructor = value.get("constructor")
    if "__proto__" in value or (isinstance(constructor, dict) and "prototype" in constructor):
        raise ValueError("a key that the SDK refuses")


def ui_message_stream(message_id: str | None = None) -> Format:
    """Return the format of an answer that continues the message with this id, or is a message of its own."""
    return Format("text/event-stream", lambda: PartEncoder(message_id).encode, headers=HEADERS)
