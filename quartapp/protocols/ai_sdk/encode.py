"""The encoder of Vercel's UI message stream, version 1, which `useChat` reads (AI SDK 5 to 7).

The SDK treats a stream that ends early as a complete answer, so every failure is sent as `error` and `finish`. An
unknown part is an error to it, so only parts that all three versions know are sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from quartapp.core.events import (
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
    ToolCall,
    Usage,
)
from quartapp.protocols.common.encoding import from_json, to_json, to_utf8
from quartapp.protocols.common.format import Format
from quartapp.protocols.common.states import add_state, joined

HEADERS: Final[Mapping[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}

EncodedPart = dict[str, Any]

#: The key of our state in `providerMetadata`. `request` reads it when a client sends a part back.
STATE_KEY: Final = "quartapp"

_DATA = re.compile(r"data:(image/[a-z0-9.+-]+)", re.IGNORECASE)

_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


class PartEncoder:
    """The parts of one answer. The open part is remembered, because it has to end before another one starts."""

    def __init__(self) -> None:
        self._open = ""
        self._count = 0
        self._sources: set[str] = set()
        self._calls: dict[int, list[str]] = {}
        self._ids: dict[int, tuple[str, str]] = {}
        self._ours: dict[int, EncodedPart] = {}

    def encode(self, events: Sequence[Event]) -> bytes:
        """Return the server-sent events for `events`; the last of an answer is `[DONE]`, after a failure too."""
        return b"".join([self._event(event) for event in events])

    def _event(self, event: Event) -> bytes:
        parts = b"".join([b"data: " + to_json(part) + b"\n\n" for part in self._parts(event)])
        return parts + b"data: [DONE]\n\n" if isinstance(event, Done | Failed) else parts

    def _parts(self, event: Event) -> Iterator[EncodedPart]:
        match event:
            case Start(id, model):
                yield {"type": "start", "messageId": id, "messageMetadata": {"model": model}}
                yield {"type": "start-step"}
            case Ping():  # transient: `onData` gets it, and no message contains it
                yield {"type": "data-ping", "data": {}, "transient": True}
            case Delta(text) | Refusal(text) | Reasoning(text):
                yield from self._text("reasoning" if isinstance(event, Reasoning) else "text", text)
            case ToolCall():
                yield from self._tool_call(event)
            case Annotation(url=url, title=title):
                yield from self._source(url, title)
            case Image(url):
                yield {"type": "file", "mediaType": _media_type(url), "url": url}
            case Done():
                yield from self._end(event)
            case Failed(_, message):
                yield from self._close()
                yield {"type": "finish-step"}
                yield {"type": "error", "errorText": message}
                yield _finish("error", None)

    def _end(self, done: Done) -> Iterator[EncodedPart]:
        extra = done.extra
        if extra and self._ours:  # in the first call, because a step with several calls has only one place
            next(iter(self._ours.values()))["turn"] = extra
        yield from self._close({"turn": extra} if extra else {})
        yield from self._tool_inputs()
        yield {"type": "finish-step"}
        yield _finish(_FINISH_REASONS.get(done.finish_reason, "other"), done.usage)

    def _source(self, url: str | None, title: str | None) -> Iterator[EncodedPart]:
        """Yield a source once for each URL, because the SDK has no field for the position of a citation."""
        if url is not None and url not in self._sources:
            self._sources.add(url)
            source = {"type": "source-url", "sourceId": f"source-{len(self._sources)}", "url": url}
            yield source | ({"title": title} if title else {})

    def _text(self, kind: str, text: str) -> Iterator[EncodedPart]:
        if self._open != kind:
            yield from self._close()
            self._open = kind
            self._count += 1
            yield {"type": f"{kind}-start", "id": str(self._count)}
        yield {"type": f"{kind}-delta", "id": str(self._count), "delta": text}

    def _close(self, ours: EncodedPart | None = None) -> Iterator[EncodedPart]:
        if self._open:
            yield {"type": f"{self._open}-end", "id": str(self._count), **_metadata(ours)}
            self._open = ""

    def _tool_call(self, event: ToolCall) -> Iterator[EncodedPart]:
        yield from self._close()
        if event.index not in self._ids:
            call = (event.id or f"call-{event.index}", event.name or "unknown")
            self._ids[event.index], self._calls[event.index] = call, []
            self._ours[event.index] = {} if event.kind is None else {"kind": event.kind}
            yield {"type": "tool-input-start", "toolCallId": call[0], "toolName": call[1]}
        if event.arguments:
            self._calls[event.index].append(event.arguments)
            call_id = self._ids[event.index][0]
            yield {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": event.arguments}

        if event.extra:
            add_state(self._ours[event.index].setdefault("extra", {}), event.extra)

    def _tool_inputs(self) -> Iterator[EncodedPart]:
        """Yield the complete input of each call.

        Clients run the tool now, not earlier. Input that they cannot read is sent as an error of the model.
        """
        for index, (call_id, name) in self._ids.items():
            text = "".join(self._calls[index])
            ours = joined(self._ours[index])
            part: EncodedPart = {"toolCallId": call_id, "toolName": name, **_metadata(ours)}
            try:
                value = text if "kind" in ours else _input(text)
                yield {"type": "tool-input-available", **part, "input": value}
            except (ValueError, RecursionError):
                yield {"type": "tool-input-error", **part, "input": text, "errorText": "The arguments are not JSON."}


def _media_type(url: str) -> str:
    """Return the media type of an image: of a data URL its own, of a remote URL `image/*`."""
    return found[1].lower() if (found := _DATA.match(url)) else "image/*"


def _metadata(ours: EncodedPart | None) -> EncodedPart:
    """Return the field in which the SDK keeps state of the server that has to come back with the part."""
    try:
        _check_value(ours)
    except ValueError:  # without its state the client can still show the call
        ours = {name: value for name, value in (ours or {}).items() if name == "kind"}
    return {"providerMetadata": {STATE_KEY: ours}} if ours else {}


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


def _finish(reason: str, usage: Usage | None) -> EncodedPart:
    finish: EncodedPart = {"type": "finish", "finishReason": reason}
    if usage is not None:
        finish["messageMetadata"] = {"usage": _counts(usage)}
    return finish


def _counts(usage: Usage) -> dict[str, int]:
    """Return the token counts under the names that all versions of the SDK know."""
    counts = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "reasoningTokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


UI_MESSAGE_STREAM: Final = Format("text/event-stream", lambda: PartEncoder().encode, headers=HEADERS)
