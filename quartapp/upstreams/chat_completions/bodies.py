"""The choice of the parser for a body: a stream of chunks, decoded or unchanged, or one complete completion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch
from quartapp.protocols.common.messages import ChatRequest
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.parser import Parser
from quartapp.upstreams.common.think_tags import ThinkTagMode


class CompleteBodyParser(ABC):
    """A parser of a body with a JSON content type, from a server that does not stream: one object, parsed at its end.

    A body that does not begin as JSON is a stream after all; `make` returns its parser for a maximum line length.
    `error` is that parser's, or upstream_error for more than `max_line_bytes`, because decoding blocks the event loop.
    """

    def __init__(self, make: Callable[[int], Parser], *, max_line_bytes: int) -> None:
        self._make = make
        self._max_line_bytes = max_line_bytes
        self._body = bytearray()
        self._parser: Parser | None = None
        self._error: ChatError | None = None

    @property
    def error(self) -> ChatError | None:
        return self._error if self._parser is None else self._parser.error

    def feed(self, data: bytes) -> Batch:
        if self._parser is not None:
            return self._parser.feed(data)
        self._body += data
        start = bytes(self._body[:_START_BYTES]).removeprefix(_BOM).lstrip()
        if start and start[:1] not in _JSON and not _BOM.startswith(start):
            return self._stream(len(data))
        if len(self._body) > self._max_line_bytes:
            self._error = ChatError("upstream_error")
        return Batch(len(data), [])

    def end(self) -> Batch:
        if self._parser is not None:
            return self._parser.end()
        if self._error is not None:
            return Batch(0, [])
        try:
            return self._read(bytes(self._body).removeprefix(_BOM))
        except ChatError as error:
            self._error = error
        except RecursionError:  # JSON that is just shallow enough to decode may be too deep to encode
            self._error = ChatError("upstream_error")
        return Batch(0, [])

    @abstractmethod
    def _read(self, body: bytes) -> Batch:
        """Return the complete answer in a body that has ended."""

    def _stream(self, size: int) -> Batch:
        self._parser = self._make(self._max_line_bytes)
        batch = self._parser.feed(bytes(self._body))
        self._body.clear()
        batch.size = size
        return batch


class CompletionParser(CompleteBodyParser):
    """A parser of one completion, as a chunk with the complete answer."""

    def _read(self, body: bytes) -> Batch:
        # Line ends are white space in JSON, so the body becomes one line of a stream, without a line feed.
        line = b"data:" + body.translate(_ONE_LINE)
        self._parser = self._make(len(line))
        self._parser.feed(line)
        return self._parser.end()


_BOM = b"\xef\xbb\xbf"
_JSON = (b"{", b"[")
_START_BYTES = 64
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


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
