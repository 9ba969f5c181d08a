"""The choice of the parser for a body: a stream of chunks, decoded or unchanged, or one complete completion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from quartapp.core.events import Batch
from quartapp.core.request import ChatRequest
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from quartapp.upstreams.common.bodies import CompleteBodyParser, on_one_line
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.think_tags import ThinkTagMode


class CompletionParser(CompleteBodyParser):
    """A parser of one completion, as a chunk with the complete answer."""

    def _read(self, body: bytes) -> Batch:
        line = b"data:" + on_one_line(body)
        self._parser = self._make(len(line))
        self._parser.feed(line)
        return self._parser.end()


def open_parser(
    request: ChatRequest,
    content_type: str,
    *,
    max_line_bytes: int,
    think_tags: ThinkTagMode,
    origin: Origin | None = None,
) -> ChunkParser | CompletionParser:
    """Return the parser of the answer to `request`, whose `model` is the name that clients use."""
    make: Callable[[int], ChunkParser] = partial(ChunkParser, think_tags=think_tags, origin=origin)
    if request.raw:
        make = partial(
            RawChunkParser,
            model=request.model or "",
            choices=request.choices,
            include_usage=request.include_usage,
            origin=origin,
        )
    if "json" in content_type.lower():
        return CompletionParser(make, max_line_bytes=max_line_bytes)
    return make(max_line_bytes)
