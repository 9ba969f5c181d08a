"""Images for tests, made of nothing but the format's own parts."""

from __future__ import annotations

import base64
import random
import struct
import zlib


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _url(width: int, height: int, rows: bytes) -> str:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def noise(side: int) -> str:
    """Return the data URL of a square that no compression makes smaller: 4 characters a pixel."""
    source = random.Random(1)
    return _url(side, side, b"".join(b"\0" + source.randbytes(3 * side) for _ in range(side)))


def dusk(width: int, height: int) -> str:
    """Return the data URL of a sky that gets darker, in a few kilobytes."""
    lines = ((230 - 150 * y // height, 150 - 90 * y // height, 110 + 60 * y // height) for y in range(height))
    return _url(width, height, b"".join(b"\0" + bytes(line) * width for line in lines))
