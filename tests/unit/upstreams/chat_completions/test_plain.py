"""The short way to read a chunk, held against the long one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from quartapp.core.events import Batch, Raw
from quartapp.protocols.chat_completions.chunk import ChunkDelta, CompletionChunk, StreamedChoice
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.plain import decode_plain
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from quartapp.upstreams.common.lenient_json import REFUSALS
from tests.support.endpoints import chunk, event_stream

PARSERS: dict[str, Callable[[], ChunkParser]] = {
    "taken apart": lambda: ChunkParser(2**20),
    "kept": lambda: RawChunkParser(2**20, model="m", choices=1, include_usage=True),
}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
URL = "data:image/png;base64,AA=="
VALUES = [
    *(None, "", "x", 0, 1, False, True, [], {}, {"x": 1}),
    *([CALL], [{"type": "reasoning.text", "text": "x"}], [{"type": "image_url", "image_url": {"url": URL}}]),
    [{"type": "url_citation", "url_citation": {"url": "https://example.com/"}}],
    *({"id": "a", "transcript": "x"}, {"google": {"thought": True}}, {"google": {"thought_signature": "x"}}),
    *({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, {"message": "x"}),
]


def names(struct: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(struct)]


def with_field(place: type, name: str, value: Any) -> Any:
    """Return a chunk with text in which one field has that value."""
    document = chunk({"content": "a"})
    choice = document["choices"][0]
    holders: dict[type, Any] = {CompletionChunk: document, StreamedChoice: choice, ChunkDelta: choice["delta"]}
    holders[place][name] = value
    return document


def events_of(parser: ChunkParser, data: bytes) -> list[Any]:
    """Return the events of `data` and of the end of the answer after it."""
    batches = [parser.feed(data), parser.end()]
    return [*map(facts, batches), parser.error and parser.error.code]


def facts(batch: Batch) -> list[Any]:
    pieces = [(piece.payload, piece.text) if isinstance(piece, Raw) else piece for piece in batch.pieces]
    return [pieces, batch.finish_reason, batch.usage, batch.ended, batch.resumes, batch.extra]


FIELDS = [(place, name) for place in (CompletionChunk, StreamedChoice, ChunkDelta) for name in names(place)]
BEGUN = event_stream(chunk({"content": "first "}), done=False)
# It adds nothing, but the short way refuses it. The next chunk takes the long way.
NOT_PLAIN = event_stream(chunk({"refusal": ""}), done=False)


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(("place", "name"), FIELDS, ids=[f"{place.__name__}.{name}" for place, name in FIELDS])
def test_each_field_of_a_chunk_gives_the_same_events_on_both_paths(kind: str, place: type, name: str) -> None:
    for value in VALUES:
        data = event_stream(with_field(place, name, value), done=False)
        short, long = PARSERS[kind](), PARSERS[kind]()
        for parser in (short, long):
            parser.feed(BEGUN)
        long.feed(NOT_PLAIN)
        assert events_of(short, data) == events_of(long, data), value


def is_plain(document: Any) -> bool:
    try:
        decode_plain(json.dumps(document).encode())
    except REFUSALS:
        return False
    return True


def test_the_short_path_accepts_text_and_thoughts_and_nothing_else() -> None:
    taken = {
        name
        for place, name in FIELDS
        for value in VALUES
        if value is not None and is_plain(with_field(place, name, value))
    }
    assert taken == {"choices", "index", "delta", "content", "role", "reasoning_content", "reasoning"}
    assert not is_plain(with_field(StreamedChoice, "index", 1))
