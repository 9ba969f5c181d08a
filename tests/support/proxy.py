"""A TCP proxy on loopback that does to answers what networks do: cuts them into pieces, holds them up, breaks them."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

Pieces = AsyncGenerator[bytes, None]

#: What becomes of the bytes that answer a POST. Its end is the connection's; a ConnectionResetError resets it.
Way = Callable[[Pieces], Pieces]

PIECE_BYTES = 65536


class Proxy:
    """Stands before the server on `port` as long as the `async with` lasts. `posts` counts the POSTs it was sent.

    From a connection's first POST on, what the server sends goes its `way`; before that it is left alone.
    """

    def __init__(self, port: int, way: Way) -> None:
        self.posts = 0
        self._target_port = port
        self._way = way
        self._port = 0
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.ensure_future(self._link(reader, writer))
        self._links.add(link)
        try:
            await asyncio.wait([link])
        finally:
            writer.close()  # a link that was cancelled before it began has not

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on in both directions until one of them ends."""
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        asked = asyncio.Event()
        up = asyncio.ensure_future(self._ask(reader, server_writer, asked))
        down = asyncio.ensure_future(self._answer(server_reader, writer, asked))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            server_writer.transport.abort()  # before anything is waited for: the link may be cancelled a second time
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _ask(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, asked: asyncio.Event) -> None:
        async for piece in _pieces(client):
            if piece.startswith(b"POST "):
                self.posts += 1
                asked.set()
            server.write(piece)
            await server.drain()

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, asked: asyncio.Event) -> None:
        pieces = _pieces(server)
        try:
            async for piece in pieces:
                if asked.is_set():
                    await _send(self._way(_again(piece, pieces)), client)
                    return
                client.write(piece)
        except ConnectionResetError:
            _reset(client)


async def _pieces(reader: asyncio.StreamReader) -> Pieces:
    while piece := await reader.read(PIECE_BYTES):
        yield piece


async def _again(first: bytes, others: Pieces) -> Pieces:
    yield first
    async for piece in others:
        yield piece


async def _send(pieces: Pieces, writer: asyncio.StreamWriter) -> None:
    async for piece in pieces:
        writer.write(piece)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends the connection with RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# -- ways


def in_slices(seed: int, most_bytes: int = 30, delay_s: float = 0.001) -> Way:
    """Pieces of 1 to `most_bytes` bytes, each so long after the other that it arrives on its own."""

    async def way(pieces: Pieces) -> Pieces:
        chance = random.Random(seed)
        async for piece in pieces:
            start = 0
            while start < len(piece):
                end = start + chance.randint(1, most_bytes)
                yield piece[start:end]
                await asyncio.sleep(delay_s)
                start = end

    return way


def late(delay_s: float) -> Way:
    """Each piece after a delay."""

    async def way(pieces: Pieces) -> Pieces:
        async for piece in pieces:
            await asyncio.sleep(delay_s)
            yield piece

    return way


def ends_after(count: int) -> Way:
    """The first `count` bytes, and then the end of the connection."""

    async def way(pieces: Pieces) -> Pieces:
        left = count
        async for piece in pieces:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    return way


def resets_after(count: int) -> Way:
    """The first `count` bytes, and then a reset. What the other side has not read by then is lost to it."""

    async def way(pieces: Pieces) -> Pieces:
        async for piece in ends_after(count)(pieces):
            yield piece
        raise ConnectionResetError

    return way


def falls_silent_after(count: int) -> Way:
    """The first `count` bytes, and then nothing, with the connection open."""

    async def way(pieces: Pieces) -> Pieces:
        async for piece in ends_after(count)(pieces):
            yield piece
        await asyncio.Event().wait()

    return way
