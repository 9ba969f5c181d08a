"""The stream of a response to batches: events with content, events without, and every way to omit or to split them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import Phase, example, given
from hypothesis import strategies as st

from quartapp.core.events import Delta, Reasoning, Refusal, ToolCall
from quartapp.upstreams.responses.events import CompleteResponseParser, ResponseParser, open_response_parser
from tests.support import responses_upstream as upstream
from tests.support.examples import examples
from tests.support.responses_reads import (
    CLOCK,
    FIRST,
    ITEMS,
    LIMIT,
    SECOND,
    USED,
    Answer,
    completed,
    failed,
    read,
)
from tests.support.responses_upstream import (
    Document,
    begun,
    call,
    data,
    encode,
    ended,
    message,
    refusal,
    stream,
    thinking,
    told,
)

DONE = b"data: [DONE]\n\n"


# -- events of OpenAI


SOUND: dict[str, tuple[list[Document], Answer]] = {
    "text": (stream(message("Hello, world.")), completed(Delta("Hello, world."))),
    "nothing": (stream(), completed()),
    "empty text": (stream(message("")), completed()),
    "text in two parts": (stream(message("Hello, ", "world.")), completed(Delta("Hello, world."))),
    "two messages": (stream(message("One. "), message("Two.", id="msg_2")), completed(Delta("One. Two."))),
    "a summary of its reasoning": (
        stream(thinking("I think."), message("Yes.")),
        completed(Reasoning("I think."), Delta("Yes.")),
    ),
    "a summary in parts": (
        stream(thinking("First I think.", "Then again."), message("Yes.")),
        completed(Reasoning("First I think.\n\nThen again."), Delta("Yes.")),
    ),
    "reasoning twice": (
        stream(thinking("Once."), thinking("Twice.", id="rs_2"), message("Yes.")),
        completed(Reasoning("Once.\n\nTwice."), Delta("Yes.")),
    ),
    "reasoning itself": (
        stream(thinking(content=["I think."]), message("Yes.")),
        completed(Reasoning("I think."), Delta("Yes.")),
    ),
    "reasoning that is not shown": (stream(thinking(), message("Yes.")), completed(Delta("Yes."))),
    "refusal": (stream(message(refusal("I will not."))), completed(Refusal("I will not."))),
    "text, then refusal": (
        stream(message("Well. ", refusal("I will not."))),
        completed(Delta("Well. "), Refusal("I will not.")),
    ),
    "a tool call": (stream(call()), completed(FIRST, reason="tool_calls")),
    "a call without arguments": (
        stream(call(arguments="")),
        completed(ToolCall(0, "call_1", "weather", "{}"), reason="tool_calls"),
    ),
    "two calls": (stream(call(), CLOCK), completed(FIRST, SECOND, reason="tool_calls")),
    "text, then a call": (stream(message("See:"), call()), completed(Delta("See:"), FIRST, reason="tool_calls")),
    "a call, then text": (stream(call(), message("See?")), completed(FIRST, Delta("See?"), reason="tool_calls")),
    "cut at its limit": (
        stream(message("Hel"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        completed(Delta("Hel"), reason="length"),
    ),
    "cut by a filter": (
        stream(message("Hel"), status="incomplete", incomplete_details={"reason": "content_filter"}),
        completed(Delta("Hel"), reason="content_filter"),
    ),
    "cut within a call": (
        stream(call(arguments='{"ci'), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        completed(ToolCall(0, "call_1", "weather", '{"ci'), reason="length"),
    ),
    "cut before the arguments of a call": (
        stream(call(arguments=""), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        completed(ToolCall(0, "call_1", "weather"), reason="length"),
    ),
    "cut for no reason": (stream(message("Hel"), status="incomplete"), completed(Delta("Hel"), reason="length")),
    "characters of all lengths": (stream(message("aé€😀\u2028\r\n\x00")), completed(Delta("aé€😀\u2028\r\n\x00"))),
}

FAILED: dict[str, tuple[list[Document], Answer]] = {
    "at once": (
        stream(status="failed", error={"code": "server_error", "message": "secret"}),
        failed("upstream_error"),
    ),
    "busy": (
        stream(status="failed", error={"code": "rate_limit_exceeded", "message": "secret"}),
        failed("upstream_busy"),
    ),
    "after text": (
        [*begun(), *told(message("Hel"))[:3], *ended(status="failed", error={"code": "server_error", "message": "x"})],
        failed("upstream_error", Delta("Hel")),
    ),
    "an error event": (
        [*begun(), {"type": "error", "code": "context_length_exceeded", "message": "secret", "param": None}],
        failed("context_too_long"),
    ),
    "an error event without a code": (
        [*begun(), {"type": "error", "code": None, "message": "secret", "param": None}],
        failed("upstream_error"),
    ),
}


@pytest.mark.parametrize("name", SOUND | FAILED)
def test_the_official_client_can_read_the_tests_server(name: str) -> None:
    for number, event in enumerate((SOUND | FAILED)[name][0]):
        upstream.EVENTS.validate_python({**event, "sequence_number": number}, strict=True)


@pytest.mark.parametrize("name", SOUND | FAILED)
def test_a_stream_gives_the_same_answer_in_one_read_byte_by_byte_and_with_other_line_ends(name: str) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = encode(events)
    assert read(body) == expected
    assert read(*(body[at : at + 1] for at in range(len(body)))) == expected
    assert read(body.replace(b"\n", b"\r\n")) == read(b"\xef\xbb\xbf" + body) == expected


PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


@pytest.mark.parametrize("name", SOUND | FAILED)
@given(cut_at=st.lists(st.floats(0, 1), max_size=12))
@example(cut_at=[])
@examples(10, phases=PHASES)
def test_a_stream_gives_the_same_answer_however_it_is_split(name: str, cut_at: Sequence[float]) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = encode(events)
    places = sorted(int(at * len(body)) for at in cut_at)
    assert read(*(body[at:to] for at, to in zip([0, *places], [*places, len(body)], strict=True))) == expected


@pytest.mark.parametrize("name", SOUND | FAILED)
def test_a_stream_gives_the_same_answer_with_its_events_on_several_data_lines(name: str) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = encode(events).replace(b"data: {", b"data: {\ndata:\n: a comment\ndata:")
    assert read(body) == read(body.replace(b"\n", b"\r\n")) == read(body.rstrip()) == expected
    assert read(*(body[at : at + 1] for at in range(len(body)))) == expected


def test_events_without_content_add_no_pieces() -> None:
    events = [*begun(), *told(message("Hello"))[:2], *told(thinking("Hm."))[:2]]
    assert read(encode(events)) == Answer()


def test_an_empty_delta_adds_no_piece() -> None:
    parser = ResponseParser(LIMIT)
    one = {"type": "response.output_text.delta", "output_index": 0}
    assert [parser.feed(data({**one, "delta": delta})).pieces for delta in ("", "a", "")] == [[], [Delta("a")], []]


def test_the_text_of_one_read_is_one_piece() -> None:
    batch = ResponseParser(LIMIT).feed(encode(stream(thinking("I think, and think."), message("Hello, world."))))
    assert batch.pieces == [Reasoning("I think, and think."), Delta("Hello, world.")]


def test_bytes_after_the_end_of_a_response_are_ignored() -> None:
    body = encode(stream(message("a")))
    for more in (DONE, body, b"data: {\n\n", data({"type": "error", "message": "too late"})):
        assert read(body + more) == completed(Delta("a"))
        assert read(body, more) == completed(Delta("a"))


def test_an_end_without_a_final_event_has_no_finish_reason() -> None:
    body = encode([*begun(), *told(message("a"))])
    assert read(body) == Answer((Delta("a"),))
    assert read(body + DONE) == Answer((Delta("a"),), ended=True)


# -- events that a server omits or numbers differently


def test_the_standards_own_event_of_reasoning_is_reasoning() -> None:
    event = {"type": "response.reasoning.delta", "item_id": "rs_1", "output_index": 0, "content_index": 0}
    assert read(data({**event, "delta": "Hm."}), encode(ended())) == completed(Reasoning("Hm."))


def test_an_incomplete_response_in_a_completed_event_is_truncated() -> None:
    events = ended(message("a"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert read(encode([{**events[0], "type": "response.completed"}])) == completed(Delta("a"), reason="length")


def test_a_cancelled_response_is_truncated() -> None:
    assert read(encode(ended(status="cancelled"))).error == "upstream_truncated"


# -- failures


def nested(code: str, **fields: Any) -> Document:
    return {"type": "error", "error": {"type": code, "code": code, "message": "secret", "param": None}, **fields}


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([nested("too_many_requests")], "upstream_busy"),
        ([nested("content_filter")], "content_filtered"),
        ([nested("insufficient_quota")], "upstream_unpaid"),
        ([{"type": "error", "error": "secret"}], "upstream_error"),
        ([{"type": "error"}], "upstream_error"),
        ([{"type": "server_error", "code": 500, "message": "secret"}], "upstream_error"),
        ([{"type": "exceed_context_size_error", "code": 400, "message": "secret"}], "context_too_long"),
        ([{"error": {"code": "context_length_exceeded"}}], "context_too_long"),
        (ended(status="failed"), "upstream_error"),
        ([*ended(status="failed"), nested("content_policy_violation")], "content_filtered"),
        ([*ended(status="failed"), *begun()], "upstream_error"),
        ([{"type": "response.done", "response": {"status": "failed"}}], "upstream_error"),
        ([{"type": "response.failed", "response": {"error": "secret"}}], "upstream_error"),
        ([{"type": "response.completed", "response": {"error": {"code": "rate_limit_exceeded"}}}], "upstream_busy"),
    ],
)
def test_a_failure_is_reported_by_its_own_code(events: list[Document], code: str) -> None:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    assert read(body) == failed(code)
    assert read(*(body[at : at + 1] for at in range(len(body)))) == failed(code)


def test_a_failure_without_a_reason_is_an_error_whatever_follows() -> None:
    body = encode(ended(status="failed"))
    for more in (b"", DONE, b"data: {}\n\n"):
        assert read(body + more) == read(body, more) == failed("upstream_error")


def test_the_usage_of_a_failed_response_is_reported() -> None:
    error = {"code": "server_error", "message": "x"}
    batch = ResponseParser(LIMIT).feed(encode(ended(status="failed", error=error, usage=upstream.USAGE)))
    assert batch.usage == USED


BARE = {
    "an error as a line of its own": b'{"error": {"code": "rate_limit_exceeded"}}\n',
    "an error in a field of its own": b'error: {"code": "rate_limit_exceeded", "message": "secret"}\n\n',
}


@pytest.mark.parametrize("name", BARE)
def test_an_error_outside_an_event_is_an_error(name: str) -> None:
    assert read(BARE[name]) == failed("upstream_busy")


@pytest.mark.parametrize("name", BARE)
def test_an_error_outside_an_event_needs_no_line_feed_after_it(name: str) -> None:
    assert read(BARE[name].rstrip()) == failed("upstream_busy")


# -- what is passed over


PASSED_OVER = {
    "comments": b": hello\n\n:\n",
    "other fields": b"id: 7\nretry: 5\ndata\nevent: x\nDATA: {\n",
    "a kind that nobody knows": data({"type": "response.dream.delta", "delta": {"deep": [1]}, "item_id": 5}),
    "a kind of another family": data({"type": "ping"}),
    "a hosted tool at work": data({"type": "response.web_search_call.searching", "item_id": "ws_1", "output_index": 0}),
    "a hosted tool that failed": data({"type": "response.mcp_call.failed", "error": {"code": "x"}, "output_index": 0}),
    "an item of a hosted tool": data(
        {"type": "response.output_item.done", "item": {"type": "web_search_call", "action": {"name": 5}}}
    ),
    "an item of another shape": data(
        {"type": "response.output_item.done", "item": {"type": "tool_search_call", "arguments": {}, "content": 1}}
    ),
    "an item of no kind": data({"type": "response.output_item.added", "item": {}}),
    "a part of an answer that is no text": data(
        {"type": "response.output_item.done", "item": {"type": "message", "content": [{"type": "dream", "url": "a"}]}}
    ),
    "an empty delta": data({"type": "response.output_text.delta", "delta": "", "output_index": 3}),
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_events_that_are_no_part_of_an_answer_are_ignored(name: str) -> None:
    body = encode(stream(message("a")))
    assert read(PASSED_OVER[name]) == Answer()
    assert read(PASSED_OVER[name] + body) == completed(Delta("a"))


# -- garbage


TEXT = b'data: {"type":"response.output_text.delta","delta":%b}\n'
END = b'data: {"type":"response.completed","response":%b}\n'
ITEM = b'data: {"type":"response.output_item.done","item":%b}\n'
GARBAGE = {
    "no JSON": b"data: hello\n",
    "half of it": b'data: {"type":\n',
    "nothing": b"data:\n",
    "null": b"data: null\n",
    "text": b'data: "hello"\n',
    "number": b"data: 1\n",
    "list": b"data: []\n",
    "an object that is no event": b"data: {}\n",
    "a chunk of a chat completion": b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n',
    "a type that is none": b'data: {"type":5}\n',
    "a delta that is no text": TEXT % b"5",
    "null for a delta": TEXT % b"null",
    "no delta": b'data: {"type":"response.output_text.delta"}\n',
    "arguments that are no text": b'data: {"type":"response.function_call_arguments.delta","delta":{}}\n',
    "no response at the end": b'data: {"type":"response.completed"}\n',
    "null for the response": END % b"null",
    "a response that is none": END % b'"a"',
    "an output that is none": END % b'{"output":{}}',
    "an item that is none": ITEM % b"[]",
    "no item": b'data: {"type":"response.output_item.added"}\n',
    "a message of another shape": ITEM % b'{"type":"message","content":"a"}',
    "a part that is none": ITEM % b'{"type":"message","content":[5]}',
    "a text of a kind that nobody knows": ITEM % b'{"type":"message","content":[{"type":"dream","text":"a"}]}',
    "a refusal of such a kind": ITEM % b'{"type":"message","content":[{"type":"dream","refusal":"a"}]}',
    "a call of another shape": ITEM % b'{"type":"function_call","name":"f","arguments":{}}',
    "invalid UTF-8": TEXT % b'"\xff"',
    "deep JSON": TEXT % (b"[" * 100_000),
    "deep JSON in an item": ITEM % (b'{"type":"message","content":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a huge number": b'data: {"type":"response.output_text.delta","output_index":%b}\n' % (b"9" * 5000),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_an_upstream_error(name: str) -> None:
    before = data({"type": "response.output_text.delta", "delta": "a"})
    assert read(before + GARBAGE[name]) == read(before, GARBAGE[name]) == failed("upstream_error", Delta("a"))


@given(
    reads=st.lists(st.binary(max_size=60), max_size=8), prefix=st.sampled_from([b"", b"data: ", TEXT[:-5], ITEM[:-4]])
)
@examples(60)
def test_random_bytes_never_raise_anything_else(reads: list[bytes], prefix: bytes) -> None:
    assert read(*(prefix + each + b"\n" for each in reads)).error in (None, "upstream_error")


def deep_item(depth: int) -> bytes:
    nested = b"[" * depth + b"]" * depth
    fields = b'"id":"r","type":"reasoning","encrypted_content":"x","summary":[],"content":[],"x":' + nested
    return b"{" + fields + b"}"


DEEP_BODY = b'{"object":"response","status":"completed","output":[%b,{"type":"function_call","name":"f","id":"f"}]}'
TWO_LINES = b'data: {"type":"response.completed",\ndata: "response":%b}'
DEEP = {
    "an item": ITEM,
    "the end of a response": END % DEEP_BODY,
    "a last line that no line feed ends": (END % DEEP_BODY).rstrip(),
    "an event on two lines": TWO_LINES % DEEP_BODY + b"\n\n",
    "an event on two lines that nothing ends": TWO_LINES % DEEP_BODY,
    "a response in one piece": DEEP_BODY,
}


@pytest.mark.parametrize("depth", [100, 700, 900, 950, 1000, 2000])
@pytest.mark.parametrize("place", DEEP)
def test_deep_json_is_read_or_an_error_wherever_it_is(place: str, depth: int) -> None:
    body = DEEP[place] % deep_item(depth)
    parser = CompleteResponseParser(max_line_bytes=LIMIT) if place == "a response in one piece" else None
    answer = read(body, parser=parser)
    assert answer.error in ((None,) if depth == 100 else (None, "upstream_error"))
    assert not (answer.ended and depth >= 1000)


@pytest.mark.parametrize(
    "body",
    [
        TEXT % rb'"a\ud83d"',
        ITEM % rb'{"type":"message","content":[{"type":"output_text","text":"a\ud83d"}]}',
        END % rb'{"output":[{"type":"message","content":[{"type":"output_text","text":"a\ud83d"}]}]}',
    ],
)
def test_half_a_surrogate_pair_becomes_a_replacement_character(body: bytes) -> None:
    assert read(body).pieces == (Delta("a\ufffd"),)


# -- limits


def test_a_line_of_exactly_the_limit_is_read_and_a_longer_one_is_refused_however_they_come() -> None:
    line = (TEXT % b'"a"').rstrip()
    for reads in ([line + b"\n"], [line, b"\n"], [line[:9], line[9:] + b"\n"]):
        assert read(*reads, parser=ResponseParser(len(line))).pieces == (Delta("a"),)
        assert read(*reads, parser=ResponseParser(len(line) - 2)).error == "upstream_error"


def test_the_data_lines_of_one_event_are_together_no_longer_than_the_limit() -> None:
    lines = [b"data: " + line + b"\n" for line in (TEXT % b'"a"')[6:].rstrip().partition(b",")]
    size = len(b"".join(lines)) - 6 * len(lines) + 2
    assert read(*lines, b"\n", parser=ResponseParser(size)).pieces == (Delta("a"),)
    assert read(*lines, parser=ResponseParser(size - 1)).error == "upstream_error"


def test_a_last_line_without_a_line_feed_is_read_if_it_is_complete() -> None:
    body = encode(stream(message("a"))).rstrip()
    assert read(body) == completed(Delta("a"))
    assert read(body[:-1]) == Answer((Delta("a"),))


# -- a response in one piece


def read_complete(
    document: Any, *, content_type: str = "application/json; charset=utf-8", limit: int = LIMIT
) -> Answer:
    body = json.dumps(document).encode()
    parser = open_response_parser(content_type, max_line_bytes=limit)
    return read(body[:7], body[7:], parser=parser)


@pytest.mark.parametrize("name", ITEMS)
def test_a_response_that_is_not_streamed_is_sent_at_its_end(name: str) -> None:
    item, piece = ITEMS[name]
    assert read_complete(upstream.response(item)) == completed(piece, reason="tool_calls" if name == "call" else "stop")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"output": [message("a")]}, Answer((Delta("a"),), "stop", ended=True)),
        (
            upstream.response(message("a"), status="incomplete", incomplete_details={"reason": "content_filter"}),
            completed(Delta("a"), reason="content_filter"),
        ),
        (upstream.response(status="failed", error={"code": "rate_limit_exceeded"}), failed("upstream_busy")),
        (upstream.response(status="failed"), failed("upstream_error")),
        ({"error": {"code": "context_length_exceeded"}}, failed("context_too_long")),
        (upstream.response(status="in_progress"), failed("upstream_truncated")),
        (upstream.response(status="queued"), failed("upstream_truncated")),
        ({"choices": [{"message": {"content": "a"}}]}, failed("upstream_error")),
        ({}, failed("upstream_error")),
        ([], failed("upstream_error")),
        (None, Answer()),
        ({"output": [{"type": "message", "content": 5}]}, failed("upstream_error")),
    ],
)
def test_a_complete_body_is_read_by_its_own_fields(document: Any, expected: Answer) -> None:
    assert read_complete(document) == expected


def test_a_complete_body_over_the_line_limit_is_refused() -> None:
    document = upstream.response(message("a"))
    size = len(json.dumps(document))
    assert read_complete(document, limit=size) == completed(Delta("a"))
    assert read_complete(document, limit=size - 1) == failed("upstream_error")


@pytest.mark.parametrize("before", [b"", b"\n \r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_byte_order_mark_and_white_space_before_a_complete_body_are_skipped(before: bytes, size: int) -> None:
    body = before + json.dumps(upstream.response(message("a")), indent=2).encode() + b"\n"
    parser = open_response_parser("application/json", max_line_bytes=LIMIT)
    assert read(*(body[at : at + size] for at in range(0, len(body), size)), parser=parser) == completed(Delta("a"))


@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf", b": hello\n\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("name", SOUND | FAILED)
def test_a_stream_is_detected_whatever_its_content_type(name: str, size: int, before: bytes) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = before + encode(events)
    parser = open_response_parser("application/json", max_line_bytes=LIMIT)
    assert read(*(body[at : at + size] for at in range(0, len(body), size)), parser=parser) == expected


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/event-stream; charset=utf-8", "", "application/x"])
def test_anything_that_is_not_json_is_read_as_an_event_stream(content_type: str) -> None:
    assert isinstance(open_response_parser(content_type, max_line_bytes=LIMIT), ResponseParser)
