"""An HTTP proxy on loopback: it opens tunnels, keeps what it was told of them, and refuses what it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.upstream_models import settle


class Asked(NamedTuple):
    """A request's head; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


class TunnelProxy:
    """Opens a tunnel for each CONNECT, or sends `answer` in its place, while it is entered; over TLS with a `context`.

    `seen` is whatever came through tunnels, from both sides.
    """

    def __init__(self, answer: bytes | None = None, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.seen = bytearray()
        self._answer = answer
        self._context = context
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await settle()

    def url(self, credentials: str = "") -> str:
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://{credentials}localhost:{self._port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        await asyncio.wait([task])
        writer.transport.abort()  # over TLS closing would wait for the other side's farewell

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await self._read_head(reader)
            self.asked.append(asked)
            if self._answer is not None:
                writer.write(self._answer)
                await writer.drain()
                await reader.read()
                return
            port = asked.target.rpartition(":")[2]
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(self._relay(reader, far_writer), self._relay(far_reader, writer))
            finally:
                far_writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.seen += data
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _read_head(self, reader: asyncio.StreamReader) -> Asked:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        return Asked(
            method, target, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        )
