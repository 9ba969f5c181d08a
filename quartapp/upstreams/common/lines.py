"""The lines of an event stream, from reads of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quartapp.core.errors import ChatError

_BOM = b"\xef\xbb\xbf"


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
