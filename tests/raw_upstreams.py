"""A model's server on bare sockets that misbehaves as the last user message asks: `reset:2 …` resets after two tokens.

It does on the wire what no HTTP server can be brought to do, and tells when the app closed its connection. Where a
behaviour counts tokens, it sends so many and then waits for `Exchange.go`: a test has read them before the rest comes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

TICK_S = 0.05
SLOW_TICK_S = 0.5

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(eq=False)
class Exchange:
    """One request of the app's and its connection. `closed` is done when the connection is gone, whoever ended it."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]
    writer: asyncio.StreamWriter
    loop: asyncio.AbstractEventLoop
    closed: Future[None] = field(default_factory=Future)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def tag(self) -> str:
        """The prompt's last word, by which a test finds its exchange."""
        return self.prompt.split()[-1]

    def go(self) -> None:
        """Lets the behaviour go on after its tokens; from any thread."""
        self.loop.call_soon_threadsafe(self.released.set)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_tokens(self, count: int) -> None:
        """The head and `count` tokens; if there are any, waits until the test lets it go on."""
        await self.send(HEAD + token() * count)
        if count:
            await self.released.wait()

    def reset(self) -> None:
        """Ends the connection with RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def accusation(self) -> bytes:
        """An error object that quotes key and prompt, as servers do."""
        message = f"{self.headers.get('authorization')} may not ask {self.prompt!r}"
        return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": "bad"}}).encode()


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(document: Any) -> bytes:
    return http_chunk(b"data: " + json.dumps(document).encode() + b"\n\n")


def token(text: str = "token ") -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
WHOLE_END = FINISH + http_chunk(b"data: [DONE]\n\n") + LAST_CHUNK

Behaviour = Callable[[Exchange, int], Awaitable[None]]


async def whole(exchange: Exchange, count: int) -> None:
    await exchange.send(HEAD + token() * count + WHOLE_END)


async def paced(exchange: Exchange, count: int) -> None:
    await exchange.send(HEAD)
    for _ in range(count):
        await exchange.send(token())
        await asyncio.sleep(SLOW_TICK_S)
    await exchange.send(WHOLE_END)


async def one_more(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(token("more"))


async def finish_stall(exchange: Exchange, count: int) -> None:
    """A whole answer by its finish_reason, without usage, `[DONE]` and end."""
    await exchange.send(HEAD + token() * count + FINISH)


async def finish_reset(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(FINISH)
    exchange.reset()


async def no_head(exchange: Exchange, count: int) -> None:
    """Silence from the start."""


async def stall(exchange: Exchange, count: int) -> None:
    await exchange.send(HEAD + token() * count)


async def trickle(exchange: Exchange, count: int) -> None:
    await exchange.send(HEAD)
    while True:
        await exchange.send(token())
        await asyncio.sleep(TICK_S)


async def comments(exchange: Exchange, count: int) -> None:
    await exchange.send(HEAD + token() * count)
    while True:
        await exchange.send(http_chunk(b": still here\n\n"))
        await asyncio.sleep(TICK_S)


async def reset(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    exchange.reset()


async def reset_at_once(exchange: Exchange, count: int) -> None:
    exchange.reset()


async def end_in_chunk(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(token()[:-9])
    exchange.writer.write_eof()


async def end_early(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(LAST_CHUNK)


async def done_early(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: [DONE]\n\n"))


async def error_object(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: " + exchange.accusation() + b"\n\n"))


async def garbage(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: {" + exchange.prompt.encode() + b"\n\n"))


async def endless_line(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: "))
    await _for_ever(exchange, http_chunk(b"x" * 1024))


async def endless_body(exchange: Exchange, count: int) -> None:
    await exchange.send_tokens(count)
    await _for_ever(exchange, token("x" * 1024))


async def not_http(exchange: Exchange, count: int) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n")


async def endless_headers(exchange: Exchange, count: int) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    await _for_ever(exchange, b"X-More: " + b"x" * 1024 + b"\r\n")


async def half_headers(exchange: Exchange, count: int) -> None:
    await exchange.send(HEAD[:40])
    exchange.writer.write_eof()


async def status(exchange: Exchange, count: int) -> None:
    """An error of the status `count` that quotes key and prompt."""
    body = exchange.accusation()
    head = f"HTTP/1.1 {count} No\r\nRetry-After: 7\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    await exchange.send(head.encode() + body)


async def endless_error(exchange: Exchange, count: int) -> None:
    await exchange.send(HEAD.replace(b"200 OK", b"500 No"))
    await _for_ever(exchange, http_chunk(b"x" * 1024))


async def _for_ever(exchange: Exchange, data: bytes) -> None:
    while True:
        await exchange.send(data * 16)
        await asyncio.sleep(0)


BEHAVIOURS: Mapping[str, Behaviour] = {
    behaviour.__name__: behaviour
    for behaviour in (
        whole, paced, one_more, finish_stall, finish_reset, no_head, stall, trickle, comments, reset, reset_at_once,
        end_in_chunk, end_early, done_early, error_object, garbage, endless_line, endless_body, not_http,
        endless_headers, half_headers, status, endless_error,
    )
}  # fmt: skip


class RawUpstream:
    """The server, on a loopback port and a thread of its own, while it is entered."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raw upstream", daemon=True)
        self._server: asyncio.Server | None = None
        self._arrivals: dict[str, Future[Exchange]] = {}
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def exchange(self, tag: str) -> Exchange:
        """The first request with that tag, waited for."""
        async with asyncio.timeout(10):
            return await asyncio.wrap_future(self._arrival(tag))

    def requests(self, tag: str) -> int:
        """How many requests have come with that tag."""
        return self._counts.get(tag, 0)

    def _arrival(self, tag: str) -> Future[Exchange]:
        return self._arrivals.setdefault(tag, Future())

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection; nothing follows it, so what ends the reading is the end of the connection."""
        exchange = await self._read_request(reader, writer)
        name, _, count = exchange.prompt.split()[0].partition(":")
        acting = asyncio.ensure_future(BEHAVIOURS[name](exchange, int(count or 0)))
        try:
            with suppress(ConnectionError):
                await reader.read(1)
        finally:
            exchange.closed.set_result(None)
            acting.cancel()
            writer.transport.abort()
            await asyncio.gather(acting, return_exceptions=True)

    async def _read_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        exchange = Exchange(headers, body, writer, asyncio.get_running_loop())
        self._counts[exchange.tag] = self.requests(exchange.tag) + 1
        if not self._arrival(exchange.tag).done():
            self._arrival(exchange.tag).set_result(exchange)
        return exchange
