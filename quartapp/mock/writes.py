"""How a fault writes the same events in other bytes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable

from .models import Fault
from .steps import Event, Head, Script

_BEHIND_LEAD_BYTE = re.compile(rb"(?<=[\xc0-\xff])")


def rewritten(how: Callable[[bytes], Iterable[bytes]]) -> Fault:
    """Each event in the writes that `how` makes of its bytes."""

    def altered(script: Script, _: float) -> Script:
        for step in script:
            if isinstance(step, Event):
                yield from how(step.encode())
            else:
                yield step

    return altered


def one_write(script: Script, _: float) -> Script:
    """The whole body in a single write."""
    yield next(script)
    yield b"".join(step.encode() for step in script if isinstance(step, Event))


def inside_characters(script: Script, _: float) -> Script:
    """Every write, except the last, ends behind the first byte of a character that has several."""
    carried = b""
    for step in script:
        if isinstance(step, Event):
            *cut, carried = _BEHIND_LEAD_BYTE.split(carried + step.encode())
            yield from cut
        else:
            yield step
    yield carried


def gzipped(script: Script, _: float) -> Script:
    compressor = zlib.compressobj(wbits=31)
    for step in script:
        match step:
            case Head(status, headers):
                yield Head(status, (*headers, (b"content-encoding", b"gzip")))
            case Event():
                yield compressor.compress(step.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
            case _:
                yield step
    yield compressor.flush()
