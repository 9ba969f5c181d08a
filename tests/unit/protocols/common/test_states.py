"""State that comes in pieces is put together as its server means it."""

from __future__ import annotations

from typing import Any

import pytest

from quartapp.protocols.common.states import add_state, joined

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
