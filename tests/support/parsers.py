"""Readers of the wire formats, written from their standards and not from the encoders: what one of them refuses,
a client somewhere would trip over.

All raise WireError for anything that a strict reader may refuse. The two that read records take bytes as they come.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


class WireError(ValueError):
    """The bytes break the rules of their format."""


def expect(condition: bool, rule: str) -> None:
    if not condition:
        raise WireError(rule)


def read_object(text: str) -> Json:
    """A JSON object as RFC 8259 has it: no NaN, no name twice, no line end in it."""
    expect(len(text.splitlines()) == 1, f"one object is one line: {text!r:.200}")
    try:
        value = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise WireError(f"not JSON: {text!r:.200}") from error
    expect(isinstance(value, dict), f"not an object: {text!r:.200}")
    return dict(value)


def _without_doubles(pairs: list[tuple[str, Any]]) -> Json:
    expect(len({name for name, _ in pairs}) == len(pairs), "each name of an object once")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise WireError(f"{name} is not JSON")


# -- NDJSON


class NdjsonReader:
    """Reads objects, one a line; the last line ends in a line feed too."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Json]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [read_object(line.decode()) for line in lines]

    def end(self) -> None:
        expect(self._rest == b"", "the last line is complete")


def read_ndjson(data: bytes) -> list[Json]:
    reader = NdjsonReader()
    records = reader.feed(data)
    reader.end()
    return records


# -- server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html


@dataclass(frozen=True)
class ServerSentEvent:
    """An event that an `EventSource` dispatches."""

    data: str
    type: str = "message"
    last_event_id: str = ""


@dataclass(frozen=True)
class Comment:
    text: str


class EventStreamReader:
    """A parser of event streams as the standard defines it, which also returns comments.

    An event without a blank line at the end of the stream is dropped.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._at_start = True
        self._after_cr = False
        self._data: list[str] = []
        self._type = ""
        self._last_event_id = ""
        self.retry_ms: int | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent | Comment]:
        return [event for line in self._lines(self._decoder.decode(data)) for event in self._line(line)]

    def _lines(self, text: str) -> list[str]:
        """Return the lines that `text` ends; a CR ends one at once, and an LF after it belongs to the same end."""
        if not text:
            return []
        if self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if self._after_cr:
            text = text.removeprefix("\n")
        self._after_cr = text.endswith("\r")
        *lines, self._rest = re.split(r"\r\n|\n|\r", self._rest + text)
        return lines

    def _line(self, line: str) -> Iterator[ServerSentEvent | Comment]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            yield from self._dispatch()
        elif name == "":
            yield Comment(value)
        elif name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._last_event_id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.retry_ms = int(value)

    def _dispatch(self) -> Iterator[ServerSentEvent]:
        if self._data:
            yield ServerSentEvent("\n".join(self._data), self._type or "message", self._last_event_id)
        self._data, self._type = [], ""


def read_event_stream(data: bytes) -> list[ServerSentEvent | Comment]:
    """Parse a complete stream; its last event has to end with a blank line."""
    expect(data == b"" or data.endswith(b"\n\n"), "a blank line ends the last event")
    return EventStreamReader().feed(data)


def plain_data(data: bytes) -> list[str]:
    """Return the data of a stream whose events have neither names nor ids."""
    events = [event for event in read_event_stream(data) if isinstance(event, ServerSentEvent)]
    expect(events == [ServerSentEvent(event.data) for event in events], "events without names and ids")
    return [event.data for event in events]


# -- OpenAI's chat completion chunks


#: The choice of a chunk that only keeps the connection alive.
PING: Json = {"index": 0, "delta": {}, "finish_reason": None}


@dataclass
class CompletionStream:
    """The chunks of a stream of OpenAI's API; `error` is the error object at its end."""

    chunks: list[Json]
    error: Json | None = None

    @property
    def deltas(self) -> list[Json]:
        """Return the deltas of the first choice, without the role, which is in the first."""
        return [{name: value for name, value in each["delta"].items() if name != "role"} for each in self.choices()]

    @property
    def pings(self) -> int:
        return sum(choice == PING for choice in self.choices())

    @property
    def finish_reason(self) -> str | None:
        reasons = [choice["finish_reason"] for choice in self.choices() if choice["finish_reason"] is not None]
        expect(len(reasons) < 2, "one finish_reason a choice")
        return next(iter(reasons), None)

    @property
    def usage(self) -> Json | None:
        found = [chunk for chunk in self.chunks if "usage" in chunk]
        expect(found == self.chunks[-1:][: len(found)], "usage is last")
        expect(all(chunk["choices"] == [] for chunk in found), "a chunk with usage has no choices")
        return found[0]["usage"] if found else None

    def choices(self) -> list[Json]:
        return [choice for chunk in self.chunks for choice in chunk["choices"]]


def read_openai(data: bytes) -> CompletionStream:
    """Parse a stream of our own chunks, which ends in `[DONE]` or in an error, never in both."""
    *messages, last = plain_data(data) or [""]
    stream = CompletionStream([_chunk(message) for message in messages])
    if last != "[DONE]":
        stream.error = read_object(last).get("error")
        expect(isinstance(stream.error, dict), "a stream ends in [DONE] or an error object")
    heads = {json.dumps([chunk[name] for name in ("id", "object", "created", "model")]) for chunk in stream.chunks}
    expect(len(heads) <= 1, "one completion, so one head")
    roles = [delta["delta"].get("role") for delta in stream.choices() if delta != PING]
    expect(roles == ["assistant", *[None] * len(roles)][: len(roles)], "the first chunk has the role")
    return stream


def _chunk(message: str) -> Json:
    chunk = read_object(message)
    expect(chunk.keys() - {"usage"} == {"id", "object", "created", "model", "choices"}, "a chunk's names")
    expect(chunk["object"] == "chat.completion.chunk", "a chunk's object")
    for choice in chunk["choices"]:
        expect(choice.keys() == {"index", "delta", "finish_reason"} and choice["index"] == 0, "a choice's names")
    return chunk
