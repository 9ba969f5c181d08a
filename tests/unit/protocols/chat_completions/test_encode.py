"""A complete completion of OpenAI's API, joined from the chunks of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.core.errors import ChatError
from quartapp.core.events import Raw, Start
from quartapp.protocols.chat_completions.encode import ChunkEncoder
from quartapp.protocols.chat_completions.whole import merge
from quartapp.protocols.common.encoding import to_json
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from tests.support import contract
from tests.support.answers import answers
from tests.support.examples import examples
from tests.support.vectors import CREATED, Case

Json = dict[str, Any]


def merged(*deltas: Json) -> Json:
    """Return the message that is joined from `deltas`."""
    completion = merge({"choices": [{"index": 0, "delta": delta}]} for delta in deltas)
    return dict(completion["choices"][0]["message"])


@given(case=answers(fails=False))
def test_a_completion_has_the_content_of_the_events(case: Case) -> None:
    chunks = ChunkEncoder(CREATED, include_usage=True)
    completion = json.loads(to_json(merge(chunk for event in case.events for chunk in chunks.of(event))))
    assert completion == contract.completion(case.events, CREATED)


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        pytest.param([{"content": "a"}, {}, {"content": "b"}], {"content": "ab"}, id="texts are joined"),
        pytest.param([{"x": [1]}, {"x": [2]}], {"content": None, "x": [1, 2]}, id="lists are joined"),
        pytest.param([{"x": {"y": "a"}}, {"x": {"y": "b"}}], {"content": None, "x": {"y": "ab"}}, id="within objects"),
        pytest.param([{"x": None}, {"x": {"y": 1}}], {"content": None, "x": {"y": 1}}, id="an object after null"),
        pytest.param([{"x": None}, {"x": "a"}], {"content": None, "x": "a"}, id="a text after null"),
        pytest.param([{"x": "a"}, {"x": None}], {"content": None, "x": "a"}, id="null adds nothing"),
        pytest.param([{"x": 1}, {"x": [2]}], {"content": None, "x": [2]}, id="of two kinds the last stands"),
        pytest.param([{"x": [2]}, {"x": {"y": 1}}], {"content": None, "x": {"y": 1}}, id="an object after a list"),
        pytest.param([{"role": "assistant"}, {"role": ""}], {"content": None}, id="an empty role changes nothing"),
    ],
)
def test_fields_of_chunks_are_joined_by_their_kind(deltas: list[Json], message: Json) -> None:
    assert merged(*deltas) == {"role": "assistant", **message}


def call(index: int, **fields: Any) -> Json:
    return {"tool_calls": [{"index": index, **fields}]}


def test_a_tool_call_keeps_its_id_and_name_when_later_fragments_leave_them_empty() -> None:
    first = call(0, id="c", type="function", function={"name": "f", "arguments": "{"})
    later = call(0, id="", type="function", function={"name": "", "arguments": "}"})
    expected = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert merged(first, later)["tool_calls"] == [expected]


def test_tool_calls_are_in_the_order_of_their_indexes() -> None:
    fragments = [call(7, function={"arguments": "b"}), call(3, function={"arguments": "a"})]
    expected = [{"function": {"arguments": "aa"}}, {"function": {"arguments": "bb"}}]
    assert merged(*fragments, *fragments)["tool_calls"] == expected


def test_an_escaped_half_of_a_surrogate_pair_is_replaced() -> None:
    payload = b'{"id":"c","choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}'
    (chunk,) = ChunkEncoder(CREATED, include_usage=True).of(Raw(payload))
    assert merge([chunk])["choices"][0]["message"]["content"] == "a\ufffd"


NUMBERS = st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=3) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)
NAMES = ["content", "role", "refusal", "reasoning_content", "tool_calls", "function_call", "x"]
FRAGMENTS = st.lists(st.dictionaries(st.sampled_from(["index", "id", "type", "function", "x"]), VALUES), max_size=2)
DELTAS = st.dictionaries(st.sampled_from(NAMES), VALUES | FRAGMENTS, max_size=3)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2),
        "delta": DELTAS | st.none(),
        "logprobs": VALUES,
        "finish_reason": VALUES,
        "x": VALUES,
    },
)
CHUNKS = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(CHOICES, max_size=2) | st.none(), "usage": VALUES, "model": VALUES, "x": VALUES}
)


@examples(30)
@given(stream=st.lists(CHUNKS, max_size=4))
def test_any_raw_chunks_can_be_merged(stream: list[Json]) -> None:
    parser = RawChunkParser(10**6, model="m", choices=1, include_usage=True)
    pieces = parser.feed("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in stream).encode()).pieces
    chunks = ChunkEncoder(CREATED, include_usage=True)
    completion = merge(chunk for piece in [Start("i", "m"), *pieces] for chunk in chunks.of(piece))
    assert json.loads(to_json(completion))["object"] == "chat.completion"


def test_invalid_chunks_of_an_upstream_are_refused() -> None:
    parser = RawChunkParser(10**6, model="m", choices=1, include_usage=True)
    parser.feed(b'data: {"choices":[{"index":0,"delta":{"content":1}}]}\n\n')
    assert isinstance(parser.error, ChatError)
