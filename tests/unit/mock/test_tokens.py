"""Tokens of the mock model: the text they join to, their limit, and stop sequences."""

from __future__ import annotations

import pytest

from quartapp.mock.tokens import split
from tests.support.mock_model import ask, finish_reasons


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_truncates_the_answer_with_the_reason_length(field: str) -> None:
    reply = await ask("mock", **{field: 2})
    assert (reply.text, finish_reasons(reply.events)) == ("1 2", ["length"])


async def test_a_token_limit_that_is_just_met_truncates_nothing() -> None:
    reply = await ask("mock", max_tokens=5)
    assert (reply.text, finish_reasons(reply.events)) == ("1 2 3 4 5", ["stop"])


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (" 3", "1 2"),
        ("2 3", "1 "),
        (["5", " 4"], "1 2 3"),
        (["3 4 x", "4"], "1 2 3 "),
        ("5 6", "1 2 3 4 5"),
        ("1", ""),
    ],
)
async def test_a_stop_sequence_ends_the_answer_before_it(stop: object, text: str) -> None:
    reply = await ask("mock", stop=stop)
    assert (reply.text, finish_reasons(reply.events)) == (text, ["stop"])


@pytest.mark.parametrize("text", ["", " ", "a b", "\n\n x\t", "x" * 100, " " * 30 + "y", "a\u2028b\x00", "語" * 40])
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(split(text)) == text
