"""Scripts for the answer of a model's server to one request of the app, correct and faulty.

A script with a count sends so many tokens and then waits for `ScriptedExchange.go`: a test has read them before the
script goes on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tests.support.loopback import Exchange, http_chunk

TICK_S = 0.05
SLOW_TICK_S = 0.5

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(eq=False)
class ScriptedExchange(Exchange):
    """A request that a script answers. `has_sent` is done when the script has sent something.

    `closed` is done when the connection is closed, by either side.
    """

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    has_sent: Future[None] = field(default_factory=Future)
    closed: Future[None] = field(default_factory=Future)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    sent_bytes: int = 0

    @property
    def prompt(self) -> str:
        return str(self.request.json["messages"][-1]["content"])

    @property
    def tag(self) -> str:
        """The last word of the prompt, by which a test finds its exchange."""
        return self.prompt.split()[-1]

    def go(self) -> None:
        """Let the script go on after its tokens; from any thread."""
        self.loop.call_soon_threadsafe(self.released.set)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent_bytes += len(data)
        if not self.has_sent.done():
            self.has_sent.set_result(None)
        await self.writer.drain()

    async def send_tokens(self, count: int) -> None:
        """Send the head and `count` tokens; if there are any, wait until the test calls `go`."""
        await self.send(HEAD + token() * count)
        if count:
            await self.released.wait()

    def accusation(self) -> bytes:
        """Return an error object that quotes key and prompt, as servers do."""
        message = f"{self.request.headers.get('authorization')} may not ask {self.prompt!r}"
        return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": "bad"}}).encode()


def event(document: Any) -> bytes:
    return http_chunk(b"data: " + json.dumps(document).encode() + b"\n\n")


def token(text: str = "token ") -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
WHOLE_END = FINISH + http_chunk(b"data: [DONE]\n\n") + LAST_CHUNK

Script = Callable[[ScriptedExchange, int], Awaitable[None]]


async def whole(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(HEAD + token() * count + WHOLE_END)


async def paced(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(HEAD)
    for _ in range(count):
        await exchange.send(token())
        await asyncio.sleep(SLOW_TICK_S)
    await exchange.send(WHOLE_END)


async def one_more(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(token("more"))


async def finish_stall(exchange: ScriptedExchange, count: int) -> None:
    """Send an answer that is complete by its finish_reason, without usage, `[DONE]` and end."""
    await exchange.send(HEAD + token() * count + FINISH)


async def finish_reset(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(FINISH)
    exchange.reset()


async def no_head(exchange: ScriptedExchange, count: int) -> None:
    """Send nothing."""


async def stall(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(HEAD + token() * count)


async def trickle(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(HEAD)
    while True:
        await exchange.send(token())
        await asyncio.sleep(TICK_S)


async def comments(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(HEAD + token() * count)
    while True:
        await exchange.send(http_chunk(b": still here\n\n"))
        await asyncio.sleep(TICK_S)


async def reset(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    exchange.reset()


async def reset_at_once(exchange: ScriptedExchange, count: int) -> None:
    exchange.reset()


async def end_in_chunk(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(token()[:-9])
    exchange.writer.write_eof()


async def end_early(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(LAST_CHUNK)


async def done_early(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: [DONE]\n\n"))


async def error_object(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: " + exchange.accusation() + b"\n\n"))


async def garbage(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: {" + exchange.prompt.encode() + b"\n\n"))


async def endless_line(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await exchange.send(http_chunk(b"data: "))
    await _for_ever(exchange, http_chunk(b"x" * 1024))


async def endless_body(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send_tokens(count)
    await _for_ever(exchange, token("x" * 1024))


async def not_http(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.9\r\n")


async def endless_headers(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    await _for_ever(exchange, b"X-More: " + b"x" * 1024 + b"\r\n")


async def half_headers(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(HEAD[:40])
    exchange.writer.write_eof()


async def status(exchange: ScriptedExchange, count: int) -> None:
    """Send an error with the status `count` that quotes key and prompt."""
    body = exchange.accusation()
    head = f"HTTP/1.1 {count} No\r\nRetry-After: 7\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    await exchange.send(head.encode() + body)


async def endless_error(exchange: ScriptedExchange, count: int) -> None:
    await exchange.send(HEAD.replace(b"200 OK", b"500 No"))
    await _for_ever(exchange, http_chunk(b"x" * 1024))


async def _for_ever(exchange: ScriptedExchange, data: bytes) -> None:
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
