"""Which reader a response's body is for: of a stream of chunks, taken apart or kept, or of one whole completion."""

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
    """For a body that says it is JSON, as from a server that does not stream: one object, told at its end.

    `make` makes the reader of a stream that it stands before, for lines of so many bytes. A body that begins as no JSON
    object does is a stream after all. `error` is as that reader's, and upstream_error for more than `max_line_bytes`:
    a body is decoded in one go, during which nothing else is answered.
    """

    def __init__(self, make: Callable[[int], Parser], *, max_line_bytes: int) -> None:
        self._make = make
        self._max_line_bytes = max_line_bytes
        self._body = bytearray()
        self._reader: Parser | None = None
        self._error: ChatError | None = None

    @property
    def error(self) -> ChatError | None:
        return self._error if self._reader is None else self._reader.error

    def feed(self, data: bytes) -> Batch:
        if self._reader is not None:
            return self._reader.feed(data)
        self._body += data
        start = bytes(self._body[:_START_BYTES]).removeprefix(_BOM).lstrip()
        if start and start[:1] not in _JSON and not _BOM.startswith(start):
            return self._stream(len(data))
        if len(self._body) > self._max_line_bytes:
            self._error = ChatError("upstream_error")
        return Batch(len(data), [])

    def end(self) -> Batch:
        if self._reader is not None:
            return self._reader.end()
        if self._error is not None:
            return Batch(0, [])
        try:
            return self._read(bytes(self._body).removeprefix(_BOM))
        except ChatError as error:
            self._error = error
        except RecursionError:  # JSON just not too deep to be read may be too deep to be sent back
            self._error = ChatError("upstream_error")
        return Batch(0, [])

    @abstractmethod
    def _read(self, body: bytes) -> Batch:
        """The whole answer, of a body that has ended."""

    def _stream(self, size: int) -> Batch:
        self._reader = self._make(self._max_line_bytes)
        batch = self._reader.feed(bytes(self._body))
        self._body.clear()
        batch.size = size
        return batch


class CompletionParser(CompleteBodyParser):
    """Reads one completion, as a chunk that says all."""

    def _read(self, body: bytes) -> Batch:
        # Line ends in JSON are white space; so the body is one line of a stream, which nothing ends.
        line = b"data:" + body.translate(_ONE_LINE)
        self._reader = self._make(len(line))
        self._reader.feed(line)
        return self._reader.end()


_BOM = b"\xef\xbb\xbf"
_JSON = (b"{", b"[")
_START_BYTES = 64
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def open_parser(
    request: ChatRequest,
    *,
    content_type: str,
    max_line_bytes: int,
    think_tags: ThinkTagMode,
    origin: Origin | None = None,
) -> ChunkParser | CompletionParser:
    """The reader of the answer to `request`, whose `model` is the name that its client knows."""
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
