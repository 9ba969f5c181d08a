"""An HTTP server on loopback that records its requests and answers with the bytes of a test."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

EVENT_STREAM = {"Content-Type": "text/event-stream"}


@dataclass(frozen=True)
class Received:
    """A request; header names in lower case. `connection` counts from 0."""

    connection: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Exchange:
    """A request and its connection."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def client_leaves(self) -> None:
        """Wait until the client has closed its side; raise ConnectionError if it reset the connection."""
        await self.reader.read()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End the connection with RST."""
        reset(self.writer)


Answer = Callable[[Exchange], Awaitable[None]]


def head(status: int = 200, headers: Mapping[str, str] = EVENT_STREAM) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED_HEAD = head(headers=EVENT_STREAM | {"Transfer-Encoding": "chunked"})


def reply(status: int = 200, body: bytes = b"", headers: Mapping[str, str] = EVENT_STREAM) -> Answer:
    """Answer each request with the same complete response; the connection stays open for the next."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head(status, {**headers, "Content-Length": str(len(body))}) + body)

    return answer


def raw(data: bytes) -> Answer:
    """Answer each request with the same bytes, and close the connection."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.close()

    return answer


class Listener:
    """A server on a free port of loopback as long as the `async with` lasts; over TLS with a `context`.

    Its end closes all connections. An exception of a connection is raised there, unless the client disconnected.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._context is not None:
            await settle()
        faults = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if faults and kind is None:
            raise faults[0]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which is closed afterwards."""
        raise NotImplementedError

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._close(writer)  # a task that was cancelled before it began has not

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client disconnected
        finally:
            self._close(writer)

    def _close(self, writer: asyncio.StreamWriter) -> None:
        if self._context is None:
            writer.close()
        else:
            writer.transport.abort()  # closing would wait for the client's close_notify


class Loopback(Listener):
    """An HTTP server that records its requests and answers each with `answer`."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        super().__init__(context)
        self.answer = answer
        self.requests: list[Received] = []
        self.connections = 0

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        while not writer.is_closing():
            request = await receive(reader, number)
            self.requests.append(request)
            await self.answer(Exchange(request, reader, writer))


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with RST."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def settle() -> None:
    """Let clients of this loop see the data that has already arrived at their sockets."""
    for _ in range(20):
        await asyncio.sleep(0)


async def receive(reader: asyncio.StreamReader, connection: int = 0) -> Received:
    """Read one request."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(connection, method, target, headers, body)
