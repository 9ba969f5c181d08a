"""Reasoning in tags within the text, however the text is split."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.core.events import Delta, Event, Reasoning
from quartapp.upstreams.common.think_tags import ThinkTags
from tests.support import streams

Mode = Literal["leading", "open"]

SPACE = " \n" * 100

LEADING: dict[str, list[Event]] = {
    "Four.": [Delta("Four.")],
    "<think>Hm.</think>Four.": [Reasoning("Hm."), Delta("Four.")],
    "\n <think>\nHm.\n</think>\n\nFour.\n": [Reasoning("Hm.\n"), Delta("Four.\n")],
    "<think></think>Four.": [Delta("Four.")],
    "<think>\n\n</think>\n\nFour.": [Delta("Four.")],
    "<think>Hm.</think>": [Reasoning("Hm.")],
    "<think>Hm.": [Reasoning("Hm.")],
    "<think>Hm.</thin": [Reasoning("Hm.</thin")],
    "<think>a<b</c<<</think>d": [Reasoning("a<b</c<<"), Delta("d")],
    "<think>a<think>b</think>c": [Reasoning("a<think>b"), Delta("c")],
    "<think>a</think>b<think>c</think>d": [Reasoning("a"), Delta("b<think>c</think>d")],
    "<think>a</think><think>b</think>": [Reasoning("a"), Delta("<think>b</think>")],
    "I <think>so</think>": [Delta("I <think>so</think>")],
    "a</think>b": [Delta("a</think>b")],
    "<thin": [Delta("<thin")],
    "<thinking>a": [Delta("<thinking>a")],
    "<Think>a</Think>": [Delta("<Think>a</Think>")],
    " \n": [Delta(" \n")],
    " a": [Delta(" a")],
    f"{SPACE}<think>a</think>b": [Reasoning("a"), Delta("b")],
    f"{SPACE * 3}<think>a": [Delta(f"{SPACE * 3}<think>a")],
}
OPEN: dict[str, list[Event]] = {
    "Hm.</think>Four.": [Reasoning("Hm."), Delta("Four.")],
    "\nHm.\n</think>\n\nFour.": [Reasoning("Hm.\n"), Delta("Four.")],
    "\n</think>\nFour.": [Delta("Four.")],
    "Hm.": [Reasoning("Hm.")],
    "Hm.</think": [Reasoning("Hm.</think")],
    "a</think>b</think>c": [Reasoning("a"), Delta("b</think>c")],
    "a<think>b</think>c": [Reasoning("a<think>b"), Delta("c")],
}
EACH = [*(("leading", text) for text in LEADING), *(("open", text) for text in OPEN)]


def events_of(mode: Mode, texts: list[str]) -> list[Event]:
    tags = ThinkTags(mode)
    return streams.joined([piece for text in texts for piece in tags.split(text)] + tags.release())


@pytest.mark.parametrize(("mode", "text"), EACH)
def test_reasoning_is_separated_however_the_text_is_split(mode: Mode, text: str) -> None:
    expected = (LEADING if mode == "leading" else OPEN)[text]
    assert events_of(mode, [text]) == events_of(mode, [*text]) == expected
    assert all(events_of(mode, [text[:at], text[at:]]) == expected for at in range(len(text)))


@given(
    mode=st.sampled_from(["leading", "open"]),
    texts=st.lists(st.text("<>/think \na", max_size=6) | st.sampled_from(["<think>", "</think>"]), max_size=8),
)
def test_any_text_gives_the_same_events_in_any_pieces(mode: Mode, texts: list[str]) -> None:
    text = "".join(texts)
    assert events_of(mode, texts) == events_of(mode, [text]) == events_of(mode, [*text])


@given(text=st.text("<>/think a", min_size=1))
def test_text_without_a_block_is_unchanged(text: str) -> None:
    if not text.lstrip().startswith("<think>"):
        assert events_of("leading", [*text]) == [Delta(text)]


def test_nothing_is_held_back_that_cannot_be_a_tag() -> None:
    tags = ThinkTags("leading")
    assert tags.split("<th") == []
    assert tags.split("<") == [Delta("<th<")]
    assert tags.is_over
    tags = ThinkTags("open")
    assert tags.split("a</") == [Reasoning("a")]
    assert tags.split("b") == [Reasoning("</b")]
    assert not tags.is_over
    assert [*tags.split("</think>\n"), *tags.split("c")] == [Delta("c")]
    assert tags.is_over


def test_an_answer_that_something_else_opened_is_text() -> None:
    tags = ThinkTags("leading")
    assert tags.release() == []
    assert tags.split("<think>a") == [Delta("<think>a")]
