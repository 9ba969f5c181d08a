"""The stream of a response to batches: what tells of an answer, what does not, and every way to leave out or to cut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import Phase, example, given
from hypothesis import strategies as st

from quartapp.core.events import Annotation, Delta, Image, Piece, Reasoning, Refusal, ToolCall, Usage
from quartapp.protocols.native.whole import WholeToolCall, merge
from quartapp.upstreams.responses.calls import MAX_CALLS
from quartapp.upstreams.responses.events import CompleteResponseParser, ResponseParser, open_response_parser
from quartapp.upstreams.responses.texts import MAX_PARTS
from tests.support import responses_upstream as upstream
from tests.support.examples import examples
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
    text,
    thinking,
    told,
)

LIMIT = 1_000_000
USED = Usage(3, 5, 8, 1, 2)
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Said:
    """All that a stream says; pieces of a kind that follow one another are one."""

    pieces: tuple[Piece, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    ended: bool = False
    error: str | None = None


def read(*reads: bytes, reader: ResponseParser | CompleteResponseParser | None = None) -> Said:
    reader = reader or ResponseParser(LIMIT)
    batches = []
    for each in reads:
        batches.append(reader.feed(each))
        assert batches[-1].size == len(each)
        if reader.error is not None:
            break
    else:
        batches.append(reader.end())
    return Said(
        pieces=tuple(join(piece for batch in batches for piece in batch.pieces)),
        finish_reason=next((batch.finish_reason for batch in batches if batch.finish_reason), None),
        usage=next((batch.usage for batch in batches if batch.usage), None),
        ended=any(batch.ended for batch in batches),
        error=reader.error.code if reader.error else None,
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


def said(*pieces: Piece, reason: str = "stop") -> Said:
    return Said(pieces, reason, USED, ended=True)


def failed(code: str, *pieces: Piece) -> Said:
    return Said(pieces, error=code)


ROME = '{"city": "Rome"}'
FIRST, SECOND = ToolCall(0, "call_1", "weather", ROME), ToolCall(1, "call_2", "clock", "{}")
CLOCK = call("clock", "{}", 2)

# -- what the API sends

SOUND: dict[str, tuple[list[Document], Said]] = {
    "text": (stream(message("Hello, world.")), said(Delta("Hello, world."))),
    "nothing": (stream(), said()),
    "empty text": (stream(message("")), said()),
    "text in two parts": (stream(message("Hello, ", "world.")), said(Delta("Hello, world."))),
    "two messages": (stream(message("One. "), message("Two.", id="msg_2")), said(Delta("One. Two."))),
    "a summary of its reasoning": (
        stream(thinking("I think."), message("Yes.")),
        said(Reasoning("I think."), Delta("Yes.")),
    ),
    "a summary in parts": (
        stream(thinking("First I think.", "Then again."), message("Yes.")),
        said(Reasoning("First I think.\n\nThen again."), Delta("Yes.")),
    ),
    "reasoning twice": (
        stream(thinking("Once."), thinking("Twice.", id="rs_2"), message("Yes.")),
        said(Reasoning("Once.\n\nTwice."), Delta("Yes.")),
    ),
    "reasoning itself": (
        stream(thinking(content=["I think."]), message("Yes.")),
        said(Reasoning("I think."), Delta("Yes.")),
    ),
    "reasoning that is not shown": (stream(thinking(), message("Yes.")), said(Delta("Yes."))),
    "refusal": (stream(message(refusal("I will not."))), said(Refusal("I will not."))),
    "text, then refusal": (
        stream(message("Well. ", refusal("I will not."))),
        said(Delta("Well. "), Refusal("I will not.")),
    ),
    "a tool call": (stream(call()), said(FIRST, reason="tool_calls")),
    "a call without arguments": (
        stream(call(arguments="")),
        said(ToolCall(0, "call_1", "weather", "{}"), reason="tool_calls"),
    ),
    "two calls": (stream(call(), CLOCK), said(FIRST, SECOND, reason="tool_calls")),
    "text, then a call": (stream(message("See:"), call()), said(Delta("See:"), FIRST, reason="tool_calls")),
    "a call, then text": (stream(call(), message("See?")), said(FIRST, Delta("See?"), reason="tool_calls")),
    "cut at its limit": (
        stream(message("Hel"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        said(Delta("Hel"), reason="length"),
    ),
    "cut by a filter": (
        stream(message("Hel"), status="incomplete", incomplete_details={"reason": "content_filter"}),
        said(Delta("Hel"), reason="content_filter"),
    ),
    "cut within a call": (
        stream(call(arguments='{"ci'), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        said(ToolCall(0, "call_1", "weather", '{"ci'), reason="length"),
    ),
    "cut before the arguments of a call": (
        stream(call(arguments=""), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        said(ToolCall(0, "call_1", "weather"), reason="length"),
    ),
    "cut for no reason": (stream(message("Hel"), status="incomplete"), said(Delta("Hel"), reason="length")),
    "characters of all lengths": (stream(message("aé€😀\u2028\r\n\x00")), said(Delta("aé€😀\u2028\r\n\x00"))),
}

FAILED: dict[str, tuple[list[Document], Said]] = {
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
def test_what_the_tests_server_sends_is_what_the_official_client_can_read(name: str) -> None:
    for number, event in enumerate((SOUND | FAILED)[name][0]):
        upstream.EVENTS.validate_python({**event, "sequence_number": number}, strict=True)


@pytest.mark.parametrize("name", SOUND | FAILED)
def test_a_stream_says_the_same_in_one_read_in_a_byte_each_and_with_other_line_ends(name: str) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = encode(events)
    assert read(body) == expected
    assert read(*(body[at : at + 1] for at in range(len(body)))) == expected
    assert read(body.replace(b"\n", b"\r\n")) == read(b"\xef\xbb\xbf" + body) == expected


PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


@pytest.mark.parametrize("name", SOUND | FAILED)
@given(cuts=st.lists(st.floats(0, 1), max_size=12))
@example(cuts=[])
@examples(10, phases=PHASES)
def test_a_stream_says_the_same_however_it_is_cut(name: str, cuts: Sequence[float]) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = encode(events)
    places = sorted(int(cut * len(body)) for cut in cuts)
    assert read(*(body[at:to] for at, to in zip([0, *places], [*places, len(body)], strict=True))) == expected


@pytest.mark.parametrize("name", SOUND | FAILED)
def test_a_stream_says_the_same_with_its_events_on_several_data_lines(name: str) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = encode(events).replace(b"data: {", b"data: {\ndata:\n: a comment\ndata:")
    assert read(body) == read(body.replace(b"\n", b"\r\n")) == read(body.rstrip()) == expected
    assert read(*(body[at : at + 1] for at in range(len(body)))) == expected


def test_events_that_tell_nothing_yet_make_no_pieces() -> None:
    events = [*begun(), *told(message("Hello"))[:2], *told(thinking("Hm."))[:2]]
    assert read(encode(events)) == Said()


def test_an_empty_piece_of_a_text_is_no_piece_of_an_answer() -> None:
    reader = ResponseParser(LIMIT)
    one = {"type": "response.output_text.delta", "output_index": 0}
    assert [reader.feed(data({**one, "delta": delta})).pieces for delta in ("", "a", "")] == [[], [Delta("a")], []]


def test_the_text_of_one_read_is_one_piece() -> None:
    batch = ResponseParser(LIMIT).feed(encode(stream(thinking("I think, and think."), message("Hello, world."))))
    assert batch.pieces == [Reasoning("I think, and think."), Delta("Hello, world.")]


def test_two_calls_at_once_are_told_apart_by_their_items() -> None:
    calls = told(call(), call("clock", '{"zone": "CET"}', 2))
    half = len(calls) // 2
    interleaved = [event for pair in zip(calls[:half], calls[half:], strict=True) for event in pair]
    answer = merge(read(encode([*begun(), *interleaved, *ended()])).pieces)
    assert answer.tool_calls == [
        WholeToolCall("call_1", "weather", ROME),
        WholeToolCall("call_2", "clock", '{"zone": "CET"}'),
    ]


def test_what_comes_after_the_end_of_a_response_is_passed_over() -> None:
    body = encode(stream(message("a")))
    for more in (DONE, body, b"data: {\n\n", data({"type": "error", "message": "too late"})):
        assert read(body + more) == said(Delta("a"))
        assert read(body, more) == said(Delta("a"))


def test_an_end_without_an_ending_is_left_to_the_answer() -> None:
    body = encode([*begun(), *told(message("a"))])
    assert read(body) == Said((Delta("a"),))
    assert read(body + DONE) == Said((Delta("a"),), ended=True)


# -- citations and images

CITED: Document = {"url": "https://a.example/b", "title": "B", "start_index": 0, "end_index": 1}
FILE: Document = {"file_id": "file-1", "filename": "a.pdf", "index": 1}
SOURCES = [{"type": "url_citation", **CITED}, {"type": "file_citation", **FILE}]
SOURCED = said(Delta("a"), Annotation("url_citation", **CITED), Annotation("file_citation", **FILE))


def annotations_added() -> list[Document]:
    kind, place = "response.output_text.annotation.added", {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [{"type": kind, **place, "annotation_index": at, "annotation": each} for at, each in enumerate(SOURCES)]


@pytest.mark.parametrize("left_out", [(), ("annotation",), ("item.done",), ("annotation", "item.done")])
def test_citations_are_told_once_wherever_a_server_sends_them(left_out: tuple[str, ...]) -> None:
    cited = message({**text("a"), "annotations": SOURCES})
    events = stream(cited)
    after = next(at for at, each in enumerate(events) if each["type"] == "response.output_text.delta") + 1
    assert read(encode(without([*events[:after], *annotations_added(), *events[after:]], *left_out))) == SOURCED


def test_an_image_that_a_tool_of_the_server_makes_is_told_once() -> None:
    made = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "iVBORw0KGgo="}
    body = encode(stream(message("See:"), made))
    assert read(body) == said(Delta("See:"), Image("data:image/png;base64,iVBORw0KGgo="))


# -- servers that leave out what others say

ITEMS: dict[str, tuple[Document, Piece]] = {
    "text": (message("Hello"), Delta("Hello")),
    "parts": (message("Hel", "lo"), Delta("Hello")),
    "refusal": (message(refusal("No.")), Refusal("No.")),
    "summary": (thinking("I think", "a lot."), Reasoning("I think\n\na lot.")),
    "reasoning": (thinking(content=["I think."]), Reasoning("I think.")),
    "call": (call(), FIRST),
}


def without(events: Iterable[Document], *kinds: str) -> list[Document]:
    """The events but those with one of `kinds` in their types."""
    return [event for event in events if not any(kind in event["type"] for kind in kinds)]


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize(
    "left_out",
    [
        (),
        (".delta",),
        (".done",),
        (".delta", "text.done", "refusal.done", "arguments.done"),
        (".delta", "output_item.done"),
        (".delta", ".done"),
        (".delta", ".done", ".added"),
        (".added",),
        (".added", "output_item.done"),
    ],
    ids=" ".join,
)
def test_an_item_is_told_in_full_and_once_whichever_of_its_events_come(name: str, left_out: Sequence[str]) -> None:
    item, piece = ITEMS[name]
    reason = "tool_calls" if name == "call" else "stop"
    events = [*begun(), *without(told(item), *left_out), *ended(item)]
    assert read(encode(events)) == said(piece, reason=reason)


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("left_out", [(".delta",), (".delta", "output_item.done"), (".delta", "text.done"), (".done",)])
def test_an_item_is_told_in_full_without_the_output_at_the_end(name: str, left_out: Sequence[str]) -> None:
    item, piece = ITEMS[name]
    events = [*begun(), *without(told(item), *left_out), *ended()]
    assert read(encode(events)) == said(piece, reason="tool_calls" if name == "call" else "stop")


@pytest.mark.parametrize("left_out", [(), (".delta",), (".delta", "text.done", "arguments.done"), (".delta", ".done")])
def test_several_items_are_told_in_full_and_once(left_out: Sequence[str]) -> None:
    items = [thinking("Hm."), message("One. "), call(), CLOCK, thinking("So.", id="rs_2"), message("Two.", id="msg_2")]
    answer = merge(read(encode([*begun(), *without(told(*items), *left_out), *ended(*items)])).pieces)
    assert (answer.text, answer.reasoning) == ("One. Two.", "Hm.\n\nSo.")
    assert answer.tool_calls == [WholeToolCall("call_1", "weather", ROME), WholeToolCall("call_2", "clock", "{}")]


def test_a_summary_is_told_beside_what_it_sums_up_only_where_both_are_streamed() -> None:
    item = thinking("In short.", content=["I think."])
    assert read(encode(ended(item))).pieces == (Reasoning("I think."),)
    assert read(encode([*told(item), *ended(item)])).pieces == (Reasoning("In short.\n\nI think."),)


def changed(events: Iterable[Document], **fields: Any) -> list[Document]:
    """The events with other fields; None takes a field away."""
    taken = [{**event, **{name: value for name, value in fields.items() if name in event}} for event in events]
    return [{name: value for name, value in event.items() if value is not None} for event in taken]


EVERYTHING = [thinking("I think."), message("Hello"), call(), CLOCK]
ALL_SAID = said(Reasoning("I think."), Delta("Hello"), FIRST, SECOND, reason="tool_calls")


def renamed(items: Iterable[Document]) -> list[Document]:
    """The items with other ids than before."""
    return [{**item, "id": f"other_{item['id']}"} for item in items]


def renamed_calls(items: Iterable[Document]) -> list[Document]:
    return [item | ({"call_id": f"other_{item['call_id']}"} if "call_id" in item else {}) for item in renamed(items)]


def without_id(events: Iterable[Document]) -> list[Document]:
    """As llama.cpp has it: calls have no id, and their arguments name them by the id that their result is told by."""
    told: list[Document] = []
    for event in changed(events, output_index=None):
        item = event.get("item", {})
        if item.get("type") == "function_call":
            event = {**event, "item": {name: value for name, value in item.items() if name != "id"}}
        if event.get("item_id", "").startswith("fc_"):
            event = {**event, "item_id": event["item_id"].replace("fc_", "call_")}
        told.append(event)
    return told


def numbered_anew(events: Iterable[Document]) -> list[Document]:
    """The id of an item is another one in each event."""
    counted = [(number, dict(event)) for number, event in enumerate(events)]
    for number, event in counted:
        if "item" in event:
            event["item"] = {**event["item"], "id": f"id_{number}"}
        if "item_id" in event:
            event["item_id"] = f"id_{number}"
    return [event for _, event in counted]


def nameless_in(events: Iterable[Document], kind: str) -> list[Document]:
    """The events of that kind have neither numbers nor ids."""
    nothing = {"output_index": None, "item_id": None}
    return [each for event in events for each in (changed([event], **nothing) if kind in event["type"] else [event])]


def numbered_in(events: Iterable[Document], kind: str) -> list[Document]:
    """The numbers of items are in the events of that kind alone."""
    return [
        each for event in events for each in ([event] if kind in event["type"] else changed([event], output_index=None))
    ]


ODD = {
    "an output that is left out of the end": [*told(*EVERYTHING), *ended()],
    "other ids at the end": [*told(*EVERYTHING), *ended(*renamed(EVERYTHING))],
    "other ids of calls, too": [*told(*EVERYTHING), *ended(*renamed_calls(EVERYTHING))],
    "another order at the end": [*told(*EVERYTHING), *ended(EVERYTHING[1], *EVERYTHING[2:], EVERYTHING[0])],
    "no numbers of items": [*changed(told(*EVERYTHING), output_index=None), *ended(*EVERYTHING)],
    "no numbers and no ids of calls": [*without_id(told(*EVERYTHING)), *ended(*EVERYTHING)],
    "the same number for all items": [*changed(told(*EVERYTHING), output_index=0), *ended(*EVERYTHING)],
    "a new id in each event": [*numbered_anew(told(*EVERYTHING)), *ended(*EVERYTHING)],
    "an empty id for all items": [*changed(told(*EVERYTHING), item_id=""), *ended(*EVERYTHING)],
    "neither numbers nor ids of texts": [
        *changed(told(*EVERYTHING[:2]), output_index=None, item_id=None),
        *[{**event, "output_index": event["output_index"] + 2} for event in told(*EVERYTHING[2:])],
        *ended(*EVERYTHING),
    ],
    "empty ids and no numbers": [
        *changed(told(*EVERYTHING[:2]), output_index=None, item_id=""),
        *[{**event, "output_index": event["output_index"] + 2} for event in told(*EVERYTHING[2:])],
        *ended(*EVERYTHING),
    ],
    "deltas that say nothing of their items": [*nameless_in(told(*EVERYTHING[:2]), ".delta"), *ended(*EVERYTHING)],
    "ends of parts that say nothing of their items": [
        *nameless_in(told(*EVERYTHING[:2]), "text.done"),
        *ended(*EVERYTHING),
    ],
    "numbers in deltas alone": [*numbered_in(told(*EVERYTHING), ".delta"), *ended(*EVERYTHING)],
    "numbers of items alone": [*numbered_in(told(*EVERYTHING), "output_item"), *ended(*EVERYTHING)],
    "no numbers of parts": [
        *changed(told(*EVERYTHING), content_index=None, summary_index=None),
        *ended(*EVERYTHING),
    ],
    "a completion by another name": [*told(*EVERYTHING), {**ended(*EVERYTHING)[0], "type": "response.done"}],
    "no status at the end": [
        *told(*EVERYTHING),
        {"type": "response.completed", "response": {"output": EVERYTHING, "usage": upstream.USAGE}},
    ],
    "a status that nobody closed": [
        *told(*EVERYTHING),
        {
            "type": "response.completed",
            "response": {"status": "in_progress", "output": EVERYTHING, "usage": upstream.USAGE},
        },
    ],
}


@pytest.mark.parametrize("name", ODD)
def test_servers_that_number_and_name_things_their_own_way_are_understood(name: str) -> None:
    assert read(encode([*begun(), *ODD[name]])) == ALL_SAID


def test_the_pieces_of_a_call_that_nothing_names_go_to_the_last_one() -> None:
    events = changed(without(told(call(), CLOCK), ".done"), output_index=None, item_id=None)
    assert read(encode([*events, *ended()])) == said(FIRST, SECOND, reason="tool_calls")


def test_calls_at_once_of_one_number_are_told_apart_by_their_ids() -> None:
    calls = changed(without(told(call(), call("clock", '{"zone": "CET"}', 2)), ".done"), output_index=0)
    half = len(calls) // 2
    interleaved = [event for pair in zip(calls[:half], calls[half:], strict=True) for event in pair]
    answer = merge(read(encode([*interleaved, *ended()])).pieces)
    assert [each.arguments for each in answer.tool_calls] == [ROME, '{"zone": "CET"}']


def test_done_items_of_one_number_are_all_told() -> None:
    items = [call(), CLOCK, message("One. "), message("Two.", id="msg_2")]
    events = changed(without(told(*items), ".delta", ".added", "arguments"), output_index=1)
    expected = said(FIRST, SECOND, Delta("One. Two."), reason="tool_calls")
    assert read(encode([*events, *ended()])) == expected


def test_arguments_that_come_with_the_response_go_to_the_calls_of_their_ids() -> None:
    events = without(told(call(), CLOCK), ".delta", ".done")
    answer = merge(read(encode([*events, *ended(CLOCK, call())])).pieces)
    assert [each.arguments for each in answer.tool_calls] == [ROME, "{}"]


def test_an_empty_piece_of_a_text_does_not_stand_for_it() -> None:
    place = {"output_index": 0, "content_index": 0}
    events = [
        {"type": "response.output_text.delta", "delta": "", **place},
        {"type": "response.output_text.done", "text": "Hello", **place},
    ]
    assert read(encode([*events, *ended()])) == said(Delta("Hello"))


def test_a_long_answer_may_have_another_id_in_each_event() -> None:
    one = {"type": "response.output_text.delta", "delta": "a", "output_index": 0}
    events = [{**one, "item_id": f"id_{number}"} for number in range(MAX_PARTS)]
    assert read(encode([*events, *ended()])) == said(Delta("a" * MAX_PARTS))


def test_a_call_that_is_named_late_is_told_with_its_name() -> None:
    late = told(call())
    late[0]["item"] = {**late[0]["item"], "name": ""}
    assert read(encode([*late, *ended(call())])) == said(FIRST, reason="tool_calls")


@pytest.mark.parametrize("item", [{**call(), "name": ""}, {**call(), "name": None}])
def test_a_call_that_is_never_named_is_an_error(item: Document) -> None:
    assert read(encode([*told(item), *ended(item)])).error == "upstream_error"
    assert read(encode([item_added(item), *ended()])).error == "upstream_error"


def test_arguments_of_no_call_are_an_error_when_the_response_ends() -> None:
    events = without(told(call()), "output_item")
    assert read(encode([*events, *ended()])).error == "upstream_error"
    assert read(encode([*events, *ended(call())])) == said(FIRST, reason="tool_calls")


@pytest.mark.parametrize(("id", "shown"), [("fc_1", "fc_1"), (None, None), ("", None)])
def test_a_call_without_the_id_of_its_result_gets_one(id: str | None, shown: str | None) -> None:
    [piece] = read(encode(ended({**call(), "id": id, "call_id": None}))).pieces
    assert isinstance(piece, ToolCall)
    assert piece.id == shown or (shown is None and piece.id and piece.id.startswith("call_"))


def test_a_call_of_a_tool_that_takes_text_is_told_with_its_text() -> None:
    item = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_1", "name": "run", "input": "ls"}
    assert read(encode(ended(item))).pieces == (ToolCall(0, "call_1", "run", "ls", "custom"),)


def test_the_text_of_a_custom_tool_is_told_as_it_comes() -> None:
    item = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_1", "name": "run", "input": ""}
    place = {"item_id": "ct_1", "output_index": 0}
    reader = ResponseParser(LIMIT)
    begun = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.custom_tool_call_input.delta", **place, "delta": "l"},
    ]
    assert reader.feed(encode(begun)).pieces == [
        ToolCall(0, "call_1", "run", kind="custom"),
        ToolCall(0, arguments="l", kind="custom"),
    ]
    rest = [{"type": "response.custom_tool_call_input.done", **place, "input": "ls"}, *ended(item | {"input": "ls"})]
    assert reader.feed(encode(rest)).pieces == [ToolCall(0, arguments="s", kind="custom")]


ENCRYPTED = {**thinking("Hm."), "encrypted_content": "ZW5j", "status": "completed"}


def test_an_encrypted_item_of_reasoning_goes_with_the_call_that_it_led_to() -> None:
    state = {"extra_content": {"openai": {"reasoning_items": [ENCRYPTED]}}}
    told_once = read(encode(ended(ENCRYPTED, call()))).pieces
    streamed = read(
        encode([{"type": "response.output_item.done", "output_index": 0, "item": ENCRYPTED}]),
        encode(ended(ENCRYPTED, call(), call(number=2))),
    ).pieces
    [first] = [piece for piece in told_once if isinstance(piece, ToolCall)]
    assert first.extra == state
    assert [piece.extra for piece in streamed if isinstance(piece, ToolCall)] == [state, None]


def test_reasoning_in_words_alone_is_no_state() -> None:
    [piece] = [piece for piece in read(encode(ended(thinking("Hm."), call()))).pieces if isinstance(piece, ToolCall)]
    assert piece.extra is None


def test_the_standards_own_event_of_reasoning_is_reasoning() -> None:
    event = {"type": "response.reasoning.delta", "item_id": "rs_1", "output_index": 0, "content_index": 0}
    assert read(data({**event, "delta": "Hm."}), encode(ended())) == said(Reasoning("Hm."))


def test_a_completion_of_what_stopped_short_is_none() -> None:
    cut = ended(message("a"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert read(encode([{**cut[0], "type": "response.completed"}])) == said(Delta("a"), reason="length")


def test_a_response_that_was_cancelled_has_ended_early() -> None:
    assert read(encode(ended(status="cancelled"))).error == "upstream_truncated"


# -- servers that say more in one event than in those before


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


def arguments(kind: str, said: str, number: int | None = 0, id: str | None = "fc_1") -> Document:
    fields = {"delta": said} if kind == "delta" else {"arguments": said}
    event = {"type": f"response.function_call_arguments.{kind}", "output_index": number, "item_id": id, **fields}
    return changed([event])[0]


def failure(body: bytes) -> Said:
    """What is said with a failure, but for the usage."""
    return replace(read(body), usage=None)


NAMES: dict[str, tuple[int | None, str | None, int | None]] = {
    "by all names": (0, "msg_1", 0),
    "by number": (0, None, 0),
    "by id": (None, "msg_1", 0),
    "without the part's number": (0, "msg_1", None),
    "without a name": (None, None, None),
}
PARTIAL = message("partial and more")


@pytest.mark.parametrize("ended_by", NAMES)
@pytest.mark.parametrize("begun_by", NAMES)
def test_what_was_not_streamed_of_a_text_is_told_from_whatever_says_it_whole(begun_by: str, ended_by: str) -> None:
    begin, end = piece("par", *NAMES[begun_by]), part_done("partial and more", *NAMES[ended_by])
    expected = said(Delta("partial and more"))
    for more in (
        [end, *ended()],
        [end, item_done(PARTIAL), *ended(PARTIAL)],
        [item_done(PARTIAL), *ended()],
        [item_done(PARTIAL, None), *ended(PARTIAL)],
        [*ended(PARTIAL)],
        [*ended(*renamed([PARTIAL]))],
        [part_done("partial", *NAMES[ended_by]), *ended(PARTIAL)],
    ):
        assert read(encode([begin, *more])) == expected
        assert read(*(data(event) for event in [begin, *more])) == expected


@pytest.mark.parametrize("ended_by", NAMES)
@pytest.mark.parametrize("begun_by", NAMES)
def test_a_text_that_was_told_otherwise_is_an_error(begun_by: str, ended_by: str) -> None:
    begin, other = piece("par", *NAMES[begun_by]), message("other")
    for more in (
        [part_done("other", *NAMES[ended_by])],
        [part_done("pa", *NAMES[ended_by])],
        [item_done(other)],
        ended(other),
        ended(message("pa")),
        ended(*renamed([other])),
    ):
        assert failure(encode([begin, *more])) == failed("upstream_error", Delta("par"))


def test_the_rest_of_a_text_that_another_has_followed_on_is_an_error() -> None:
    events = [piece("par"), piece("two", 1, "msg_2")]
    whole = [message("partial"), message("two", id="msg_2")]
    assert failure(encode([*events, *ended(*whole)])) == failed("upstream_error", Delta("partwo"))
    assert failure(encode([*events, part_done("partial")])) == failed("upstream_error", Delta("partwo"))


ONE, TWO = message("One. "), message("Two.", id="msg_2")
BOTH = message("One. ", "Two.")
LATE: dict[str, list[Document]] = {
    "a message in the response": [piece("One. "), *ended(ONE, TWO)],
    "a message in the response, by other ids": [piece("One. "), *ended(*renamed([ONE, TWO]))],
    "a message in the response, behind a whole one": [*told(ONE), *ended(ONE, TWO)],
    "the rest of a message, and another": [piece("On"), *ended(ONE, TWO)],
    "a message in an item": [piece("One. "), item_done(TWO, 1), *ended()],
    "a message in an item of the same number": [*told(ONE), item_done(TWO, 0), *ended(ONE, TWO)],
    "a message in an item, by no number": [*told(ONE), item_done(TWO, None), *ended(ONE, TWO)],
    "a part in the response": [piece("One. "), *ended(BOTH)],
    "a part in the item": [piece("One. "), item_done(BOTH), *ended(BOTH)],
    "a part in the item, by another id": [piece("One. "), item_done({**BOTH, "id": "x"}), *ended(BOTH)],
    "a part at its end": [piece("One. "), part_done("Two.", part=1), item_done(BOTH), *ended(BOTH)],
    "a part at its end alone": [piece("One. "), part_done("Two.", part=1), *ended()],
    "a part without a number at its end": [
        piece("One. "),
        part_done("One. ", part=None),
        part_done("Two.", part=None),
        *ended(BOTH),
    ],
    "parts without numbers": [piece("One. ", part=None), piece("Two.", part=None), item_done(BOTH), *ended(BOTH)],
    "messages without names": [piece("One. ", None, None), piece("Two.", None, None), *ended(ONE, TWO)],
    "messages of one number": [piece("One. "), part_done("One. "), piece("Two.", 0, "msg_2"), *ended(ONE, TWO)],
    "messages of one number, at their ends": [part_done("One. "), part_done("Two.", 0, "msg_2"), *ended(ONE, TWO)],
}


@pytest.mark.parametrize("name", LATE)
def test_a_text_that_comes_whole_after_one_in_pieces_is_told(name: str) -> None:
    assert read(encode(LATE[name])) == said(Delta("One. Two."))


def test_texts_that_come_in_another_order_than_they_are_in_the_output_are_told_once() -> None:
    events = [piece("Two.", 1, "msg_2"), piece("One. ")]
    for output in ([ONE, TWO], renamed([ONE, TWO]), [ONE], [TWO]):
        assert read(encode([*events, *ended(*output)])) == said(Delta("Two.One. "))
    assert read(encode([piece("Two.", 1, "msg_2"), *ended(ONE, TWO)])) == said(Delta("Two.One. "))


@pytest.mark.parametrize("id", ["", None])
def test_the_rest_of_a_text_is_sent_if_the_complete_output_has_no_ids(id: str | None) -> None:
    events = [piece("Two.", 1, "msg_2"), piece("par")]
    output = [{**message("partial"), "id": id}, {**message("Two."), "id": id}]
    assert read(encode([*events, *ended(*output)])) == said(Delta("Two.partial"))


def test_a_text_whose_end_alone_has_names_is_told_once() -> None:
    events = [piece("One. ", None, None), part_done("One. "), piece("Two.", None, None), part_done("Two.", 1, "msg_2")]
    assert read(encode([*events, *ended(ONE, TWO)])) == said(Delta("One. Two."))


def test_the_same_text_twice_is_told_twice() -> None:
    assert read(encode(stream(ONE, {**ONE, "id": "msg_2"}))) == said(Delta("One. One. "))
    assert read(encode([piece("One. "), *ended(ONE, {**ONE, "id": "msg_2"})])) == said(Delta("One. One. "))


def test_the_rest_of_thoughts_is_told_and_parts_of_it_are_apart() -> None:
    item = thinking("First I think.", "Then again.")
    first = {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "First"}
    for more in (ended(item), [item_done(item), *ended(item)], ended(*renamed([item]))):
        assert read(encode([first, *more])) == said(Reasoning("First I think.\n\nThen again."))


def test_what_was_summed_up_in_pieces_is_not_told_after_it() -> None:
    events = told(thinking("In short."))
    for item in (thinking("In short.", content=["I think."]), thinking(content=["I think."])):
        assert read(encode([*events, *ended(item)])) == said(Reasoning("In short."))


@pytest.mark.parametrize(
    ("streamed", "whole"),
    [
        ("\n\nHello \n", "Hello"),
        ("\nHel", "Hello"),
        ("Hello", "Hello\n"),
        ("Hello", " Hello"),
        ("Hi \ufffd\ufffd", "Hi 😀"),
    ],
)
def test_a_text_is_the_same_with_white_space_stripped_and_characters_mended(streamed: str, whole: str) -> None:
    for more in ([part_done(whole), *ended()], [item_done(message(whole)), *ended()], ended(message(whole))):
        answer = merge(read(encode([piece(streamed), *more])).pieces)
        assert answer.text.strip() in ("Hello", "Hi \ufffd\ufffd")
        assert read(encode([piece(streamed), *more])).ended


def test_a_whole_that_is_empty_says_nothing() -> None:
    events = [piece("Hello"), part_done(""), item_done(message("")), *ended(message(""))]
    assert read(encode(events)) == said(Delta("Hello"))


A_CALL = {**call(), "arguments": ""}
FIRST_HALF, SECOND_HALF = ROME[:5], ROME[5:]
LATE_ARGUMENTS: dict[str, list[Document]] = {
    "in the response": [item_added(A_CALL), arguments("delta", FIRST_HALF), *ended(call())],
    "in the item": [item_added(A_CALL), arguments("delta", FIRST_HALF), item_done(call()), *ended()],
    "at their end": [item_added(A_CALL), arguments("delta", FIRST_HALF), arguments("done", ROME), *ended()],
    "with other ids in the response": [
        item_added(A_CALL),
        arguments("delta", FIRST_HALF),
        *ended(*renamed_calls([call()])),
    ],
    "with the beginning of the call alone": [item_added(call()), *ended()],
    "twice": [item_added(call()), arguments("delta", ROME), *ended(call())],
    **{
        f"before the call begins, {name}": [
            arguments("delta", FIRST_HALF, number, id),
            item_added(A_CALL),
            arguments("delta", SECOND_HALF),
            arguments("done", ROME),
            *ended(call()),
        ]
        for name, (number, id) in {
            "by both names": (0, "fc_1"),
            "by number": (0, None),
            "by id": (None, "fc_1"),
            "by no name": (None, None),
        }.items()
    },
    "in pieces and whole before the call begins": [
        arguments("delta", FIRST_HALF),
        arguments("done", ROME, None),
        item_added(A_CALL),
        *ended(),
    ],
    "before the call begins, and no more": [arguments("delta", ROME), item_added(A_CALL), *ended()],
    "before a call that comes whole": [arguments("delta", FIRST_HALF), *ended(call())],
    "in other words of JSON": [
        item_added(A_CALL),
        arguments("delta", ROME),
        arguments("done", '{"city":"R\\u006fme"}'),
        *ended({**call(), "arguments": '{"city":"Rome"}'}),
    ],
}


@pytest.mark.parametrize("name", LATE_ARGUMENTS)
def test_arguments_are_told_in_full_and_once_whenever_they_come(name: str) -> None:
    for body in ([encode(LATE_ARGUMENTS[name])], [data(event) for event in LATE_ARGUMENTS[name]]):
        assert read(*body) == said(FIRST, reason="tool_calls")


@pytest.mark.parametrize("whole", ['{"city": "Oslo"}', '{"ci', "x", "[" * 100_000])
def test_arguments_that_were_told_otherwise_are_an_error(whole: str) -> None:
    events = [item_added(A_CALL), arguments("delta", ROME)]
    other = {**call(), "arguments": whole}
    for more in ([arguments("done", whole)], [item_done(other)], ended(other), ended(*renamed_calls([other]))):
        assert failure(encode([*events, *more])) == failed("upstream_error", FIRST)


def test_a_call_that_was_not_streamed_is_told_beside_one_that_was() -> None:
    for output in ([call(), CLOCK], [CLOCK, call()]):
        assert read(encode([*told(call()), *ended(*output)])) == said(FIRST, SECOND, reason="tool_calls")


@pytest.mark.parametrize("kind", ["text", "output_text"])
def test_a_part_of_a_message_is_text_by_either_name(kind: str) -> None:
    item = message({"type": kind, "text": "hello"})
    for events in ([item_done(item), *ended()], [item_done(item), *ended(item)], ended(item)):
        assert read(encode(events)) == said(Delta("hello"))


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
def test_a_failure_is_told_by_its_own_code(events: list[Document], code: str) -> None:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    assert read(body) == failed(code)
    assert read(*(body[at : at + 1] for at in range(len(body)))) == failed(code)


def test_a_failure_without_a_reason_is_one_however_the_stream_goes_on() -> None:
    body = encode(ended(status="failed"))
    for more in (b"", DONE, b"data: {}\n\n"):
        assert read(body + more) == read(body, more) == failed("upstream_error")


def test_what_a_failed_response_used_is_told_to_the_log() -> None:
    error = {"code": "server_error", "message": "x"}
    batch = ResponseParser(LIMIT).feed(encode(ended(status="failed", error=error, usage=upstream.USAGE)))
    assert batch.usage == USED


BARE = {
    "an error as a line of its own": b'{"error": {"code": "rate_limit_exceeded"}}\n',
    "an error in a field of its own": b'error: {"code": "rate_limit_exceeded", "message": "secret"}\n\n',
}


@pytest.mark.parametrize("name", BARE)
def test_an_error_that_is_no_event_is_an_error(name: str) -> None:
    assert read(BARE[name]) == failed("upstream_busy")


@pytest.mark.parametrize("name", BARE)
def test_an_error_that_is_no_event_needs_no_line_feed_after_it(name: str) -> None:
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
def test_what_tells_nothing_of_an_answer_is_passed_over(name: str) -> None:
    body = encode(stream(message("a")))
    assert read(PASSED_OVER[name]) == Said()
    assert read(PASSED_OVER[name] + body) == said(Delta("a"))


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
    whole = CompleteResponseParser(max_line_bytes=LIMIT) if place == "a response in one piece" else None
    answer = read(body, reader=whole)
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
        assert read(*reads, reader=ResponseParser(len(line))).pieces == (Delta("a"),)
        assert read(*reads, reader=ResponseParser(len(line) - 2)).error == "upstream_error"


def test_the_data_lines_of_one_event_are_together_no_longer_than_the_limit() -> None:
    lines = [b"data: " + line + b"\n" for line in (TEXT % b'"a"')[6:].rstrip().partition(b",")]
    size = len(b"".join(lines)) - 6 * len(lines) + 2
    assert read(*lines, b"\n", reader=ResponseParser(size)).pieces == (Delta("a"),)
    assert read(*lines, reader=ResponseParser(size - 1)).error == "upstream_error"


def test_a_last_line_without_a_line_feed_is_read_if_it_is_whole() -> None:
    body = encode(stream(message("a"))).rstrip()
    assert read(body) == said(Delta("a"))
    assert read(body[:-1]) == Said((Delta("a"),))


@pytest.mark.parametrize("kind", ["delta", "done"])
def test_items_without_end_are_refused(kind: str) -> None:
    one = {"type": f"response.output_text.{kind}", "delta": "a", "text": "a"}
    events = [{**one, "output_index": number} for number in range(MAX_PARTS + 1)]
    assert read(encode(events[:-1])) == Said((Delta("a" * MAX_PARTS),))
    assert read(encode(events)).error == "upstream_error"


def test_calls_without_end_are_refused() -> None:
    calls = [call(number=number) for number in range(MAX_CALLS + 1)]
    assert len(read(encode(ended(*calls[:-1]))).pieces) == MAX_CALLS
    assert read(encode(ended(*calls))).error == "upstream_error"


def test_arguments_of_calls_that_never_begin_are_not_kept_without_end() -> None:
    one = {"type": "response.function_call_arguments.delta", "delta": "a"}
    events = [{**one, "item_id": f"fc_{number}"} for number in range(MAX_CALLS + 1)]
    assert read(encode(events[:-1])) == Said()
    assert read(encode(events)) == failed("upstream_error")


# -- a response in one piece


def whole(document: Any, *, content_type: str = "application/json; charset=utf-8", limit: int = LIMIT) -> Said:
    body = json.dumps(document).encode()
    reader = open_response_parser(content_type, max_line_bytes=limit)
    return read(body[:7], body[7:], reader=reader)


@pytest.mark.parametrize("name", ITEMS)
def test_a_response_that_is_not_streamed_is_told_at_its_end(name: str) -> None:
    item, piece = ITEMS[name]
    assert whole(upstream.response(item)) == said(piece, reason="tool_calls" if name == "call" else "stop")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"output": [message("a")]}, Said((Delta("a"),), "stop", ended=True)),
        (
            upstream.response(message("a"), status="incomplete", incomplete_details={"reason": "content_filter"}),
            said(Delta("a"), reason="content_filter"),
        ),
        (upstream.response(status="failed", error={"code": "rate_limit_exceeded"}), failed("upstream_busy")),
        (upstream.response(status="failed"), failed("upstream_error")),
        ({"error": {"code": "context_length_exceeded"}}, failed("context_too_long")),
        (upstream.response(status="in_progress"), failed("upstream_truncated")),
        (upstream.response(status="queued"), failed("upstream_truncated")),
        ({"choices": [{"message": {"content": "a"}}]}, failed("upstream_error")),
        ({}, failed("upstream_error")),
        ([], failed("upstream_error")),
        (None, Said()),
        ({"output": [{"type": "message", "content": 5}]}, failed("upstream_error")),
    ],
)
def test_a_body_in_one_piece_is_read_as_what_it_says_it_is(document: Any, expected: Said) -> None:
    assert whole(document) == expected


def test_a_body_in_one_piece_is_no_longer_than_a_line_may_be() -> None:
    document = upstream.response(message("a"))
    size = len(json.dumps(document))
    assert whole(document, limit=size) == said(Delta("a"))
    assert whole(document, limit=size - 1) == failed("upstream_error")


@pytest.mark.parametrize("before", [b"", b"\n \r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_body_in_one_piece_may_have_a_byte_order_mark_and_white_space_before_it(before: bytes, size: int) -> None:
    body = before + json.dumps(upstream.response(message("a")), indent=2).encode() + b"\n"
    reader = open_response_parser("application/json", max_line_bytes=LIMIT)
    assert read(*(body[at : at + size] for at in range(0, len(body), size)), reader=reader) == said(Delta("a"))


@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf", b": hello\n\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("name", SOUND | FAILED)
def test_a_stream_is_one_whatever_its_server_calls_it(name: str, size: int, before: bytes) -> None:
    events, expected = (SOUND | FAILED)[name]
    body = before + encode(events)
    reader = open_response_parser("application/json", max_line_bytes=LIMIT)
    assert read(*(body[at : at + size] for at in range(0, len(body), size)), reader=reader) == expected


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/event-stream; charset=utf-8", "", "application/x"])
def test_anything_that_is_not_json_is_read_as_an_event_stream(content_type: str) -> None:
    assert isinstance(open_response_parser(content_type, max_line_bytes=LIMIT), ResponseParser)
