"""The order of the events of a choice behind a filter, and what is filtered in each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.answer.filter.choice import FilteredChoice
from quartapp.core.events import (
    Annotation,
    Delta,
    Image,
    Piece,
    Reasoning,
    Refusal,
    Step,
    ToolApproval,
    ToolCall,
    ToolResult,
)

WINDOW = 8
KINDS: tuple[Any, ...] = (Delta, Reasoning, Refusal)


def redact(text: str) -> str:
    return re.sub(r"sk-\w{1,5}", "***", text)


def choice(window: int = WINDOW) -> FilteredChoice:
    return FilteredChoice(redact, window)


def sent(*batches: Iterable[Piece], window: int = WINDOW) -> list[Piece]:
    """Return the events that are sent for each read of an upstream, and those at the end."""
    filtered = choice(window)
    return [*[event for batch in batches for event in filtered.add(batch)], *filtered.flush()]


def one_by_one(*events: Piece) -> list[Piece]:
    return sent(*([event] for event in events))


def text_of(events: Iterable[Any], kind: Any) -> str:
    return "".join(event.text for event in events if type(event) is kind)


def arguments_of(arguments: str, kind: str | None = None) -> Any:
    [call] = one_by_one(*(ToolCall(0, arguments=character, kind=kind) for character in arguments))
    assert isinstance(call, ToolCall)
    return call.arguments


# -- texts


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_text_is_filtered(kind: Any) -> None:
    assert text_of(one_by_one(*map(kind, "the key is sk-abc, no more")), kind) == "the key is ***, no more"


@given(st.lists(st.sampled_from(KINDS), min_size=36, max_size=36))
def test_a_secret_in_each_of_alternating_kinds_is_replaced(kinds: list[Any]) -> None:
    texts = {kind: iter("a sk-abc, and b") for kind in KINDS}
    pieces: list[Any] = [kind(character) for kind in kinds if (character := next(texts[kind], ""))]
    events = one_by_one(*pieces)
    for kind in KINDS:
        assert "sk-abc" not in text_of(events, kind)


@given(st.data())
def test_kinds_that_alternate_within_the_window_are_filtered_as_if_they_were_alone(data: st.DataObject) -> None:
    texts = dict.fromkeys(KINDS, "the key is sk-abc, and so on, to the end")
    pieces = [
        kind(character) for row in zip(*texts.values(), strict=True) for kind, character in zip(KINDS, row, strict=True)
    ]
    size = data.draw(st.integers(1, len(pieces)))
    events = sent(*(pieces[start : start + size] for start in range(0, len(pieces), size)))
    assert {kind: text_of(events, kind) for kind in KINDS} == {kind: redact(text) for kind, text in texts.items()}


@pytest.mark.parametrize("start", ["", "a", "ab", "abc"])
def test_a_slow_text_between_pieces_of_a_fast_one_is_held(start: str) -> None:
    text = f"{start} the key is sk-abc, no more"
    events = one_by_one(*(piece for character in text for piece in (Delta(character), Reasoning("xyz"))))
    assert text_of(events, Delta) == redact(text)


def test_the_end_of_a_thought_is_sent_before_the_first_text() -> None:
    events = one_by_one(*map(Reasoning, "I think it is blue"), *map(Delta, "It is blue, mostly."))
    kinds = [type(event) for event in events]
    assert kinds == sorted(kinds, key=lambda kind: kind is Delta)
    assert text_of(events, Reasoning) == "I think it is blue"
    assert text_of(events, Delta) == "It is blue, mostly."


def test_a_thought_and_a_text_in_one_read_keep_their_order() -> None:
    events = sent([Reasoning("I think it is blue"), Delta("It is blue, mostly.")])
    assert [type(event) for event in events] == [Reasoning, Reasoning, Delta, Delta]


def test_a_match_that_goes_on_after_other_text_is_not_sent_complete() -> None:
    events = one_by_one(*map(Delta, "a sk-ab"), *map(Reasoning, "x" * 20), *map(Delta, "cde, b"))
    assert text_of(events, Delta) == "a ***, b"
    late = one_by_one(*map(Delta, "a sk-"), *map(Reasoning, "x" * 20), *map(Delta, "cde, b"))
    assert text_of(late, Delta) == "a sk-***, b"


def test_one_read_costs_two_calls_for_each_text() -> None:
    calls: list[str] = []

    def note(text: str) -> str:
        calls.append(text)
        return text

    filtered = FilteredChoice(note, WINDOW)
    filtered.add([*map(Reasoning, "a" * 100), *map(Delta, "b" * 100)])
    assert len(calls) == 2 + 2 + 1  # two texts, and the end of the first


# -- sources and images


def test_a_source_follows_the_text_before_it() -> None:
    source = Annotation("url_citation", "https://example.org/a")
    events = one_by_one(*map(Delta, "It is blue"), source, *map(Delta, ", as sources say."))
    before = text_of(events[: events.index(source)], Delta)
    assert before.startswith("It is blue")
    assert text_of(events, Delta) == "It is blue, as sources say."


def test_a_secret_around_a_source_is_replaced() -> None:
    source = Annotation("url_citation", "https://example.org/a")
    events = one_by_one(*map(Delta, "a sk-"), source, *map(Delta, "abc, and b"), source)
    assert text_of(events, Delta) == "a ***, and b"
    assert events.count(source) == 2


def test_a_source_without_text_before_it_is_sent_at_once() -> None:
    source = Annotation("url_citation", "https://example.org/a")
    assert choice().add([source]) == [source]


def test_the_texts_of_a_source_and_the_address_of_an_image_are_filtered() -> None:
    source = Annotation("url_citation", "https://example.org/sk-abc", "about sk-abc", 1, 2, filename="sk-abc.txt")
    assert one_by_one(source) == [
        Annotation("url_citation", "https://example.org/***", "about ***", 1, 2, filename="***.txt")
    ]
    assert one_by_one(Image("https://example.org/sk-abc")) == [Image("https://example.org/***")]
    assert one_by_one(Image("data:image/png;base64,sk-abc")) == [Image("data:image/png;base64,sk-abc")]


# -- tools


def test_a_call_is_sent_complete_after_the_texts() -> None:
    fragments = [
        ToolCall(0, "c-1", "find", '{"key":', executor="server"),
        ToolCall(0, arguments=' "sk-'),
        ToolCall(0, arguments='abc"}'),
    ]
    events = sent([Delta("hm")], fragments, [Delta("so")], window=40)
    assert events == [Delta("hmso"), ToolCall(0, "c-1", "find", '{"key":"***"}', executor="server")]


def test_the_end_of_a_text_does_not_wait_for_long_arguments() -> None:
    filtered = choice()
    assert filtered.add([Delta("hm"), ToolCall(0, "c", "find", '{"a":')]) == []
    assert filtered.add([ToolCall(0, arguments='"long enough"}')]) == [Delta("hm")]
    assert filtered.flush() == [ToolCall(0, "c", "find", '{"a":"long enough"}')]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": "sk-abc"}', {"a": "***"}),
        ('{"sk-abc": [1, "x", {"b": "sk-abc"}]}', {"***": [1, "x", {"b": "***"}]}),
        ('{"a": "\\u0073k\\u002dabc"}', {"a": "***"}),
        ('{"a": "sk-abc", "a": "b"}', {"a": "b"}),
        ('"sk-abc"', "***"),
        (
            '{"n": [true, null, 1.5, 123456789012345678901234567890]}',
            {"n": [True, None, 1.5, 123456789012345678901234567890]},
        ),
    ],
)
def test_the_strings_of_arguments_are_filtered_after_decoding(arguments: str, expected: Any) -> None:
    assert json.loads(arguments_of(arguments)) == expected


def test_a_number_that_the_filter_changes_becomes_a_string() -> None:
    filtered = FilteredChoice(lambda text: text.replace("4111111111111111", "CARD"), WINDOW)
    filtered.add([ToolCall(0, "c", "pay", '{"card": 4111111111111111, "sum": 5}')])
    assert filtered.flush() == [ToolCall(0, "c", "pay", '{"card":"CARD","sum":5}')]


@pytest.mark.parametrize("arguments", ['{"a": "sk-abc', '{"a": "\\u0073k-abc', '{"a": "s\\u006b-\\u0061bc"', "sk-abc"])
def test_arguments_that_are_no_json_are_filtered_as_a_text(arguments: str) -> None:
    output = arguments_of(arguments)
    assert output.endswith(("***", '***"'))
    assert "abc" not in output


def test_the_text_for_a_custom_tool_is_filtered_as_a_text() -> None:
    assert arguments_of('{"a":  "sk-abc"}', "custom") == '{"a":  "***"}'


def test_a_call_without_arguments_stays_empty() -> None:
    assert one_by_one(ToolCall(0, "c", "now")) == [ToolCall(0, "c", "now", "")]


def test_state_of_a_server_is_unchanged_or_dropped() -> None:
    kept, dropped = {"extra_content": {"google": {"thought_signature": "abc"}}}, {"extra_content": ["sk-abc"]}
    events = one_by_one(ToolCall(0, "c", "now", extra=kept), ToolCall(1, "d", "now", extra=dropped))
    assert [getattr(event, "extra", 0) for event in events] == [kept, None]
    split = {"reasoning_details": [{"text": "sk-"}, {"text": "abc"}]}
    assert one_by_one(Step(kept), Step(dropped), Step(split)) == [Step(kept), Step(None), Step(None)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [("sk-abc", "***"), ('{"k": "\\u0073k-abc"}', '{"k":"***"}'), (' ["sk-abc"]', '["***"]'), ("{sk-abc", "{***")],
)
def test_the_result_of_a_tool_is_filtered(content: str, expected: str) -> None:
    assert one_by_one(ToolResult("c", "find", content)) == [ToolResult("c", "find", expected)]


@pytest.mark.parametrize("event", [Step(), ToolResult("c", "find", "x"), ToolApproval("c", "find")])
def test_all_that_waits_is_sent_before_an_event_of_a_tool(event: Piece) -> None:
    waiting: list[Piece] = [ToolCall(0, "c", "find", "{}"), Delta("hm")]
    assert choice().add([*waiting, event]) == [Delta("hm"), ToolCall(0, "c", "find", "{}"), event]


def test_the_calls_of_the_next_step_have_their_own_fragments() -> None:
    events = one_by_one(ToolCall(0, "c", "find", "{}"), Step(), ToolCall(0, "d", "find", "[]"))
    assert events == [ToolCall(0, "c", "find", "{}"), Step(), ToolCall(0, "d", "find", "[]")]
