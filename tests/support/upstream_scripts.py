"""What a model's server can do on the wire, well and badly, to one request of the app's.

Where a script counts tokens, it sends so many and then waits for `Exchange.go`: a test has read them before the
rest comes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

TICK_S = 0.05
SLOW_TICK_S = 0.5

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(eq=False)
class Exchange:
    """One request of the app's and its connection. `has_sent` is done when something of the answer is on its way,
    `closed` when the connection is gone, whoever ended it."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]
    writer: asyncio.StreamWriter
    loop: asyncio.AbstractEventLoop
    has_sent: Future[None] = field(default_factory=Future)
    closed: Future[None] = field(default_factory=Future)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    sent_bytes: int = 0

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def tag(self) -> str:
        """The prompt's last word, by which a test finds its exchange."""
        return self.prompt.split()[-1]

    def go(self) -> None:
        """Lets the script go on after its tokens; from any thread."""
        self.loop.call_soon_threadsafe(self.released.set)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent_bytes += len(data)
        if not self.has_sent.done():
            self.has_sent.set_result(None)
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

Script = Callable[[Exchange, int], Awaitable[None]]


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


SCRIPTS: Mapping[str, Script] = {
    script.__name__: script
    for script in (
        whole, paced, one_more, finish_stall, finish_reset, no_head, stall, trickle, comments, reset, reset_at_once,
        end_in_chunk, end_early, done_early, error_object, garbage, endless_line, endless_body, not_http,
        endless_headers, half_headers, status, endless_error,
    )
}  # fmt: skip
