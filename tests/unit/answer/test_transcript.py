"""The answer in the report of each stream of a server, also if its chunks are passed on unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quartapp.answer.report import AnswerReport
from quartapp.answer.transcript import Transcript
from quartapp.core.events import Batch, Batches, Raw
from quartapp.core.request import ChatRequest
from quartapp.protocols.native.whole import WholeAnswer
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from tests.support.streams import load

STREAMS = {name: stream for name, stream in load().items() if stream.content_type == "text/event-stream"}
REPORT = AnswerReport(id="i", model="m", labels={}, ending="done", total_s=1, upstream_bytes=1)


async def answer_of(body: bytes) -> tuple[WholeAnswer, list[Any]]:
    """Return the answer in the report of an answer with this body, and the chunks that its client gets."""
    parser = RawChunkParser(2**20, model="m", choices=1, include_usage=True)
    batch = parser.feed(body)

    async def stream() -> Batches:
        yield Batch(len(body), batch.pieces)

    transcript = Transcript(stream, ChatRequest([]))
    async for _ in transcript.stream():
        pass
    report = transcript.complete(REPORT)
    assert report.answer is not None
    return report.answer, [json.loads(piece.payload) for piece in batch.pieces if isinstance(piece, Raw)]


def text_of(chunks: list[Any]) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] or () if choice.get("index", 0) == 0]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("name", STREAMS)
async def test_the_text_of_each_server_is_the_one_that_clients_read(name: str) -> None:
    answer, chunks = await answer_of(STREAMS[name].body)
    assert answer.text == text_of(chunks)


async def test_the_reasoning_of_a_server_has_any_form() -> None:
    deltas = ({"reasoning": {"text": "h"}}, {"thinking": "m"}, {"reasoning_details": [{"text": "?"}]}, {"content": "a"})
    chunks = [{"model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    answer, _ = await answer_of("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode())
    assert (answer.reasoning, answer.text) == ("hm?", "a")
