"""The texts of a response, compared with the complete texts that a server sends later."""

from __future__ import annotations

import pytest

from quartapp.core.events import Delta, Reasoning
from quartapp.protocols.native.whole import merge
from quartapp.upstreams.responses.texts import MAX_PARTS
from tests.support.responses_reads import (
    Answer,
    completed,
    failed,
    failure,
    item_done,
    part_done,
    piece,
    read,
    renamed,
)
from tests.support.responses_upstream import (
    Document,
    data,
    encode,
    ended,
    message,
    stream,
    thinking,
    told,
)

# -- events that a server omits or numbers differently


def test_an_empty_delta_is_not_taken_for_the_text() -> None:
    place = {"output_index": 0, "content_index": 0}
    events = [
        {"type": "response.output_text.delta", "delta": "", **place},
        {"type": "response.output_text.done", "text": "Hello", **place},
    ]
    assert read(encode([*events, *ended()])) == completed(Delta("Hello"))


def test_a_long_answer_may_have_another_id_in_each_event() -> None:
    one = {"type": "response.output_text.delta", "delta": "a", "output_index": 0}
    events = [{**one, "item_id": f"id_{number}"} for number in range(MAX_PARTS)]
    assert read(encode([*events, *ended()])) == completed(Delta("a" * MAX_PARTS))


# -- events with more than the events before them


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
def test_the_rest_of_a_text_is_sent_from_any_complete_text(begun_by: str, ended_by: str) -> None:
    begin, end = piece("par", *NAMES[begun_by]), part_done("partial and more", *NAMES[ended_by])
    expected = completed(Delta("partial and more"))
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
def test_a_text_that_contradicts_the_sent_one_is_an_error(begun_by: str, ended_by: str) -> None:
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


def test_the_rest_of_a_text_after_which_another_was_sent_is_an_error() -> None:
    events = [piece("par"), piece("two", 1, "msg_2")]
    complete = [message("partial"), message("two", id="msg_2")]
    assert failure(encode([*events, *ended(*complete)])) == failed("upstream_error", Delta("partwo"))
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
def test_a_complete_text_after_a_streamed_one_is_sent(name: str) -> None:
    assert read(encode(LATE[name])) == completed(Delta("One. Two."))


def test_texts_in_another_order_than_in_the_output_are_sent_once() -> None:
    events = [piece("Two.", 1, "msg_2"), piece("One. ")]
    for output in ([ONE, TWO], renamed([ONE, TWO]), [ONE], [TWO]):
        assert read(encode([*events, *ended(*output)])) == completed(Delta("Two.One. "))
    assert read(encode([piece("Two.", 1, "msg_2"), *ended(ONE, TWO)])) == completed(Delta("Two.One. "))


@pytest.mark.parametrize("id", ["", None])
def test_the_rest_of_a_text_is_sent_if_the_complete_output_has_no_ids(id: str | None) -> None:
    events = [piece("Two.", 1, "msg_2"), piece("par")]
    output = [{**message("partial"), "id": id}, {**message("Two."), "id": id}]
    assert read(encode([*events, *ended(*output)])) == completed(Delta("Two.partial"))


def test_a_text_that_is_named_only_at_its_end_is_sent_once() -> None:
    events = [piece("One. ", None, None), part_done("One. "), piece("Two.", None, None), part_done("Two.", 1, "msg_2")]
    assert read(encode([*events, *ended(ONE, TWO)])) == completed(Delta("One. Two."))


def test_the_same_text_twice_is_sent_twice() -> None:
    assert read(encode(stream(ONE, {**ONE, "id": "msg_2"}))) == completed(Delta("One. One. "))
    assert read(encode([piece("One. "), *ended(ONE, {**ONE, "id": "msg_2"})])) == completed(Delta("One. One. "))


def test_the_rest_of_thoughts_is_sent_and_its_parts_are_separated() -> None:
    item = thinking("First I think.", "Then again.")
    first = {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "First"}
    for more in (ended(item), [item_done(item), *ended(item)], ended(*renamed([item]))):
        assert read(encode([first, *more])) == completed(Reasoning("First I think.\n\nThen again."))


def test_reasoning_is_not_sent_after_its_streamed_summary() -> None:
    events = told(thinking("In short."))
    for item in (thinking("In short.", content=["I think."]), thinking(content=["I think."])):
        assert read(encode([*events, *ended(item)])) == completed(Reasoning("In short."))


@pytest.mark.parametrize(
    ("streamed", "complete"),
    [
        ("\n\nHello \n", "Hello"),
        ("\nHel", "Hello"),
        ("Hello", "Hello\n"),
        ("Hello", " Hello"),
        ("Hi \ufffd\ufffd", "Hi 😀"),
    ],
)
def test_a_text_is_the_same_with_white_space_stripped_and_characters_mended(streamed: str, complete: str) -> None:
    for more in ([part_done(complete), *ended()], [item_done(message(complete)), *ended()], ended(message(complete))):
        answer = merge(read(encode([piece(streamed), *more])).pieces)
        assert answer.text.strip() in ("Hello", "Hi \ufffd\ufffd")
        assert read(encode([piece(streamed), *more])).ended


def test_an_empty_complete_text_adds_nothing() -> None:
    events = [piece("Hello"), part_done(""), item_done(message("")), *ended(message(""))]
    assert read(encode(events)) == completed(Delta("Hello"))


# -- limits


@pytest.mark.parametrize("kind", ["delta", "done"])
def test_items_without_end_are_refused(kind: str) -> None:
    one = {"type": f"response.output_text.{kind}", "delta": "a", "text": "a"}
    events = [{**one, "output_index": number} for number in range(MAX_PARTS + 1)]
    assert read(encode(events[:-1])) == Answer((Delta("a" * MAX_PARTS),))
    assert read(encode(events)).error == "upstream_error"
