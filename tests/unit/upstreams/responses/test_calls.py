"""The tool calls of a response: each sent once, with its name and all its arguments."""

from __future__ import annotations

import pytest

from quartapp.core.events import ToolCall
from quartapp.protocols.native.whole import WholeToolCall, merge
from quartapp.upstreams.responses.calls import MAX_CALLS
from quartapp.upstreams.responses.events import ResponseParser
from tests.support.responses_reads import (
    CLOCK,
    FIRST,
    LIMIT,
    ROME,
    SECOND,
    Answer,
    changed,
    completed,
    failed,
    failure,
    item_added,
    item_done,
    read,
    renamed_calls,
    without,
)
from tests.support.responses_upstream import (
    Document,
    begun,
    call,
    data,
    encode,
    ended,
    told,
)

# -- events of OpenAI


def test_two_interleaved_calls_are_separated_by_their_items() -> None:
    calls = told(call(), call("clock", '{"zone": "CET"}', 2))
    half = len(calls) // 2
    interleaved = [event for pair in zip(calls[:half], calls[half:], strict=True) for event in pair]
    answer = merge(read(encode([*begun(), *interleaved, *ended()])).pieces)
    assert answer.tool_calls == [
        WholeToolCall("call_1", "weather", ROME),
        WholeToolCall("call_2", "clock", '{"zone": "CET"}'),
    ]


# -- events that a server omits or numbers differently


def test_the_pieces_of_a_call_that_nothing_names_go_to_the_last_one() -> None:
    events = changed(without(told(call(), CLOCK), ".done"), output_index=None, item_id=None)
    assert read(encode([*events, *ended()])) == completed(FIRST, SECOND, reason="tool_calls")


def test_interleaved_calls_of_one_number_are_separated_by_their_ids() -> None:
    calls = changed(without(told(call(), call("clock", '{"zone": "CET"}', 2)), ".done"), output_index=0)
    half = len(calls) // 2
    interleaved = [event for pair in zip(calls[:half], calls[half:], strict=True) for event in pair]
    answer = merge(read(encode([*interleaved, *ended()])).pieces)
    assert [each.arguments for each in answer.tool_calls] == [ROME, '{"zone": "CET"}']


def test_arguments_that_come_with_the_response_go_to_the_calls_of_their_ids() -> None:
    events = without(told(call(), CLOCK), ".delta", ".done")
    answer = merge(read(encode([*events, *ended(CLOCK, call())])).pieces)
    assert [each.arguments for each in answer.tool_calls] == [ROME, "{}"]


def test_a_call_whose_name_is_late_is_sent_with_its_name() -> None:
    late = told(call())
    late[0]["item"] = {**late[0]["item"], "name": ""}
    assert read(encode([*late, *ended(call())])) == completed(FIRST, reason="tool_calls")


@pytest.mark.parametrize("item", [{**call(), "name": ""}, {**call(), "name": None}])
def test_a_call_that_is_never_named_is_an_error(item: Document) -> None:
    assert read(encode([*told(item), *ended(item)])).error == "upstream_error"
    assert read(encode([item_added(item), *ended()])).error == "upstream_error"


def test_arguments_of_no_call_are_an_error_when_the_response_ends() -> None:
    events = without(told(call()), "output_item")
    assert read(encode([*events, *ended()])).error == "upstream_error"
    assert read(encode([*events, *ended(call())])) == completed(FIRST, reason="tool_calls")


@pytest.mark.parametrize(("id", "shown"), [("fc_1", "fc_1"), (None, None), ("", None)])
def test_a_call_without_the_id_of_its_result_gets_one(id: str | None, shown: str | None) -> None:
    [piece] = read(encode(ended({**call(), "id": id, "call_id": None}))).pieces
    assert isinstance(piece, ToolCall)
    assert piece.id == shown or (shown is None and piece.id and piece.id.startswith("call_"))


def test_a_call_of_a_custom_tool_is_sent_with_its_text() -> None:
    item = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_1", "name": "run", "input": "ls"}
    assert read(encode(ended(item))).pieces == (ToolCall(0, "call_1", "run", "ls", "custom"),)


def test_the_text_of_a_custom_tool_is_streamed() -> None:
    item = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_1", "name": "run", "input": ""}
    place = {"item_id": "ct_1", "output_index": 0}
    parser = ResponseParser(LIMIT)
    begun = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.custom_tool_call_input.delta", **place, "delta": "l"},
    ]
    assert parser.feed(encode(begun)).pieces == [
        ToolCall(0, "call_1", "run", kind="custom"),
        ToolCall(0, arguments="l", kind="custom"),
    ]
    rest = [{"type": "response.custom_tool_call_input.done", **place, "input": "ls"}, *ended(item | {"input": "ls"})]
    assert parser.feed(encode(rest)).pieces == [ToolCall(0, arguments="s", kind="custom")]


# -- events with more than the events before them


def arguments(kind: str, text: str, number: int | None = 0, id: str | None = "fc_1") -> Document:
    fields = {"delta": text} if kind == "delta" else {"arguments": text}
    event = {"type": f"response.function_call_arguments.{kind}", "output_index": number, "item_id": id, **fields}
    return changed([event])[0]


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
def test_arguments_are_sent_completely_and_once_whenever_they_come(name: str) -> None:
    for body in ([encode(LATE_ARGUMENTS[name])], [data(event) for event in LATE_ARGUMENTS[name]]):
        assert read(*body) == completed(FIRST, reason="tool_calls")


@pytest.mark.parametrize("complete", ['{"city": "Oslo"}', '{"ci', "x", "[" * 100_000])
def test_arguments_that_contradict_the_sent_ones_are_an_error(complete: str) -> None:
    events = [item_added(A_CALL), arguments("delta", ROME)]
    other = {**call(), "arguments": complete}
    for more in ([arguments("done", complete)], [item_done(other)], ended(other), ended(*renamed_calls([other]))):
        assert failure(encode([*events, *more])) == failed("upstream_error", FIRST)


def test_a_call_that_was_not_streamed_is_sent_next_to_a_streamed_one() -> None:
    for output in ([call(), CLOCK], [CLOCK, call()]):
        assert read(encode([*told(call()), *ended(*output)])) == completed(FIRST, SECOND, reason="tool_calls")


# -- limits


def test_calls_without_end_are_refused() -> None:
    calls = [call(number=number) for number in range(MAX_CALLS + 1)]
    assert len(read(encode(ended(*calls[:-1]))).pieces) == MAX_CALLS
    assert read(encode(ended(*calls))).error == "upstream_error"


def test_arguments_of_calls_that_never_begin_are_bounded() -> None:
    one = {"type": "response.function_call_arguments.delta", "delta": "a"}
    events = [{**one, "item_id": f"fc_{number}"} for number in range(MAX_CALLS + 1)]
    assert read(encode(events[:-1])) == Answer()
    assert read(encode(events)) == failed("upstream_error")
