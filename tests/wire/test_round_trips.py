"""Round trips: the parser of every format decodes any answer completely, however the answer and its bytes are split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.core.events import Delta, Event, Refusal
from tests.support.answers import answers, cuts, splits
from tests.support.event_stream_oracle import Read, names_and_data, oracle
from tests.support.examples import examples
from tests.support.parsers import EventStreamReader, NdjsonReader, read_event_stream, read_ndjson
from tests.support.vectors import Case, encoded, encoder
from tests.support.wire_checks import CHECKS, HAS_ENDED

STREAMED = ("text", "ndjson", "sse", "openai", "ai_sdk")
EVENT_STREAMS = ("sse", "openai", "ai_sdk")

thorough = examples(50)


@pytest.fixture(scope="module")
def eventsource_parser(needs: Callable[[str], str]) -> Iterator[Read]:
    with oracle(needs("node")) as read:
        yield read


# -- from events to bytes and back


@thorough
@given(case=answers())
def test_every_encoded_answer_is_decoded_to_itself(case: Case) -> None:
    for format in STREAMED:
        CHECKS[format](case, encoded(format, case))


@given(case=answers(fails=False))
def test_every_complete_answer_is_decoded_from_one_object(case: Case) -> None:
    CHECKS["json"](case, encoded("json", case))


@given(case=answers(), data=st.data())
def test_no_part_of_an_answer_passes_for_one_that_has_ended(case: Case, data: st.DataObject) -> None:
    for format, has_ended in HAS_ENDED.items():
        body = encoded(format, case)
        assert has_ended(body)
        assert not has_ended(body[: data.draw(st.integers(0, len(body) - 1))])


@given(case=answers(), data=st.data())
def test_how_events_are_batched_changes_no_byte(case: Case, data: st.DataObject) -> None:
    otherwise = case._replace(batches=data.draw(cuts(case.events)))
    for format in HAS_ENDED:
        assert encoded(format, case) == encoded(format, otherwise)


@given(case=answers(), data=st.data())
def test_how_events_are_batched_changes_no_text_of_complete_characters(case: Case, data: st.DataObject) -> None:
    events = [event for event in case.events if _is_well_formed(event)]
    batches = [data.draw(cuts(events)) for _ in range(2)]
    first, second = (encoded("text", case._replace(batches=each)) for each in batches)
    assert first == second


def _is_well_formed(event: Event) -> bool:
    text = event.text if isinstance(event, Delta | Refusal) else ""
    return not any("\ud800" <= character <= "\udfff" for character in text)


@given(cases=st.tuples(answers(), answers()), data=st.data())
def test_answers_that_are_encoded_at_the_same_time_do_not_mix(cases: tuple[Case, Case], data: st.DataObject) -> None:
    turns = data.draw(st.permutations([turn for turn, case in enumerate(cases) for _ in case.batches]))
    for format in STREAMED:
        encoders = [encoder(format, case) for case in cases]
        waiting = [iter(case.batches) for case in cases]
        bodies = [b"", b""]
        for turn in turns:
            bodies[turn] += encoders[turn](next(waiting[turn]))
        assert bodies == [encoded(format, case) for case in cases]


# -- bytes that are split at any place


@given(case=answers(), data=st.data())
def test_records_are_the_same_however_the_bytes_arrive(case: Case, data: st.DataObject) -> None:
    body = encoded("ndjson", case)
    parser = NdjsonReader()
    assert _fed(parser.feed, data.draw(splits(body))) == read_ndjson(body)
    parser.end()


@given(case=answers(), format=st.sampled_from(EVENT_STREAMS), data=st.data())
def test_events_are_the_same_however_the_bytes_arrive(case: Case, format: str, data: st.DataObject) -> None:
    body = encoded(format, case)
    assert _fed(EventStreamReader().feed, data.draw(splits(body))) == read_event_stream(body)


def _fed(feed: Callable[[bytes], list[Any]], pieces: list[bytes]) -> list[Any]:
    return [event for piece in pieces for event in feed(piece)]


# -- compared with another parser


@thorough
@given(case=answers(), format=st.sampled_from(EVENT_STREAMS), data=st.data())
def test_eventsource_parser_reads_the_same_events(
    eventsource_parser: Read, case: Case, format: str, data: st.DataObject
) -> None:
    body = encoded(format, case)
    expected = eventsource_parser(data.draw(splits(body)))
    assert names_and_data(expected) == names_and_data(read_event_stream(body))


@given(case=answers())
def test_only_the_first_event_has_an_id(eventsource_parser: Read, case: Case) -> None:
    ids = [event.last_event_id for event in eventsource_parser([encoded("sse", case)])]
    assert ids == ["0", *[""] * (len(ids) - 1)]


LINES = st.lists(
    st.tuples(
        st.sampled_from(["data", "data: ", "data:", "event: ", "event", "id: ", "id", "retry: ", ":", " ", "x: ", ""]),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=4),
        st.sampled_from(["\n", "\r", "\r\n", "\n\n", "\r\r"]),
    ).map("".join)
).map("".join)


@thorough
@given(lines=LINES, mark=st.sampled_from(["", "\ufeff"]), data=st.data())
def test_eventsource_parser_and_our_parser_agree_on_any_stream(
    eventsource_parser: Read, lines: str, mark: str, data: st.DataObject
) -> None:
    body = f"{mark}{lines}\n: that was all".encode()
    events = _fed(EventStreamReader().feed, data.draw(splits(body)))
    assert names_and_data(events) == names_and_data(eventsource_parser(data.draw(splits(body))))
