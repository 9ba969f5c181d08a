"""Parsers of bodies, as far as the APIs share them: event streams in reads of any size, and complete bodies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch
from quartapp.upstreams.common.lenient_json import is_json, parse, parsed

_BOM: Final = b"\xef\xbb\xbf"
_JSON: Final = (b"{", b"[")
_START_BYTES: Final = 64
_LINE_ENDS_TO_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")


def on_one_line(document: bytes) -> bytes:
    """Return JSON with spaces in place of line ends, which it has only as white space."""
    return document.translate(_LINE_ENDS_TO_SPACES)


class Parser(Protocol):
    """A parser of one body: bytes in, batches of events out. An `error`, once set, is final."""

    @property
    def error(self) -> ChatError | None: ...

    def feed(self, data: bytes) -> Batch: ...

    def end(self) -> Batch:
        """Return what is left once the body has ended."""
        ...


class EventStreamParser(ABC):
    """A parser of one response's body. Each read becomes a batch. `end` is called once, after the last read.

    `error` is final once set: upstream_error for malformed data or a line over the limit, or the error in the stream.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._lines, self._data = Lines(max_line_bytes), EventData(max_line_bytes)
        self.error: ChatError | None = None

    def feed(self, data: bytes) -> Batch:
        """Return the events that `data` completes; if there is an `error`, those before it."""
        batch = Batch(len(data), [])
        held = self._data.lines
        try:
            for line in self._lines.split(data):
                if line.startswith(b"data:") and not held:
                    self._read(line[5:], batch)
                elif line or held:
                    self._read_field(line, batch)
        except ChatError as error:
            self.error = error
        except RecursionError:  # JSON that is just shallow enough to decode may be too deep to encode
            self.error = ChatError("upstream_error")
        self._complete(batch)
        return batch

    def end(self) -> Batch:
        """Return the events of a last line without a line feed, unless it is truncated."""
        rest = self._lines.rest() if self.error is None else b""
        is_read = self.error is None and (self._data.lines or _is_complete(rest))
        batch = self.feed(rest + b"\n\n") if is_read else Batch(0, [])
        batch.size = 0
        return batch

    def _read_field(self, line: bytes, batch: Batch) -> None:
        """Parse a line other than the first one of an event's data."""
        if (payload := self._data.add(line)) is not None:
            self._read(payload, batch)

    @abstractmethod
    def _read(self, payload: bytes, batch: Batch) -> None:
        """Add the events of a `data` line to `batch`."""

    @abstractmethod
    def _complete(self, batch: Batch) -> None:
        """Add what is held back until the end of a read."""


def _is_complete(line: bytes) -> bool:
    """Return whether a line without a line feed is complete, as far as its content shows."""
    field, _, value = line.partition(b":")
    return bool(line) if field != b"data" or value.strip() == b"[DONE]" else is_json(value)


class EventData:
    """The data of an event with several `data` lines, from the first one to the blank line after the last.

    Many servers omit the blank line, so a line that is JSON by itself is not added here. `lines` is empty between
    events with several lines. It holds at most `max_bytes`.
    """

    def __init__(self, max_bytes: int) -> None:
        self.lines = bytearray()
        self._max_bytes = max_bytes

    def begin(self, payload: bytes) -> bool:
        """Keep the first line. Return False for a line that more lines cannot complete to an object or a list."""
        if payload.lstrip()[:1] not in (b"{", b"["):
            return False
        try:
            parse(payload)
        except RecursionError:
            return False
        except ValueError:
            self.lines += payload
        return bool(self.lines)

    def add(self, line: bytes) -> bytes | None:
        """Add a line of any field. If it is blank, return the data as one line of JSON.

        Raises ChatError, upstream_error, for data that is too long or is not JSON.
        """
        if not self.lines:
            return None
        if line.startswith(b"data:"):
            self.lines += b"\n" + line[5:]
            if len(self.lines) > self._max_bytes:
                raise ChatError("upstream_error")
        if line.rstrip(b"\r"):
            return None
        payload = bytes(self.lines)
        self.lines.clear()
        parsed(payload)
        return on_one_line(payload)


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


class Lines:
    """A splitter of reads at line feeds. A carriage return stays in its line, because it is white space in JSON.

    Raises ChatError, upstream_error, when it reaches a line of more than `max_line_bytes`. It buffers no more than
    that.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._tail = bytearray()
        self._at_start = True

    def split(self, data: bytes) -> Iterable[bytes]:
        """Return the lines that `data` completes; the bytes after the last line feed wait for the next read."""
        cut = data.rfind(b"\n")
        if cut < 0:
            self._tail += data
            self.check(self._tail)
            return ()
        complete = (bytes(self._tail) + data[:cut]) if self._tail else data[:cut]
        if self._tail or cut + 1 < len(data):
            self._tail[:] = data[cut + 1 :]
        lines = (self._from_start(complete) if self._at_start else complete).split(b"\n")
        # Lines before one that is too long are returned, wherever the reads end.
        return lines if len(complete) <= self._max_line_bytes else self._checked(lines)

    def rest(self) -> bytes:
        """Return the bytes after the last line feed, at the end of the body."""
        rest = self._from_start(bytes(self._tail))
        self._tail.clear()
        return rest

    def _checked(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            self.check(line)
            yield line

    def check(self, line: bytes | bytearray) -> None:
        if len(line) > self._max_line_bytes:
            raise ChatError("upstream_error")

    def _from_start(self, lines: bytes) -> bytes:
        if not self._at_start:
            return lines
        self._at_start = False
        return lines.removeprefix(_BOM)
