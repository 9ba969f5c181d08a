"""Compressed answers: their content, however they are split, and that none blocks the event loop."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from quartapp.core.errors import ChatError
from quartapp.upstreams.http.compression import PIECE_BYTES, Decompressed

TEXT = b"data: some words, and more of them\n\n" * 20


def headless(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


BODIES = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "gzip of old": ("x-gzip", gzip.compress(TEXT)),
    "gzip in two": ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "gzip with zeros behind it": ("gzip", gzip.compress(TEXT) + bytes(600)),
    "deflate": ("deflate", zlib.compress(TEXT)),
}


async def reads_of(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(body: bytes, coding: str, size: int) -> bytes:
    return b"".join([piece async for piece in Decompressed(reads_of(body, size), coding)])


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("name", BODIES)
async def test_a_compressed_body_is_decoded_however_it_is_split(name: str, size: int) -> None:
    coding, body = BODIES[name]
    assert await read(body, coding, size) == TEXT


async def test_deflate_may_lack_its_head_as_some_servers_understand_it() -> None:
    assert await read(headless(TEXT), "deflate", 10_000) == TEXT


@pytest.mark.parametrize("size", [1, 10_000])
async def test_a_truncated_body_gives_its_text_so_far(size: int) -> None:
    body = gzip.compress(TEXT)[:-12]
    assert TEXT.startswith(text := await read(body, "gzip", size))
    assert text


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", TEXT),
        ("gzip", headless(TEXT)),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"more"),
        ("deflate", b"\xff" * 20),
        ("deflate", zlib.compress(TEXT)[:-4] + bytes(4)),
    ],
)
async def test_an_invalid_compressed_body_is_an_upstream_error(coding: str, body: bytes, size: int) -> None:
    with pytest.raises(ChatError) as caught:
        await read(body, coding, size)
    assert caught.value.code == "upstream_error"


async def test_a_bomb_is_decoded_in_small_pieces_and_other_tasks_run_between_them() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    bomb = gzip.compress(bytes(64 * PIECE_BYTES + 1))
    sizes = [len(piece) async for piece in Decompressed(reads_of(bomb, len(bomb)), "gzip")]
    task.cancel()
    assert sum(sizes) == 64 * PIECE_BYTES + 1
    assert max(sizes) == PIECE_BYTES
    assert turns >= 64
