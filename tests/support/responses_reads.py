"""Reads of a response's body by its parser, the events that tests change, and the answers that they expect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from quartapp.core.events import Delta, Piece, Reasoning, Refusal, ToolCall, Usage
from quartapp.upstreams.responses.events import CompleteResponseParser, ResponseParser
from tests.support.responses_upstream import (
    Document,
    call,
    message,
    refusal,
    thinking,
)

LIMIT = 1_000_000
USED = Usage(3, 5, 8, 1, 2)


@dataclass(frozen=True)
class Answer:
    """The content of a stream. Consecutive pieces of a kind are joined."""

    pieces: tuple[Piece, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    ended: bool = False
    error: str | None = None


def read(*reads: bytes, parser: ResponseParser | CompleteResponseParser | None = None) -> Answer:
    parser = parser or ResponseParser(LIMIT)
    batches = []
    for each in reads:
        batches.append(parser.feed(each))
        assert batches[-1].size == len(each)
        if parser.error is not None:
            break
    else:
        batches.append(parser.end())
    return Answer(
        pieces=tuple(join(piece for batch in batches for piece in batch.pieces)),
        finish_reason=next((batch.finish_reason for batch in batches if batch.finish_reason), None),
        usage=next((batch.usage for batch in batches if batch.usage), None),
        ended=any(batch.ended for batch in batches),
        error=parser.error.code if parser.error else None,
    )


def join(pieces: Iterable[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        match joined[-1] if joined else None, piece:
            case ToolCall(index, id, name, given, kind, extra), ToolCall(other, None, None, more) if index == other:
                joined[-1] = ToolCall(index, id, name, (given or "") + (more or ""), kind, extra)
            case Delta(begun), Delta(more):
                joined[-1] = Delta(begun + more)
            case Reasoning(begun), Reasoning(more):
                joined[-1] = Reasoning(begun + more)
            case Refusal(begun), Refusal(more):
                joined[-1] = Refusal(begun + more)
            case _:
                joined.append(piece)
    return joined


def completed(*pieces: Piece, reason: str = "stop") -> Answer:
    return Answer(pieces, reason, USED, ended=True)


def failed(code: str, *pieces: Piece) -> Answer:
    return Answer(pieces, error=code)


ROME = '{"city": "Rome"}'
FIRST, SECOND = ToolCall(0, "call_1", "weather", ROME), ToolCall(1, "call_2", "clock", "{}")
CLOCK = call("clock", "{}", 2)
ITEMS: dict[str, tuple[Document, Piece]] = {
    "text": (message("Hello"), Delta("Hello")),
    "parts": (message("Hel", "lo"), Delta("Hello")),
    "refusal": (message(refusal("No.")), Refusal("No.")),
    "summary": (thinking("I think", "a lot."), Reasoning("I think\n\na lot.")),
    "reasoning": (thinking(content=["I think."]), Reasoning("I think.")),
    "call": (call(), FIRST),
}


def without(events: Iterable[Document], *kinds: str) -> list[Document]:
    """Return the events without those that have one of `kinds` in their types."""
    return [event for event in events if not any(kind in event["type"] for kind in kinds)]


def changed(events: Iterable[Document], **fields: Any) -> list[Document]:
    """Return the events with changed fields; None removes a field."""
    taken = [{**event, **{name: value for name, value in fields.items() if name in event}} for event in events]
    return [{name: value for name, value in event.items() if value is not None} for event in taken]


def renamed(items: Iterable[Document]) -> list[Document]:
    """Return the items with other ids."""
    return [{**item, "id": f"other_{item['id']}"} for item in items]


def renamed_calls(items: Iterable[Document]) -> list[Document]:
    return [item | ({"call_id": f"other_{item['call_id']}"} if "call_id" in item else {}) for item in renamed(items)]


def piece(delta: str, number: int | None = 0, id: str | None = "msg_1", part: int | None = 0) -> Document:
    place = {"output_index": number, "item_id": id, "content_index": part}
    return changed([{"type": "response.output_text.delta", "delta": delta, **place}])[0]


def part_done(text: str, number: int | None = 0, id: str | None = "msg_1", part: int | None = 0) -> Document:
    event = changed([piece("", number, id, part)], delta=None)[0]
    return {**event, "type": "response.output_text.done", "text": text}


def item_done(item: Document, number: int | None = 0) -> Document:
    return changed([{"type": "response.output_item.done", "output_index": number, "item": item}])[0]


def item_added(item: Document, number: int = 0) -> Document:
    return {"type": "response.output_item.added", "output_index": number, "item": item}


def failure(body: bytes) -> Answer:
    """Return the answer of a failed response without its usage."""
    return replace(read(body), usage=None)
