"""Faults that write the same events in other bytes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable

from .models import Fault
from .steps import Event, Head, Script

_BEHIND_LEAD_BYTE = re.compile(rb"(?<=[\xc0-\xff])")


def rewritten(split: Callable[[bytes], Iterable[bytes]]) -> Fault:
    """Return a fault that sends each event in the writes into which `split` divides its bytes."""

    def altered(script: Script, _: float) -> Script:
        for step in script:
            if isinstance(step, Event):
                yield from split(step.encode())
            else:
                yield step

    return altered


def one_write(script: Script, _: float) -> Script:
    """Send the complete body in a single write."""
    yield next(script)
    yield b"".join(step.encode() for step in script if isinstance(step, Event))


def inside_characters(script: Script, _: float) -> Script:
    """End every write, except the last, after the first byte of a multi-byte character."""
    carried = b""
    for step in script:
        if isinstance(step, Event):
            *pieces, carried = _BEHIND_LEAD_BYTE.split(carried + step.encode())
            yield from pieces
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
