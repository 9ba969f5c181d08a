"""The parsers that check the formats: they follow the standards, and are strict where clients are lenient."""

from __future__ import annotations

import pytest

from tests.support.parsers import (
    Comment,
    EventStreamReader,
    ServerSentEvent,
    WireError,
    read_event_stream,
    read_ndjson,
    read_openai,
)
from tests.support.ui_parser import read_ui_message

# -- event streams


def named(type: str, id: str) -> ServerSentEvent:
    return ServerSentEvent("", type, id)


STANDARD = [
    ("two lines of data", b"data: YHOO\ndata: +2\n\n", [ServerSentEvent("YHOO\n+2")]),
    ("nothing but its field", b"data\n\ndata\ndata\n\n", [ServerSentEvent(""), ServerSentEvent("\n")]),
    ("one space is no data", b"data:a\n\ndata:  b\n\n", [ServerSentEvent("a"), ServerSentEvent(" b")]),
    ("no blank line, no event", b"data: a\n", []),
    ("no data, no event", b"event: a\nid: 1\n\ndata: b\n\n", [ServerSentEvent("b", "message", "1")]),
    ("an id lasts, a name does not", b"id: 1\nevent: e\ndata\n\ndata\n\n", [named("e", "1"), named("message", "1")]),
    ("an empty id is one", b"id: 1\ndata\n\nid\ndata\n\n", [named("message", "1"), named("message", "")]),
    ("an id with NUL is none", b"id: 1\0\ndata\n\n", [ServerSentEvent("")]),
    ("comments and unknown fields", b": c\nx: y\ndata: a\n\n", [Comment("c"), ServerSentEvent("a")]),
    ("every line end", b"data: a\rdata: b\r\ndata: c\n\r", [ServerSentEvent("a\nb\nc")]),
    ("a byte order mark", b"\xef\xbb\xbfdata: a\n\n", [ServerSentEvent("a")]),
    ("only one byte order mark", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    ("bytes that are not UTF-8", b"data: \xff\n\n", [ServerSentEvent("\ufffd")]),
    ("other line ends are none", "data: a\u2028b\x0b\x85\n\n".encode(), [ServerSentEvent("a\u2028b\x0b\x85")]),
]


@pytest.mark.parametrize(("data", "events"), [each[1:] for each in STANDARD], ids=[each[0] for each in STANDARD])
def test_an_event_stream_is_read_by_the_standard(data: bytes, events: list[object]) -> None:
    assert EventStreamReader().feed(data) == events


def test_a_reconnection_time_is_made_of_digits() -> None:
    parser = EventStreamReader()
    parser.feed(b"retry: 1x\nretry:\n")
    assert parser.retry_ms is None
    parser.feed(b"retry: 010\n")
    assert parser.retry_ms == 10


def test_a_stream_that_leaves_an_event_open_is_refused() -> None:
    with pytest.raises(WireError, match="blank line"):
        read_event_stream(b"data: a\n")


# -- records


@pytest.mark.parametrize(
    "data",
    [b"{}", b"{}\n\n", b"[]\n", b'{"a":NaN}\n', b'{"a":1,"a":2}\n', b"{\r}\n", '{"a":"\u2028"}\n'.encode(), b"{\n}\n"],
)
def test_a_line_without_a_record_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        read_ndjson(data)


# -- OpenAI

HEAD = '"id":"c","object":"chat.completion.chunk","created":1,"model":"m"'
FIRST = f'{{{HEAD},"choices":[{{"index":0,"delta":{{"role":"assistant"}},"finish_reason":null}}]}}'
USAGE = f'{{{HEAD},"choices":[],"usage":{{}}}}'


def stream(*datas: str) -> bytes:
    return "".join(f"data: {data}\n\n" for data in datas).encode()


def test_a_completion_is_read() -> None:
    assert read_openai(stream(FIRST, "[DONE]")).deltas == [{}]
    assert read_openai(stream('{"error":{}}')).error == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        stream(FIRST),
        stream("[DONE]", "[DONE]"),
        stream('{"error":{}}', "[DONE]"),
        stream(FIRST, FIRST, "[DONE]"),
        stream(FIRST, FIRST.replace('"c"', '"d"'), "[DONE]"),
        stream(FIRST.replace('"role":"assistant"', '"content":"a"'), "[DONE]"),
        stream(FIRST.replace(".chunk", ""), "[DONE]"),
        stream('{"choices":[]}', "[DONE]"),
        b"event: x\n" + stream("[DONE]"),
        b"id: 1\n" + stream("[DONE]"),
    ],
)
def test_an_invalid_completion_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        read_openai(data)


