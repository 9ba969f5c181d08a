"""A text in pieces through a filter: each result, whatever the pieces, and what waits meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quartapp.answer.filter.held_text import HeldText
from quartapp.core.errors import ChatError

WINDOW = 24
SECRETS = ("sk-a1b2c3d4", "sk-x", "4111 1111 1111 1111", "ada@example.org", "pässwörd-😀", "hunter2")

#: Filters whose matches have at most WINDOW characters, and which need no more than a match to find it.
FILTERS: dict[str, Callable[[str], str]] = {
    "greedy": lambda text: re.sub(r"sk-\w{1,20}", "***", text),
    "greedy with the same beginning": lambda text: re.sub(r"sk-\w{1,20}", "sk-***", text),
    "same end": lambda text: re.sub(r"sk-\w{1,17}(\w{0,3})", r"[\1]", text),
    "removed": lambda text: re.sub(r"sk-\w{1,20}", "", text),
    "longer": lambda text: re.sub(r"sk-\w{1,20}", "[a key was removed here by the filter]", text),
    "words": lambda text: re.sub(r"\b\d{4}\b", "****", text),
    # A match ends before the next label, because otherwise the next match depends on all of the text before it.
    "after a label": lambda text: re.sub(r"(?<=key: )(?:(?!key)\w){1,18}", "***", text),
    "not before a letter": lambda text: re.sub(r"\d{2,8}(?![a-z0-9])", "#", text),
    "each digit": lambda text: re.sub(r"\d", "#", text),
    "literal": lambda text: text.replace("sk-a1b2c3d4", "***").replace("hunter2", "*******"),
    "cards": lambda text: re.sub(r"\b\d{4} \d{4} \d{4} \d{4}\b", "CARD", text),
    "addresses": lambda text: re.sub(r"\b[a-z]{1,8}@[a-z]{1,8}\.[a-z]{2,3}\b", "ADDRESS", text),
    "upper case": str.upper,
    "unchanged": str,
}
each_filter = pytest.mark.parametrize("function", FILTERS.values(), ids=FILTERS)

words = st.sampled_from([*SECRETS, "key: ", "1234", "12345", " ", "\n", "a", "b1", "_", "-", "sk-", "The sky. "])
texts = st.lists(words, max_size=12).map("".join)
# In "sk-ask-bsk-c" the matches depend on all of the text before them, so a window of it is not enough.
spaced_texts = st.lists(words, max_size=12).map(" ".join)


def sent(function: Callable[[str], str], pieces: Sequence[str], window: int = WINDOW) -> list[str]:
    text = HeldText(function, window)
    return [*[text.add(piece) for piece in pieces], text.flush()]


def split(text: str, places: Sequence[int]) -> list[str]:
    cuts = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(cuts)]


@each_filter
@given(text=texts, places=st.lists(st.integers(0, 500)))
@example(text="12345" * 20, places=[*range(100)])
@example(text="a 12345 b " * 9, places=[*range(100)])
@example(text="sk-a1b2c3d4" * 9, places=[*range(100)])
@example(text="key: hunter2hunter2key: sk-a1b2c3d4sk-xpässwörd-😀", places=[])
def test_any_pieces_give_the_result_of_the_complete_text(
    function: Callable[[str], str], text: str, places: list[int]
) -> None:
    assert "".join(sent(function, split(text, places))) == function(text)


@pytest.mark.parametrize("window", [11, 16, 24, 32, 64])
def test_matches_without_a_gap_are_replaced_in_pieces_of_any_size(window: int) -> None:
    text = "sk-a1b2c3d4" * 20
    for size in range(1, 60):
        held = HeldText(lambda text: text.replace("sk-a1b2c3d4", "***"), window)
        pieces = [held.add(text[start : start + size]) for start in range(0, len(text), size)]
        assert "".join([*pieces, held.flush()]) == "***" * 20


@each_filter
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_that_arrives_by_character_or_in_two_pieces_is_replaced(
    function: Callable[[str], str], secret: str
) -> None:
    text = f"The key: is not here, but {secret} is, after all, and so is the rest. " * 2
    splits = [[*text], *([text[:place], text[place:]] for place in range(len(text)))]
    assert {"".join(sent(function, pieces)) for pieces in splits} == {function(text)}


def test_no_beginning_of_a_secret_is_sent_while_it_arrives() -> None:
    function = FILTERS["greedy"]
    held = HeldText(function, WINDOW)
    shown = ""
    for character in "The key is sk-a1b2c3d4e5, and the sky is blue.":
        shown += held.add(character)
        assert "sk-" not in shown
    assert shown + held.flush() == "The key is ***, and the sky is blue."


@each_filter
@given(pieces=st.lists(texts, max_size=8))
def test_at_most_two_windows_wait(function: Callable[[str], str], pieces: list[str]) -> None:
    held = HeldText(function, WINDOW)
    for piece in pieces:
        held.add(piece)
        assert len(held) <= 2 * WINDOW


def test_a_text_without_a_match_waits_for_one_window_only() -> None:
    held = HeldText(FILTERS["greedy"], WINDOW)
    assert held.add("a" * 100) == "a" * (100 - WINDOW)
    assert held.add("b") == "a"


def test_a_match_longer_than_two_windows_is_cut() -> None:
    held = HeldText(lambda text: re.sub(r"sk-\w+", "***", text), WINDOW)
    assert held.add("sk-" + "a" * 45) == ""
    assert held.add("b") == "***"
    assert len(held) == WINDOW


def test_a_filter_without_a_clean_cut_still_sends() -> None:
    pieces = sent(str.capitalize, ["the sky is blue. "] * 20)
    assert len([piece for piece in pieces if piece]) > 3
    assert "".join(pieces).lower() == "the sky is blue. " * 20


# -- a text that continues after it was sent


@each_filter
@example(text="4111 1111 1111 1111 4111 1111 1111 1111", places=[25], flushes={0})
@given(text=spaced_texts, places=st.lists(st.integers(0, 500)), flushes=st.sets(st.integers(0, 12)))
def test_no_complete_secret_is_sent_around_a_flush(
    function: Callable[[str], str], text: str, places: list[int], flushes: set[int]
) -> None:
    held, shown = HeldText(function, WINDOW), ""
    for number, piece in enumerate(split(text, places)):
        shown += held.add(piece)
        shown += held.flush() if number in flushes else ""
    shown += held.flush()
    for secret in SECRETS:
        if secret not in function(text):
            assert secret not in shown


def test_the_rest_of_a_match_after_a_flush_is_replaced() -> None:
    held = HeldText(FILTERS["greedy with the same beginning"], WINDOW)
    shown = [held.add("The key is sk"), held.flush(), held.add("-a1b2c3"), held.flush(), held.add(" and"), held.flush()]
    assert shown == ["", "The key is sk", "", "-***", "", " and"]


def test_text_without_a_match_is_unchanged_by_flushes() -> None:
    held = HeldText(FILTERS["greedy"], WINDOW)
    text = "order 12345678 has 3 parts"
    assert "".join(held.add(character) + held.flush() for character in text) == text


def test_a_continued_text_is_held_like_a_new_one() -> None:
    held = HeldText(FILTERS["greedy"], WINDOW)
    held.add("a" * 30)
    held.flush()
    assert held.add("b" * (WINDOW + 2)) == "bb"
    assert held.add(" the key is sk-a1b2c3 of the server, and more") == "b" * WINDOW + " the key is ***"


# -- errors


def test_an_error_of_the_filter_is_raised() -> None:
    def refuse(text: str) -> str:
        if "hunter2" in text:
            raise ChatError("content_filtered")
        return text

    held = HeldText(refuse, 8)
    held.add("it is hunt")
    with pytest.raises(ChatError):
        held.add("er2 and")
    short = HeldText(refuse, 8)
    short.add("hunter2")
    with pytest.raises(ChatError):
        short.flush()


def test_an_error_that_only_a_part_of_the_text_causes_is_not_raised() -> None:
    def refuse(text: str) -> str:
        if re.search(r"(?<!not )secret", text):
            raise ChatError("content_filtered")
        return text

    text = "it is not secret at all, and it is not secret here"
    assert "".join(sent(refuse, [*text], 12)) == text


def test_a_search_for_a_cut_takes_few_calls() -> None:
    calls = 0

    def count(text: str) -> str:
        nonlocal calls
        calls += 1
        return str.capitalize(text)

    held = HeldText(count, 4096)
    held.add("a" * 8192)
    assert calls < 80


def test_a_text_without_a_match_takes_two_calls_a_piece() -> None:
    lengths: list[int] = []

    def note(text: str) -> str:
        lengths.append(len(text))
        return text

    held = HeldText(note, WINDOW)
    held.add("a" * 100)
    assert lengths == [100, WINDOW]
