"""Answers as hypothesis makes them: Start first, Done or Failed last, between them anything that a model may say."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, TypeVar

from hypothesis import strategies as st

from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.events import Delta, Done, Event, Failed, Ping, Reasoning, Refusal, Start, ToolCall, Usage
from tests.support import vectors
from tests.support.vectors import Case

T = TypeVar("T")

#: What the vectors have a model say to break a reader.
HOSTILE: Final = sorted(
    {
        event.text
        for case in vectors.load("ndjson")
        for event in case.events
        if case.name.startswith("hostile") and isinstance(event, Delta) and len(event.text) < 1000
    }
)

_CHARACTERS = st.characters(exclude_categories=())  # halves of surrogate pairs too
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(_CHARACTERS, max_size=20), max_size=3).map("".join)
_JSON = st.sampled_from(
    [
        "{}",
        '{"a":',
        '"\\ud83d"',
        "1}",
        "[1.5e3,null]",
        "-0",
        "NaN",
        '{"__proto__":0}',
        "1e999",
        "[",
        "]",
        "true",
        ' "',
        '"',
    ]
)
_COUNTS = st.integers(0, 2**53)
_REASONS = st.sampled_from(["stop", "length", "content_filter", "tool_calls", "function_call"]) | TEXTS

_PIECES: Final[st.SearchStrategy[Event]] = st.one_of(
    st.builds(Delta, TEXTS),
    st.builds(Reasoning, TEXTS),
    st.builds(Refusal, TEXTS),
    st.builds(ToolCall, st.integers(0, 3), st.none() | TEXTS, st.none() | TEXTS, st.none() | _JSON | TEXTS),
    st.just(Ping()),
)
_START: Final[st.SearchStrategy[Event]] = st.builds(Start, TEXTS, TEXTS)
_DONE: Final[st.SearchStrategy[Event]] = st.builds(
    Done, _REASONS, st.none() | st.builds(Usage, _COUNTS, _COUNTS, _COUNTS)
)
_FAILED: Final[st.SearchStrategy[Event]] = st.builds(
    Failed, st.sampled_from(sorted(KINDS)), TEXTS, TEXTS, st.none() | _COUNTS
)


@st.composite
def answers(draw: st.DrawFn, *, fails: bool | None = None) -> Case:
    """One answer in batches; `fails` says how it ends, None: either way."""
    ends = {True: _FAILED, False: _DONE, None: _DONE | _FAILED}
    pieces = _with_names_first(draw(st.lists(_PIECES, max_size=12)))
    events = [draw(_START), *pieces, draw(ends[fails])]
    return Case("random", draw(cuts(events)), b"", draw(st.booleans()))


def _with_names_first(events: list[Event]) -> list[Event]:
    """As the contract has it: a call's id, which is its own, and its name come in its first fragment only."""
    begun: set[int] = set()
    named: list[Event] = []
    for event in events:
        if isinstance(event, ToolCall):
            named.append(_fragment(event, is_first=event.index not in begun))
            begun.add(event.index)
        else:
            named.append(event)
    return named


def _fragment(event: ToolCall, *, is_first: bool) -> ToolCall:
    if not is_first:
        return ToolCall(event.index, arguments=event.arguments)
    id = None if event.id is None else f"{event.id}#{event.index}"
    return ToolCall(event.index, id, event.name, event.arguments)


@st.composite
def cuts(draw: st.DrawFn, whole: list[T]) -> list[list[T]]:
    """`whole` in order, in parts of any size."""
    ends = draw(st.lists(st.integers(0, len(whole)), max_size=6).map(sorted))
    return [whole[start:end] for start, end in pairwise([0, *ends, len(whole)])]


@st.composite
def splits(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in pieces as a network may bring it, a byte each at times."""
    if draw(st.booleans()) and len(data) < 2000:
        return [data[at : at + 1] for at in range(len(data))]
    return [bytes(piece) for piece in draw(cuts(list(data)))]
