"""State that comes in pieces is put together as its server means it."""

from __future__ import annotations

from typing import Any

import pytest

from quartapp.protocols.common.states import SentState, add_state, joined, rejoined, without_thought_mark

TEXT = {"type": "reasoning.text", "index": 0}


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([{"a": {"b": "s"}}, {"a": {"c": "t"}}], {"a": {"b": "s", "c": "t"}}),
        ([{"a": {"b": "s"}}, {"a": {"b": "s"}}], {"a": {"b": "s"}}),
        ([{"a": {"b": "s"}}, {"a": None}], {"a": {"b": "s"}}),
        (
            [{"d": [TEXT | {"text": "Let"}]}, {"d": [TEXT | {"text": " me", "signature": "s"}]}],
            {"d": [TEXT | {"text": "Let me", "signature": "s"}]},
        ),
        (
            [{"d": [TEXT | {"text": "a", "signature": "s"}]}, {"d": [TEXT | {"text": "b"}]}],
            {"d": [TEXT | {"text": "a", "signature": "s"}, TEXT | {"text": "b"}]},
        ),
        (
            [
                {"d": [{"type": "reasoning.encrypted", "data": "a"}]},
                {"d": [{"type": "reasoning.encrypted", "data": "b"}]},
            ],
            {"d": [{"type": "reasoning.encrypted", "data": "a"}, {"type": "reasoning.encrypted", "data": "b"}]},
        ),
        (
            [{"d": [{"type": "a", "text": "x"}]}, {"d": [{"type": "b", "text": "y"}, 1]}],
            {"d": [{"type": "a", "text": "x"}, {"type": "b", "text": "y"}, 1]},
        ),
    ],
)
def test_pieces_of_state_are_put_together(pieces: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    known: dict[str, Any] = {}
    for piece in pieces:
        earlier, before = joined(known), repr(joined(known))
        sent = repr(piece)
        add_state(known, piece)
        assert (repr(earlier), repr(piece)) == (before, sent)  # state that was sent before does not change
    assert joined(known) == expected


class Copied(str):
    """A text that cannot be added to another."""

    def __radd__(self, other: str) -> str:
        raise AssertionError("all that came before is copied for each piece")


def test_a_thought_in_many_pieces_is_joined_once() -> None:
    known: dict[str, Any] = {}
    for piece in ("a", "b", "c"):
        add_state(known, {"reasoning_details": [TEXT | {"text": Copied(piece)}]})
    assert joined(known) == {"reasoning_details": [TEXT | {"text": "abc"}]}


def test_a_summary_that_becomes_a_list_does_not_raise() -> None:
    known: dict[str, Any] = {}
    for summary in (["a"], "b"):
        add_state(known, {"reasoning_details": [TEXT | {"summary": summary}]})
    assert joined(known) == {"reasoning_details": [TEXT | {"summary": "b"}]}


def test_pieces_that_a_client_kept_as_entries_are_joined() -> None:
    pieces = [TEXT | {"text": "Let"}, TEXT | {"text": " me"}, TEXT | {"signature": "s"}, {"type": "b", "index": 1}]
    complete = [TEXT | {"text": "Let me", "signature": "s"}, {"type": "b", "index": 1}]
    assert rejoined({"d": pieces, "a": {"b": [1]}}) == {"d": complete, "a": {"b": [1]}}
    assert rejoined({"d": complete, "e": [], "f": 1}) == {"d": complete, "e": [], "f": 1}


def test_a_field_of_an_entry_is_sent_once() -> None:
    sent = SentState()
    pieces = [TEXT | {"text": "Let", "format": "v1", "id": "a"}, TEXT | {"text": "Let", "format": "v1", "id": "b"}]
    assert not sent.drop_known({"d": [pieces[0]]}, 0)
    assert sent.drop_known({"d": [pieces[1]]}, 0)
    assert pieces[1] == TEXT | {"text": "Let", "id": "b"}
    for others, choice in (
        ({"d": [TEXT | {"format": "v1"}]}, 1),
        ({"e": [TEXT | {"format": "v1"}]}, 0),
        ({"d": [TEXT | {"index": 1, "format": "v1"}]}, 0),
        ({"d": [{"format": "v1"}, "v1"], "f": "v1"}, 0),
    ):
        assert not sent.drop_known(others, choice)


@pytest.mark.parametrize("mark", [True, 2])
def test_the_mark_of_a_thought_is_removed_even_if_a_client_added_it_up(mark: object) -> None:
    signed = {"extra_content": {"google": {"thought_signature": "s"}}}
    marked = {"extra_content": {"google": {"thought_signature": "s", "thought": mark}}}
    assert without_thought_mark(marked) == (signed, True)
    assert without_thought_mark({"extra_content": {"google": {"thought": mark}}}) == ({}, True)
