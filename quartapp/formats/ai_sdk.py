"""Vercel's UI message stream, version 1: what `useChat` of the AI SDK reads, major versions 5 to 7.

Its readers take a stream that merely ends for a whole answer, and an unknown part for an error: every failure is told
with `error` and `finish`, and only parts that all three versions know are sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from quartapp.events import Delta, Done, Event, Failed, Ping, Reasoning, Refusal, Start, ToolCall, Usage
from quartapp.formats.encoding import from_json, to_json, to_utf8

HEADERS: Final[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}

Part = dict[str, Any]

_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


class Parts:
    """The parts of one answer: it knows which one is open, for a part is closed before another begins."""

    def __init__(self) -> None:
        self._open = ""
        self._count = 0
        self._calls: dict[int, list[str]] = {}
        self._ids: dict[int, tuple[str, str]] = {}

    def encode(self, events: Sequence[Event]) -> bytes:
        """The events of the stream; the last is `[DONE]`, after a failure too."""
        return b"".join([self._event(event) for event in events])

    def _event(self, event: Event) -> bytes:
        parts = b"".join([b"data: " + to_json(part) + b"\n\n" for part in self._parts(event)])
        return parts + b"data: [DONE]\n\n" if isinstance(event, Done | Failed) else parts

    def _parts(self, event: Event) -> Iterator[Part]:
        match event:
            case Start(id, model):
                yield {"type": "start", "messageId": id, "messageMetadata": {"model": model}}
                yield {"type": "start-step"}
            case Ping():  # transient: it goes to `onData`, and into no message
                yield {"type": "data-ping", "data": {}, "transient": True}
            case Delta(text) | Refusal(text):
                yield from self._text("text", text)
            case Reasoning(text):
                yield from self._text("reasoning", text)
            case ToolCall():
                yield from self._tool_call(event)
            case Done(reason, usage):
                yield from self._close()
                yield from self._tool_inputs()
                yield {"type": "finish-step"}
                yield _finish(_FINISH_REASONS.get(reason, "other"), usage)
            case Failed(_, message):
                yield from self._close()
                yield {"type": "finish-step"}
                yield {"type": "error", "errorText": message}
                yield _finish("error", None)

    def _text(self, kind: str, text: str) -> Iterator[Part]:
        if self._open != kind:
            yield from self._close()
            self._open = kind
            self._count += 1
            yield {"type": f"{kind}-start", "id": str(self._count)}
        yield {"type": f"{kind}-delta", "id": str(self._count), "delta": text}

    def _close(self) -> Iterator[Part]:
        if self._open:
            yield {"type": f"{self._open}-end", "id": str(self._count)}
            self._open = ""

    def _tool_call(self, event: ToolCall) -> Iterator[Part]:
        yield from self._close()
        if event.index not in self._ids:
            call = (event.id or f"call-{event.index}", event.name or "unknown")
            self._ids[event.index], self._calls[event.index] = call, []
            yield {"type": "tool-input-start", "toolCallId": call[0], "toolName": call[1]}
        if event.arguments:
            self._calls[event.index].append(event.arguments)
            call_id = self._ids[event.index][0]
            yield {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": event.arguments}

    def _tool_inputs(self) -> Iterator[Part]:
        """Each call's whole input, which a reader may act on only now; what it cannot take is an error of the model."""
        for index, (call_id, name) in self._ids.items():
            text = "".join(self._calls[index])
            part: Part = {"toolCallId": call_id, "toolName": name}
            try:
                yield {"type": "tool-input-available", **part, "input": _input(text)}
            except (ValueError, RecursionError):
                yield {"type": "tool-input-error", **part, "input": text, "errorText": "The arguments are not JSON."}


def _input(text: str) -> Any:
    """The value of a call's arguments. Raises ValueError or RecursionError for what is not JSON to a reader."""
    value = from_json(to_utf8(text) or b"{}")
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            _check_names(each)
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return value


def _check_names(value: dict[str, Any]) -> None:
    """Over a name that could reach an object's prototype, all versions throw the whole answer away."""
    constructor = value.get("constructor")
    if "__proto__" in value or (isinstance(constructor, dict) and "prototype" in constructor):
        raise ValueError("a name that no reader takes")


def _finish(reason: str, usage: Usage | None) -> Part:
    finish: Part = {"type": "finish", "finishReason": reason}
    if usage is not None:
        finish["messageMetadata"] = {"usage": _counts(usage)}
    return finish


def _counts(usage: Usage) -> dict[str, int]:
    """Return the counts under the names that all versions of the SDK know."""
    counts = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "reasoningTokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}
