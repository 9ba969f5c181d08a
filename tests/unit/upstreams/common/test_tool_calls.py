"""Tool calls, separated by number, id, name and place, if a server omits any of them or sends wrong ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from quartapp.core.errors import ChatError
from quartapp.core.events import ToolCall
from quartapp.upstreams.common.tool_calls import MAX_CALLS, MAX_LOOKED_AT_CHARS, Fragment, ToolCalls
from tests.support import streams

Chunk = list[Fragment]

ROME, OSLO = '{"city":"Rome"}', '{"city":"Oslo"}'


def merged_calls(*chunks: Chunk) -> list[ToolCall]:
    calls = ToolCalls(1000)
    calls_sent = [call for chunk in chunks for call in calls.add(chunk)]
    calls.check_names()
    in_order = sorted(calls_sent, key=lambda call: call.index)
    joined: list[Any] = streams.joined(in_order)
    return joined


def of(index: int | None = None, id: str | None = None, name: str | None = None, arguments: str | None = None) -> Chunk:
    return [Fragment(index, id, name, arguments)]


A, B = ToolCall(0, "a", "f", ROME), ToolCall(1, "b", "f", OSLO)
MINTED = ToolCall(0, "call_*", "f", ROME)
MINTED_TOO = ToolCall(1, "call_*", "f", OSLO)

FORMS: dict[str, tuple[list[Chunk], list[ToolCall]]] = {
    "by OpenAI's book": (
        [of(0, "a", "f"), of(0, arguments=ROME[:5]), of(0, arguments=ROME[5:]), of(1, "b", "f"), of(1, arguments=OSLO)],
        [A, B],
    ),
    "both at once, then by turns": (
        [
            [*of(0, "a", "f"), *of(1, "b", "f")],
            of(0, arguments=ROME[:5]),
            of(1, arguments=OSLO),
            of(0, arguments=ROME[5:]),
        ],
        [A, B],
    ),
    "whole in a chunk each": ([of(0, "a", "f", ROME), of(1, "b", "f", OSLO)], [A, B]),
    "whole in one chunk": ([[*of(0, "a", "f", ROME), *of(1, "b", "f", OSLO)]], [A, B]),
    "numbers that begin at 1 and leave some out": ([of(1, "a", "f", ROME), of(7, "b", "f", OSLO)], [A, B]),
    "no numbers": ([of(None, "a", "f"), of(arguments=ROME), of(None, "b", "f"), of(arguments=OSLO)], [A, B]),
    "no numbers, ids in each fragment": (
        [of(None, "a", "f"), of(None, "b", "f"), of(None, "a", arguments=ROME), of(None, "b", arguments=OSLO)],
        [A, B],
    ),
    "no numbers, places in each chunk": (
        [[*of(None, "a", "f"), *of(None, "b", "f")], [*of(arguments=ROME), *of(arguments=OSLO)]],
        [A, B],
    ),
    "all of the number 0": ([of(0, "a", "f"), of(0, arguments=ROME), of(0, "b", "f"), of(0, arguments=OSLO)], [A, B]),
    "all of the number 0, by turns, with ids": (
        [of(0, "a", "f"), of(0, "b", "f"), of(0, "a", arguments=ROME), of(0, "b", arguments=OSLO)],
        [A, B],
    ),
    "all of the number 0, by turns, with ids and names": (
        [of(0, "a", "f"), of(0, "b", "f"), of(0, "a", "f", ROME), of(0, "b", "f", OSLO)],
        [A, B],
    ),
    "id and name in each fragment": (
        [of(0, "a", "f", ROME[:5]), of(0, "a", "f", ROME[5:]), of(1, "b", "f", OSLO)],
        [A, B],
    ),
    "a new id in each fragment": (
        [
            of(0, "a", "f"),
            of(0, "x", arguments=ROME[:5]),
            of(0, "y", arguments=ROME[5:]),
            of(1, "b", "f"),
            of(1, "z", arguments=OSLO),
        ],
        [A, B],
    ),
    "a name after the id": ([of(0, "a"), of(0, arguments=ROME[:5]), of(0, name="f", arguments=ROME[5:])], [A]),
    "a name after the id of each of two": (
        [of(0, "a"), of(1, "b"), of(0, None, "f", ROME), of(1, None, "f", OSLO)],
        [A, B],
    ),
    "an id after the name": ([of(0, None, "f"), of(0, "late", arguments=ROME)], [MINTED]),
    "no ids": ([of(0, None, "f"), of(0, arguments=ROME), of(1, None, "f", OSLO)], [MINTED, MINTED_TOO]),
    "neither ids nor numbers, other names": (
        [of(None, None, "f", ROME), of(None, None, "g", OSLO)],
        [MINTED, ToolCall(1, "call_*", "g", OSLO)],
    ),
    "neither ids nor numbers, the same name": (
        [of(None, None, "f", ROME), of(None, None, "f", OSLO)],
        [MINTED, MINTED_TOO],
    ),
    "neither ids nor numbers, the same name in each fragment": (
        [of(None, None, "f", ROME[:5]), of(None, None, "f", ROME[5:]), of(None, None, "f", OSLO)],
        [MINTED, MINTED_TOO],
    ),
    "no ids, all of the number 0, in one chunk, without arguments": (
        [[*of(0, None, "f"), *of(0, None, "f")]],
        [ToolCall(0, "call_*", "f"), ToolCall(1, "call_*", "f")],
    ),
    "the same id for all": (
        [of(0, "a", "f", ROME), of(1, "a", "f"), of(1, "a", arguments=OSLO)],
        [A, MINTED_TOO],
    ),
    "the same id for all, thrice": (
        [of(0, "a", "f", ROME), of(1, "a", "f", OSLO), of(2, "a", "f", ROME)],
        [A, MINTED_TOO, ToolCall(2, "call_*", "f", ROME)],
    ),
    "a number that is wrong in later fragments": ([of(0, "a", "f"), of(5, arguments=ROME)], [A]),
    "fragments that say nothing": ([of(0, "a", "f", ROME), of(0), of(None)], [A]),
}


@pytest.mark.parametrize("form", FORMS)
def test_calls_are_separated(form: str) -> None:
    chunks, expected = FORMS[form]
    assert merged_calls(*chunks) == expected


def test_a_call_is_sent_once_its_name_is_known() -> None:
    calls = ToolCalls(1000)
    assert [*calls.add(of(0, "a", arguments=ROME[:5]))] == []
    assert [*calls.add(of(0, name="f"))] == [ToolCall(0, "a", "f", ROME[:5])]
    assert [*calls.add(of(0, arguments=ROME[5:]))] == [ToolCall(0, arguments=ROME[5:])]


def test_a_generated_id_is_unique_and_safe() -> None:
    ids = [call.id for call in ToolCalls(1000).add([Fragment(number, None, "f") for number in range(MAX_CALLS)])]
    assert len({*ids}) == MAX_CALLS
    assert all(re.fullmatch(r"call_[0-9a-f]{24}", str(id)) for id in ids)


@pytest.mark.parametrize(
    "chunks", [[of(0, "a")], [of(0, arguments=ROME)], [of(0, "a", "f"), of(1, "b", arguments=OSLO)]]
)
def test_a_call_without_a_name_is_an_error(chunks: list[Chunk]) -> None:
    with pytest.raises(ChatError):
        merged_calls(*chunks)


def test_too_many_calls_are_an_error() -> None:
    calls = ToolCalls(1000)
    assert len([*calls.add([Fragment(number, None, "f") for number in range(MAX_CALLS)])]) == MAX_CALLS
    with pytest.raises(ChatError):
        [*calls.add(of(MAX_CALLS, "a", "f"))]


@pytest.mark.parametrize("first", [of(0, "a"), of(0, None, "f")])
def test_fragments_up_to_the_limit_are_held(first: Chunk) -> None:
    calls = ToolCalls(10)
    for fragments in (first, of(0, arguments="12345"), of(0, arguments="67890")):
        assert len([*calls.add(fragments)]) <= 1
    with pytest.raises(ChatError):
        [*calls.add(of(0, arguments="!"))]


def test_no_fragments_of_a_known_call_are_held() -> None:
    calls = ToolCalls(10)
    for fragments in (of(0, "a", "f"), *[of(0, arguments="0123456789")] * 5):
        assert len([*calls.add(fragments)]) == 1


def test_only_a_bounded_number_of_fragments_is_checked() -> None:
    calls = ToolCalls(MAX_LOOKED_AT_CHARS)
    piece = "[" + " " * (MAX_LOOKED_AT_CHARS // 10) + "}"
    sent = [call for _ in range(8) for call in calls.add(of(0, None, "f", piece))]
    assert {call.index for call in sent} == {0}
    closing = [call for _ in range(2) for call in calls.add(of(5, None, "g", ROME))]
    assert [call.index for call in closing] == [1, 1]  # complete after the first fragment, if arguments were checked
    fresh = ToolCalls(MAX_LOOKED_AT_CHARS)
    closing = [call for _ in range(2) for call in fresh.add(of(5, None, "g", ROME))]
    assert [call.index for call in closing] == [0, 1]
