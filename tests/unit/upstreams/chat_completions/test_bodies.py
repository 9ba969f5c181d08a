"""The choice of a parser for a body, and the parser of a complete completion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quartapp.core.events import Batch, Delta, Raw, Usage
from quartapp.core.request import ChatRequest
from quartapp.upstreams.chat_completions.bodies import CompletionParser, open_parser
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser

COMPLETION = {
    "id": "x",
    "object": "chat.completion",
    "model": "theirs",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "é€😀"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}
STREAM = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'


def opened(
    content_type: str = "application/json", max_line_bytes: int = 1000, **params: Any
) -> ChunkParser | CompletionParser:
    return open_parser(
        ChatRequest([], model="ours", **params),
        content_type=content_type,
        max_line_bytes=max_line_bytes,
        think_tags="leading",
    )


def read(body: bytes, size: int = 10_000, **given: Any) -> tuple[list[Batch], str | None]:
    parser = opened(**given)
    batches = [parser.feed(body[at : at + size]) for at in range(0, len(body), size)]
    assert sum(batch.size for batch in batches) == len(body)
    batches.append(parser.end())
    return batches, parser.error.code if parser.error else None


@pytest.mark.parametrize(
    ("content_type", "raw", "kind"),
    [
        ("text/event-stream", False, ChunkParser),
        ("text/event-stream; charset=utf-8", True, RawChunkParser),
        ("text/plain", False, ChunkParser),
        ("", False, ChunkParser),
        ("application/json", False, CompletionParser),
        ("Application/JSON; charset=utf-8", True, CompletionParser),
        ("application/problem+json", False, CompletionParser),
    ],
)
def test_a_parser_is_chosen_by_the_request_and_the_content_type(content_type: str, raw: bool, kind: type) -> None:
    assert type(opened(content_type, raw=raw)) is kind


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", [b"", b"\n \r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_complete_completion_is_sent_at_the_end_of_its_body(before: bytes, indent: int | None, size: int) -> None:
    body = before + json.dumps(COMPLETION, indent=indent, ensure_ascii=False).encode() + b"\n"
    batches, error = read(body, size)
    assert error is None
    assert [batch for batch in batches[:-1] if batch.pieces or batch.finish_reason] == []
    assert batches[-1] == Batch(0, [Delta("é€😀")], "stop", Usage(1, 2, 3))


def test_a_complete_completion_becomes_a_chunk_if_chunks_are_requested() -> None:
    batches, error = read(json.dumps(COMPLETION).encode(), raw=True, include_usage=True)
    assert error is None
    [piece] = batches[-1].pieces
    assert isinstance(piece, Raw)
    chunk = json.loads(piece.payload)
    assert (chunk["object"], chunk["model"], chunk["id"]) == ("chat.completion.chunk", "ours", "x")
    assert chunk["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": "é€😀"}, "finish_reason": "stop"}
    ]


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("before", [b"", b"\n\n", b": ping\n\n", b"\xef\xbb\xbf"])
def test_a_stream_with_a_json_content_type_is_read_as_a_stream(before: bytes, size: int) -> None:
    batches, error = read(before + STREAM, size)
    assert error is None
    assert [batch.pieces for batch in batches if batch.pieces] == [[Delta("a")]]
    assert batches[-1].pieces == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"code":429}}', "upstream_busy"),
        (b'[{"error":{"code":429}}]', "upstream_busy"),
        (b'{"detail":"x"}', "upstream_error"),
        (b'{"answer":"x"}', "upstream_error"),
        (b"[]", "upstream_error"),
        (b'{"choices":[{"index":0,"message":{"content":"a","tool_calls":[{"id":"c"}]}}]}', "upstream_error"),
        (b'{"choices":[{"index":0,"mess', None),
        (b"{}{}", None),
        (b"<html>", None),
        (b"null", None),
        (b" \n", None),
        (b"", None),
    ],
)
def test_a_body_that_is_not_a_completion_is_an_error_or_has_no_events(body: bytes, code: str | None) -> None:
    batches, error = read(body)
    assert error == code
    assert [batch for batch in batches if batch.finish_reason] == []


def test_a_complete_body_may_be_as_long_as_a_line() -> None:
    body = json.dumps(COMPLETION).encode()
    assert read(body, max_line_bytes=len(body))[1] is None
    assert read(body, max_line_bytes=len(body) - 1) == ([Batch(len(body)), Batch(0)], "upstream_error")
    assert read(STREAM[:-2] + b" " * 5000 + b"\n")[1] == "upstream_error"
