"""Checks that bytes are an answer, complete and nothing else, with an independent parser for each format."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from quartapp.core.events import Done, Event, Failed, Ping, Raw, Start
from tests.support import contract
from tests.support.parsers import (
    PING,
    Comment,
    EventStreamReader,
    NdjsonReader,
    ServerSentEvent,
    WireError,
    plain_data,
    read_event_stream,
    read_ndjson,
    read_object,
    read_openai,
)
from tests.support.ui_parser import read_ui_message
from tests.support.vectors import CREATED, Case

Message = Comment | ServerSentEvent


def check_text(case: Case, data: bytes) -> None:
    assert data.decode() == contract.body(case.batches)


def check_ndjson(case: Case, data: bytes) -> None:
    check_lines(data)
    assert read_ndjson(data) == [contract.record(event) for event in case.events]


def check_sse(case: Case, data: bytes) -> None:
    check_lines(data)
    assert list(map(_decoded, read_event_stream(data))) == list(map(_expected, case.events))


def _decoded(event: Message) -> Any:
    assert not isinstance(event, Comment)
    return (event.type, event.last_event_id, read_object(event.data))


def _expected(event: Event) -> Any:
    types = {Start: "start", Done: "end", Failed: "end", Ping: "ping"}
    return types.get(type(event), "message"), "0", contract.record(event)


def check_json(case: Case, data: bytes) -> None:
    assert read_object(data.decode()) == contract.whole_answer(case.events)


def check_openai(case: Case, data: bytes) -> None:
    if any(isinstance(event, Raw) for event in case.events):
        check_raw(case, data)
        return
    check_lines(data)
    stream, end = read_openai(data), case.events[-1]
    assert [delta for delta in stream.deltas if delta] == [delta for delta in contract.deltas(case.events) if delta]
    assert stream.pings == sum(isinstance(event, Ping) for event in case.events)
    assert stream.finish_reason == (contract.well_formed(end.finish_reason) if isinstance(end, Done) else None)
    assert stream.usage == (contract.openai_usage(end.usage) if isinstance(end, Done) and case.include_usage else None)
    assert stream.error == contract.openai_error(end if isinstance(end, Failed) else None)
    start = contract.the(Start, case.events)
    head = (
        {("chatcmpl-" + contract.well_formed(start.id), CREATED, contract.well_formed(start.model))} if start else set()
    )
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in stream.chunks} <= head


def check_raw(case: Case, data: bytes) -> None:
    """Check that the upstream's own chunks are the same bytes but for the line ends between tokens."""
    *messages, end = plain_data(data)
    pings = [chunk for chunk in messages if json.loads(chunk)["choices"] == [PING]]
    assert len(pings) == sum(isinstance(event, Ping) for event in case.events)
    chunks = [chunk for chunk in messages if chunk not in pings]
    payloads = [event.payload for event in case.events if isinstance(event, Raw)]
    assert [chunk.split() for chunk in chunks] == [payload.decode().split() for payload in payloads]
    assert list(map(json.loads, chunks)) == list(map(json.loads, payloads))
    assert (end == "[DONE]") is isinstance(case.events[-1], Done)


def check_ui(case: Case, data: bytes) -> None:
    check_lines(data)
    message, start, end = read_ui_message(data), contract.the(Start, case.events), case.events[-1]
    assert start is not None
    assert message.id == contract.well_formed(start.id)
    assert message.metadata == contract.ui_metadata(case.events)
    assert [_without_text_id(part) for part in message.parts] == contract.ui_parts(case.events)
    assert message.finish_reason == contract.ui_finish_reason(end)
    assert message.error == (contract.well_formed(end.message) if isinstance(end, Failed) else None)
    assert message.pings == sum(isinstance(event, Ping) for event in case.events)


def _without_text_id(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "id"}


def check_lines(data: bytes) -> None:
    """Check that each parser of lines finds the same lines, also if it ends lines as Unicode does."""
    assert data.decode().splitlines(keepends=True) == [line + "\n" for line in data.decode().split("\n")[:-1]]


CHECKS: Final[dict[str, Callable[[Case, bytes], None]]] = {
    "text": check_text,
    "ndjson": check_ndjson,
    "sse": check_sse,
    "json": check_json,
    "openai": check_openai,
    "ai_sdk": check_ui,
}


# -- bodies that are accepted as a complete answer


def _ndjson_ended(data: bytes) -> bool:
    return any(record["type"] in ("done", "error") for record in NdjsonReader().feed(data))


def _sse_ended(data: bytes) -> bool:
    events = EventStreamReader().feed(data)
    return any(isinstance(event, ServerSentEvent) and event.type == "end" for event in events)


def _openai_ended(data: bytes) -> bool:
    return _can_read(read_openai, data)


def _ui_ended(data: bytes) -> bool:
    return _can_read(read_ui_message, data)


def _can_read(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except WireError:
        return False
    return True


HAS_ENDED: Final[dict[str, Callable[[bytes], bool]]] = {
    "ndjson": _ndjson_ended,
    "sse": _sse_ended,
    "openai": _openai_ended,
    "ai_sdk": _ui_ended,
}
