"""An HTTP server on loopback that keeps what it is sent and answers with whatever bytes a test tells it to."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

EVENT_STREAM = {"Content-Type": "text/event-stream"}


@dataclass(frozen=True)
class Received:
    """One request as it came; header names in lower case. `connection` counts from 0."""

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
    """A request and the connection it came on."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def client_leaves(self) -> None:
        """Waits until the client has closed its side; raises ConnectionError where it reset the connection."""
        await self.reader.read()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection with RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Answer = Callable[[Exchange], Awaitable[None]]


def head(status: int = 200, headers: Mapping[str, str] = EVENT_STREAM) -> bytes:
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED_HEAD = head(headers=EVENT_STREAM | {"Transfer-Encoding": "chunked"})


def reply(status: int = 200, body: bytes = b"", headers: Mapping[str, str] = EVENT_STREAM) -> Answer:
    """The same complete answer to each request; the connection stays open for the next."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head(status, {**headers, "Content-Length": str(len(body))}) + body)

    return answer


def raw(data: bytes) -> Answer:
    """The same bytes for each request, whatever they are; then the connection ends."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.close()

    return answer


@dataclass
class Loopback:
    """Listens on a free port as long as the `async with` lasts."""

    answer: Answer
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    _port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        faults = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if faults and kind is None:
            raise faults[0]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        task = asyncio.ensure_future(self._serve(number, reader, writer))
        self._tasks.add(task)
        await asyncio.wait([task])

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                request = await _receive(number, reader)
                self.requests.append(request)
                await self.answer(Exchange(request, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()


async def _receive(connection: int, reader: asyncio.StreamReader) -> Received:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(connection, method, target, headers, body)
