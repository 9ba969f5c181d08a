"""Proxies on loopback: one that delays, splits and breaks answers as networks do, and one that opens tunnels."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, Callable
from types import TracebackType

from tests.support.loopback import Listener, Received, receive, reset, settle

Pieces = AsyncGenerator[bytes, None]

#: A change of the bytes that answer a POST. Its end closes the connection; a ConnectionResetError resets it.
Way = Callable[[Pieces], Pieces]

PIECE_BYTES = 65536


class Proxy(Listener):
    """A TCP proxy of the server on `target_port`. `posts` counts the POST requests of its clients.

    From a connection's first POST on, the server's bytes go through `way`; before that they are unchanged.
    """

    def __init__(self, target_port: int, way: Way) -> None:
        super().__init__()
        self.posts = 0
        self._target_port = target_port
        self._way = way

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay in both directions until one of them ends."""
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        is_post = asyncio.Event()
        up = asyncio.ensure_future(self._relay_requests(reader, server_writer, is_post))
        down = asyncio.ensure_future(self._relay_responses(server_reader, writer, is_post))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            server_writer.transport.abort()  # before any await: the task may be cancelled a second time
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _relay_requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, is_post: asyncio.Event
    ) -> None:
        async for piece in _pieces(client):
            if piece.startswith(b"POST "):
                self.posts += 1
                is_post.set()
            server.write(piece)
            await server.drain()

    async def _relay_responses(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, is_post: asyncio.Event
    ) -> None:
        pieces = _pieces(server)
        try:
            async for piece in pieces:
                if is_post.is_set():
                    await _send(self._way(_again(piece, pieces)), client)
                    return
                client.write(piece)
        except ConnectionResetError:
            reset(client)


class TunnelProxy(Listener):
    """An HTTP proxy that opens a tunnel for each CONNECT, or sends `answer` instead; over TLS with a `context`.

    `requests` are those for tunnels; `relayed` has all bytes of tunnels, of both directions.
    """

    def __init__(self, answer: bytes | None = None, context: ssl.SSLContext | None = None) -> None:
        super().__init__(context)
        self.requests: list[Received] = []
        self.relayed = bytearray()
        self._answer = answer

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        await super().__aexit__(kind, error, where)
        await settle()

    def url(self, credentials: str = "") -> str:
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://{credentials}localhost:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await receive(reader)
        self.requests.append(request)
        if self._answer is not None:
            writer.write(self._answer)
            await writer.drain()
            await reader.read()
            return
        port = request.target.rpartition(":")[2]
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(self._relay(reader, far_writer), self._relay(far_reader, writer))
        finally:
            far_writer.transport.abort()
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for piece in _pieces(reader):
            self.relayed += piece
            writer.write(piece)
            await writer.drain()
        writer.close()


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


# -- ways


def in_slices(seed: int, most_bytes: int = 30, delay_s: float = 0.001) -> Way:
    """Split into pieces of 1 to `most_bytes` bytes, with a delay after each, so that they arrive separately."""

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
    """Delay each piece."""

    async def way(pieces: Pieces) -> Pieces:
        async for piece in pieces:
            await asyncio.sleep(delay_s)
            yield piece

    return way


def ends_after(count: int) -> Way:
    """Send the first `count` bytes, and close the connection."""

    async def way(pieces: Pieces) -> Pieces:
        left = count
        async for piece in pieces:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    return way


def resets_after(count: int) -> Way:
    """Send the first `count` bytes, and reset the connection. The client loses the bytes that it has not read."""

    async def way(pieces: Pieces) -> Pieces:
        async for piece in ends_after(count)(pieces):
            yield piece
        raise ConnectionResetError

    return way


def falls_silent_after(count: int) -> Way:
    """Send the first `count` bytes, and then nothing, with the connection open."""

    async def way(pieces: Pieces) -> Pieces:
        async for piece in ends_after(count)(pieces):
            yield piece
        await asyncio.Event().wait()

    return way
