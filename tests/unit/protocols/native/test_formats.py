"""Events to bytes: one record a line for any text of a model, and every string is decoded unchanged."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.core.events import Delta, Done, Event, Failed, Ping, Reasoning, Refusal, Start, ToolCall, Usage
from quartapp.protocols.common.encoding import to_json_lines
from quartapp.protocols.native.formats import ACCEPTED, encode_text

RECORDS: list[tuple[Event, str]] = [
    (Start("id-1", "m"), '{"type":"start","id":"id-1","model":"m"}'),
    (Delta("a"), '{"type":"delta","text":"a"}'),
    (Reasoning("a"), '{"type":"reasoning","text":"a"}'),
    (Refusal("a"), '{"type":"refusal","text":"a"}'),
    (
        ToolCall(0, "c1", "f", "{}"),
        '{"type":"tool_call","index":0,"id":"c1","name":"f","arguments":"{}"}',
    ),
    (ToolCall(1, arguments='{"a"'), '{"type":"tool_call","index":1,"arguments":"{\\"a\\""}'),
    (Ping(), '{"type":"ping"}'),
    (Done("stop"), '{"type":"done","finish_reason":"stop"}'),
    (
        Done("length", Usage(1, 0, 1)),
        '{"type":"done","finish_reason":"length","usage":{"input_tokens":1,"output_tokens":0,"total_tokens":1}}',
    ),
    (Failed("overloaded", "m.", "id-1"), '{"type":"error","code":"overloaded","message":"m.","id":"id-1"}'),
    (
        Failed("overloaded", "m.", "id-1", 0),
        '{"type":"error","code":"overloaded","message":"m.","id":"id-1","retry_after_s":0}',
    ),
]

HOSTILE = [
    "",
    "\n",
    "\r",
    "\r\n",
    "a\n\nb\n",
    "\x0b\x0c\x1c\x1d\x1e\x85",
    "\u2028\u2029",
    "\x00",
    "\x1b[31m\x07",
    "\x7f",
    "\ufeff",
    '"',
    "\\",
    '\\"},{"type":"done"}',
    '"}\n{"type":"done","finish_reason":"stop"}\n',
    "data: [DONE]\n\n",
    "event: end\nid: 1\n\n",
    "</script><img src=x onerror=alert(1)>",
    "__proto__",
    "constructor",
    "é€😀\u202e\u200b",
    "\U000e0041",
    "\uffff\ufffe",
    "{{7*7}} ${7*7} %s {0.__class__}",
    "a" * 100_000,
]

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
COUNT = st.integers(0, 2**53)
OPTIONAL = st.none() | TEXT

EVENTS = st.lists(
    st.one_of(
        st.builds(Start, TEXT, TEXT),
        st.builds(Delta, TEXT),
        st.builds(Reasoning, TEXT),
        st.builds(Refusal, TEXT),
        st.builds(ToolCall, COUNT, OPTIONAL, OPTIONAL, OPTIONAL),
        st.just(Ping()),
        st.builds(Done, TEXT, st.none() | st.builds(Usage, COUNT, COUNT, COUNT)),
        st.builds(Failed, TEXT, TEXT, TEXT, st.none() | COUNT),
    )
)


def records(data: bytes) -> list[Any]:
    *lines, rest = data.split(b"\n")
    assert rest == b""
    return [json.loads(line) for line in lines]


def expected(event: Event) -> dict[str, Any]:
    """Return the fields of an event by its declaration, without the encoder under test."""
    return {"type": event.__struct_config__.tag, **known_fields(event)}


def known_fields(struct: msgspec.Struct) -> dict[str, Any]:
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return {name: known_fields(v) if isinstance(v, Usage) else v for name, v in fields.items() if v is not None}


# -- NDJSON


@pytest.mark.parametrize(("event", "line"), RECORDS)
def test_a_record_is_one_line_of_json_without_what_does_not_apply(event: Event, line: str) -> None:
    assert to_json_lines([event]) == line.encode() + b"\n"


def test_several_events_are_several_lines_in_their_order() -> None:
    events, lines = zip(*RECORDS, strict=True)
    assert to_json_lines(events) == "".join(line + "\n" for line in lines).encode()
    assert to_json_lines([]) == b""


@pytest.mark.parametrize("string", HOSTILE, ids=ascii)
def test_a_hostile_string_stays_inside_its_record(string: str) -> None:
    events: list[Event] = [Delta(string), ToolCall(0, string, string, string), Start(string, string), Done(string)]
    data = to_json_lines(events)
    assert records(data) == [expected(event) for event in events]
    assert b"\r" not in data
    assert not set(data) & set(range(0x20)) - {ord("\n")}


@given(events=EVENTS)
def test_every_event_comes_back_from_its_line(events: list[Event]) -> None:
    assert records(to_json_lines(events)) == [expected(event) for event in events]


# -- text


def test_text_has_the_deltas_and_refusals_and_nothing_else() -> None:
    events = [event for event, _ in RECORDS]
    assert encode_text([*events, Delta("b")]) == b"aab"
    assert encode_text([Ping(), Reasoning("hm"), Done("stop")]) == b""
    assert encode_text([]) == b""


@pytest.mark.parametrize("string", HOSTILE, ids=ascii)
def test_text_is_sent_unchanged(string: str) -> None:
    assert encode_text([Delta(string), Refusal(string)]).decode() == string * 2


@given(events=EVENTS)
def test_text_is_the_joined_text_of_deltas_and_refusals(events: list[Event]) -> None:
    joined = "".join(event.text for event in events if isinstance(event, Delta | Refusal))
    assert encode_text(events).decode() == joined


# -- the table


def test_all_but_the_first_format_have_room_for_records() -> None:
    assert [(name, format.has_records) for name, format in ACCEPTED.items()] == [
        ("text/plain", False),
        ("application/x-ndjson", True),
        ("text/event-stream", True),
    ]
    assert {name: format.media_type for name, format in ACCEPTED.items()} == {name: name for name in ACCEPTED}