def test_usage_comes_last() -> None:
    assert read_openai(stream(FIRST, USAGE, "[DONE]")).usage == {}
    with pytest.raises(WireError):
        _ = read_openai(stream(USAGE, FIRST, "[DONE]")).usage


# -- the AI SDK

START = '{"type":"start","messageId":"i","messageMetadata":{}}'
STEP = '{"type":"start-step"}'
OPEN = '{"type":"text-start","id":"1"}'
DELTA = '{"type":"text-delta","id":"1","delta":"a"}'
CLOSE = '{"type":"text-end","id":"1"}'
CALL = '{"type":"tool-input-start","toolCallId":"c","toolName":"f"}'
GIVEN = '{"type":"tool-input-available","toolCallId":"c","toolName":"f","input":null}'
END_STEP = '{"type":"finish-step"}'
ERROR = '{"type":"error","errorText":"e"}'
FINISH = '{"type":"finish","finishReason":"stop"}'
FAIL = '{"type":"finish","finishReason":"error"}'
DONE = "[DONE]"


@pytest.mark.parametrize(
    "parts",
    [
        (END_STEP, FINISH),
        (OPEN, DELTA, CLOSE, END_STEP, FINISH),
        (CALL, GIVEN, END_STEP, FINISH),
        (CALL, END_STEP, ERROR, FAIL),
    ],
)
def test_a_message_is_read(parts: tuple[str, ...]) -> None:
    assert read_ui_message(stream(START, STEP, *parts, DONE)).id == "i"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((START, STEP, *parts), id=rule)
        for rule, *parts in [
            ("no end", OPEN, DELTA, CLOSE),
            ("no finish", END_STEP, DONE),
            ("no [DONE]", END_STEP, FINISH),
            ("two ends", END_STEP, FINISH, DONE, DONE),
            ("two finishes", END_STEP, FINISH, FINISH, DONE),
            ("two starts", START, END_STEP, FINISH, DONE),
            ("two steps in one", STEP, END_STEP, FINISH, DONE),
            ("a step that goes on", FINISH, DONE),
            ("a part after its step", END_STEP, OPEN, CLOSE, FINISH, DONE),
            ("a part after the finish", END_STEP, FINISH, STEP, DONE),
            ("a part that goes on", OPEN, DELTA, END_STEP, FINISH, DONE),
            ("a part within a part", OPEN, CALL, GIVEN, CLOSE, END_STEP, FINISH, DONE),
            ("a delta before its start", DELTA, END_STEP, FINISH, DONE),
            ("a delta of another part", OPEN, DELTA.replace("1", "2"), CLOSE, END_STEP, FINISH, DONE),
            ("an id that is taken", OPEN, CLOSE, OPEN, CLOSE, END_STEP, FINISH, DONE),
            ("a prototype", CALL, GIVEN.replace("null", '[{"__proto__":1}]'), END_STEP, FINISH, DONE),
            ("a way to one", CALL, GIVEN.replace("null", '{"constructor":{"prototype":1}}'), END_STEP, FINISH, DONE),
            ("null", OPEN, DELTA.replace('"a"', "null"), CLOSE, END_STEP, FINISH, DONE),
            ("a field that is missing", OPEN.replace(',"id":"1"', ""), END_STEP, FINISH, DONE),
            ("a field that is unknown", STEP.replace("}", ',"id":"1"}'), END_STEP, FINISH, DONE),
            ("a part that is unknown", '{"type":"custom"}', END_STEP, FINISH, DONE),
            ("a reason that is unknown", END_STEP, FINISH.replace("stop", "unknown"), DONE),
            ("a call without its input", CALL, END_STEP, FINISH, DONE),
            ("a call without its start", GIVEN, END_STEP, FINISH, DONE),
            ("a call that begins twice", CALL, CALL, GIVEN, END_STEP, FINISH, DONE),
            ("a call of another name", CALL, GIVEN.replace("f", "g"), END_STEP, FINISH, DONE),
            ("an error that is none", END_STEP, ERROR, FINISH, DONE),
            ("an error without a word", END_STEP, FAIL, DONE),
            ("two errors", END_STEP, ERROR, ERROR, FAIL, DONE),
        ]
    ],
)
def test_a_message_that_a_version_would_refuse_or_misread_is_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(WireError):
        read_ui_message(stream(*parts))


def test_a_message_begins_with_its_start() -> None:
    with pytest.raises(WireError, match="start"):
        read_ui_message(stream(STEP, END_STEP, FINISH, DONE))
