"""Random odd chunks: both parsers agree on them, and neither raises."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from quartapp.core.events import Batch, Event, Raw
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from tests.support import streams
from tests.support.examples import examples
from tests.support.streams import Record

LIMIT = 10**6

TEXT = st.sampled_from(["", "a", "<think>", "é\ud83d", "\u2028"])
ODD = st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from([1.5, float("nan"), 10**30, "x", {}, []])
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "thinking"]), "text": TEXT})
FUNCTION = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "f", "f", "g", "", None])},
    optional={"arguments": st.sampled_from([None, "", "{", "}", "{}", {}, {"a": [1]}])},
)
CALL = st.fixed_dictionaries(
    {"function": FUNCTION},
    optional={"index": st.sampled_from([None, 0, 0, 1, 2]), "id": st.sampled_from([None, "", "a", "b"])},
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": ODD,
        "content": TEXT | st.none() | st.lists(PART, max_size=2),
        "reasoning": TEXT | st.none() | PART,
        "reasoning_content": TEXT | st.none(),
        "refusal": TEXT | st.none(),
        "tool_calls": st.none() | CALL | st.lists(CALL, max_size=3),
        "x": ODD,
    },
)
CHOICE = st.fixed_dictionaries(
    {"delta": DELTA | st.none()},
    optional={
        "index": st.sampled_from([None, 0, 0, 0, 1]),
        "message": DELTA,
        "finish_reason": st.sampled_from([None, None, "", "stop", "EOS"]),
        "logprobs": ODD,
        "usage": ODD,
    },
)
CHUNK = st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, min_size=1, max_size=2) | st.none()},
    optional={
        "usage": ODD | st.fixed_dictionaries({"prompt_tokens": ODD}),
        "error": st.none(),
        "model": ODD,
        "timings": ODD,
        "x_groq": ODD,
    },
)
GARBAGE = st.sampled_from(
    [
        {"choices": [{"delta": {"content": 1}}]},
        {"choices": [{"delta": {}, "finish_reason": "error"}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 7, "id": "z"}]}}]},
        {"choices": {}},
        {"error": {"code": 429}},
        {},
        [],
    ]
)
STREAM = st.lists(CHUNK, max_size=5) | st.lists(CHUNK | GARBAGE, max_size=3)


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def read(parser: ChunkParser, reads: list[bytes]) -> list[Batch]:
    batches: list[Batch] = []
    for data in reads:
        batches.append(parser.feed(data))
        if parser.error is not None:
            return batches
    return [*batches, parser.end()]


def records(batches: list[Batch]) -> list[Record]:
    """Return the records, with each call complete at its beginning and numbered in the order of the calls."""
    pieces: list[Event] = [piece for batch in batches for piece in batch.pieces]
    merged: list[Record] = []
    calls: dict[int, Record] = {}
    for record in streams.records(streams.joined(pieces)):
        if record["type"] == "tool_call" and "name" not in record:
            begun = calls[record["index"]]
            begun["arguments"] = begun.get("arguments", "") + record["arguments"]
            continue
        if record["type"] == "tool_call":
            calls[record["index"]] = record
        merged.append(record)
    numbers = list(dict.fromkeys(record["index"] for record in merged if "index" in record))
    return [record | ({"index": numbers.index(record["index"])} if "index" in record else {}) for record in merged]


def raw_parser() -> RawChunkParser:
    return RawChunkParser(LIMIT, model="m", choices=1, include_usage=True)


def payloads(batches: list[Batch]) -> list[bytes]:
    return [piece.payload for batch in batches for piece in batch.pieces if isinstance(piece, Raw)]


@examples(80)
@given(stream=STREAM)
def test_both_parsers_refuse_the_same_chunks_with_the_same_code(stream: list[Any]) -> None:
    plain, raw = ChunkParser(LIMIT), raw_parser()
    reads = [event(document) for document in stream]
    read(plain, reads)
    read(raw, reads)
    assert (plain.error and plain.error.code) == (raw.error and raw.error.code)


@examples(80)
@given(stream=STREAM)
def test_raw_chunks_have_the_content_of_the_events(stream: list[Any]) -> None:
    plain, raw, second = ChunkParser(LIMIT), raw_parser(), ChunkParser(LIMIT)
    reads = [event(document) for document in stream]
    expected = records(read(plain, reads))
    passed = payloads(read(raw, reads))
    if plain.error is None:
        assert records(read(second, [b"data: " + payload + b"\n\n" for payload in passed])) == expected
        assert second.error is None


@examples(40)
@example([{"choices": [{"delta": None, "finish_reason": "stop"}]}, {"choices": [{"delta": {"content": "<think>"}}]}], 1)
@given(stream=STREAM, size=st.integers(1, 200))
def test_a_stream_gives_the_same_answer_however_it_is_split(stream: list[Any], size: int) -> None:
    data = b"".join(event(document) for document in stream)
    complete, split = (ChunkParser(LIMIT, think_tags="leading") for _ in range(2))
    reads = [data[at : at + size] for at in range(0, len(data), size)]
    assert records(read(complete, [data])) == records(read(split, reads))
    assert (complete.error and complete.error.code) == (split.error and split.error.code)
