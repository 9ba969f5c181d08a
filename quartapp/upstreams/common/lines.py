"""The lines of an event stream, out of reads that cut it anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quartapp.core.errors import ChatError

_BOM = b"\xef\xbb\xbf"


class Lines:
    """Splits reads at line feeds; a carriage return before one stays in the line, as in JSON it is white space.

    Raises ChatError: upstream_error, for a line of more than `max_line_bytes`, when its turn comes; no more than that
    is held.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._tail = bytearray()
        self._at_start = True

    def split(self, data: bytes) -> Iterable[bytes]:
        """The lines that `data` completes; what follows the last line feed is kept for the next read."""
        cut = data.rfind(b"\n")
        if cut < 0:
            self._tail += data
            self.check(self._tail)
            return ()
        whole = (bytes(self._tail) + data[:cut]) if self._tail else data[:cut]
        if self._tail or cut + 1 < len(data):
            self._tail[:] = data[cut + 1 :]
        lines = (self._from_start(whole) if self._at_start else whole).split(b"\n")
        # What comes before a line that is too long counts, however it was cut.
        return lines if len(whole) <= self._max_line_bytes else self._checked(lines)

    def rest(self) -> bytes:
        """What no line feed has ended; there is nothing after it."""
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
