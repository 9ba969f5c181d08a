"""The HTTP/1.1 server of `python -m quartapp`, on raw sockets: what it refuses, and that it sees each disconnect."""

from __future__ import annotations

import asyncio
import errno
import json
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple

import pytest
from hypercorn.config import Config

from quartapp.http1 import MAX_PIECES, PIECE_BYTES
from quartapp.server import LINGER_S, MAX_LINGER_BYTES, serve
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import CANARY_PROMPT, Server, Servers, eventually, upstream_settings

WITHIN_S = 5.0
LAST_CHUNK = b"0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


class Client(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WITHIN_S)

    async def read_to_end(self) -> bytes:
        """Return all bytes that the server sends until it closes or resets the connection."""
        received = b""
        try:
            while data := await asyncio.wait_for(self.reader.read(2**16), WITHIN_S):
                received += data
        except ConnectionError:
            pass
        return received

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Client]:
        """Return another client of the same server."""
        address = self.writer.get_extra_info("peername")
        client = Client(*await asyncio.open_connection(*address[:2]))
        try:
            yield client
        finally:
            client.disconnect()

    def disconnect(self, *, with_reset: bool = False) -> None:
        if with_reset:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        yield client
    finally:
        client.disconnect()


def question(prompt: str, tag: str, headers: str = "") -> bytes:
    body = json.dumps({"message": f"{prompt} {CANARY_PROMPT} {tag}"}).encode()
    return head("POST /api/stream", f"Content-Length: {len(body)}\r\n{headers}") + body


def head(first: str, headers: str) -> bytes:
    accepted = "text/event-stream" if first.startswith("GET") else "application/x-ndjson"
    fields = f"Host: chat\r\nContent-Type: application/json\r\nAccept: {accepted}\r\n"
    return f"{first} HTTP/1.1\r\n{fields}{headers}\r\n".encode()


def chunks(data: bytes, size: int) -> bytes:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@pytest.fixture
def server(servers: Servers, raw_upstream: RawUpstream) -> Server:
    return servers.get("quartapp", **upstream_settings(raw_upstream.base_url))


# -- bytes behind a request


BEHIND = {
    "an_empty_line": b"\r\n",
    "one_byte": b"P",
    "half_a_request": b"POST /api/stream HTTP/1.1\r\nContent-Le",
    "half_a_body": head("POST /api/stream", "Content-Length: 100\r\n") + b"{",
    "questions": question("whole:1", "never-asked") * 20,
}


@pytest.mark.parametrize("with_reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("behind", BEHIND)
async def test_a_disconnect_after_more_bytes_closes_the_upstream_and_starts_no_request(
    behind: str, with_reset: bool, server: Server, raw_upstream: RawUpstream
) -> None:
    tag = secrets.token_hex(8)
    async with connected(server) as client:
        await client.send(question("stall:1", tag) + BEHIND[behind])
        exchange = await raw_upstream.exchange(tag)
        await client.read_head()
        client.disconnect(with_reset=with_reset)
        await asyncio.wait_for(asyncio.wrap_future(exchange.closed), WITHIN_S)
    async with connected(server) as client:
        await client.send(question("whole:1", tag, "Connection: close\r\n"))
        assert b'"done"' in await client.read_to_end()
    assert raw_upstream.requests("never-asked") == 0


async def test_requests_that_wait_are_answered_in_order(server: Server, raw_upstream: RawUpstream) -> None:
    tags = [secrets.token_hex(8) for _ in range(3)]
    async with connected(server) as client:
        await client.send(b"".join(question("whole:1", tag) for tag in tags[:2]) + question("stall:0", tags[2]))
        last = await raw_upstream.exchange(tags[2])
        assert [raw_upstream.requests(tag) for tag in tags] == [1, 1, 1]
        received = b""
        while received.count(b'{"type":"done"') < 2:
            received += await asyncio.wait_for(client.reader.read(2**16), WITHIN_S)
        client.disconnect()
        await asyncio.wait_for(asyncio.wrap_future(last.closed), WITHIN_S)


async def test_a_client_that_sends_too_much_after_its_request_is_disconnected(
    server: Server, raw_upstream: RawUpstream
) -> None:
    tag = secrets.token_hex(8)
    async with connected(server) as client:
        await client.send(question("stall:1", tag))
        exchange = await raw_upstream.exchange(tag)
        await client.read_head()
        await client.send(b"G" * 2**17)
        await client.read_to_end()
        await asyncio.wait_for(asyncio.wrap_future(exchange.closed), WITHIN_S)


# -- HTTP/2


async def test_an_upgrade_to_http_2_is_answered_over_http_1(server: Server) -> None:
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    async with connected(server) as client:
        await client.send(head("GET /v1/models", upgrade).replace(b"text/event-stream", b"*/*"))
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
    async with connected(server) as client:
        await client.send(question("whole:1", secrets.token_hex(8), upgrade))
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")


async def test_the_preface_of_http_2_is_refused(server: Server) -> None:
    async with connected(server) as client:
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("target", ["http://[evil/", "?message=hi", "#"])
async def test_an_invalid_target_is_refused(server: Server, target: str) -> None:
    async with connected(server) as client:
        await client.send(head(f"GET {target}", ""))
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 400 ")


# -- WebSockets


async def test_the_connection_of_a_refused_handshake_is_closed(server: Server) -> None:
    handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\n"  # without a key
    async with connected(server) as client:
        await client.send(head("GET /api/stream", handshake))
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 400 ")


# -- bodies


async def late(scope: Any, receive: Any, send: Any) -> None:
    """Respond a little later on some routes, without reading the body."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
    elif scope["path"] == "/late":
        for _ in range(20):
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"words"})
    else:
        await asyncio.Event().wait()


@asynccontextmanager
async def served(app: Any, max_body_bytes: int = 2**20) -> AsyncIterator[Client]:
    """Open a client of `app`."""
    stop, config, listening = asyncio.Event(), Config(), socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    config.bind = [f"fd://{listening.detach()}"]
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait, max_body_bytes=max_body_bytes))
    client = Client(*await asyncio.open_connection(*address))
    try:
        yield client
    finally:
        client.disconnect()
        stop.set()
        await serving


REFUSED_IN_TIME = pytest.mark.parametrize(("path", "words"), [("/late", b"words"), ("/never", b"")])


@REFUSED_IN_TIME
async def test_a_body_over_the_limit_gets_the_refusal_of_its_route_if_there_is_one(path: str, words: bytes) -> None:
    async with served(late, 10) as client:
        await client.send(head(f"POST {path}", "Content-Length: 100\r\n") + b"a" * 50)
        top, _, body = (await client.read_to_end()).partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 413 ")
    assert body == words


@REFUSED_IN_TIME
async def test_a_client_that_still_sends_a_refused_body_reads_the_response_to_its_end(path: str, words: bytes) -> None:
    piece, more = b"a" * 2**16, 32
    async with served(late, 10) as client:
        await client.send(head(f"POST {path}", f"Content-Length: {2**30}\r\n") + b"a" * 50)
        await client.read_head()
        assert await asyncio.wait_for(client.reader.read(), WITHIN_S) == words  # and the server has closed its half
        for _ in range(more):  # a reset would end in an error here
            await client.send(piece)


async def test_a_client_that_sends_a_refused_body_for_ever_is_disconnected() -> None:
    piece, sent = b"a" * 2**16, 0
    async with served(late, 10) as client:
        await client.send(head("POST /late", f"Content-Length: {2**30}\r\n") + b"a" * 50)
        with suppress(ConnectionError):
            while sent < 2 * MAX_LINGER_BYTES:
                await client.send(piece)
                sent += len(piece)
    assert sent < 2 * MAX_LINGER_BYTES


async def test_a_client_of_a_refused_body_that_neither_sends_nor_disconnects_is_disconnected() -> None:
    async with served(late, 10) as client:
        await client.send(head("POST /late", f"Content-Length: {2**30}\r\n") + b"a" * 50)
        await client.read_to_end()
        tasks = len(asyncio.all_tasks())
        await eventually(lambda: len(asyncio.all_tasks()) < tasks, LINGER_S + WITHIN_S)


@pytest.mark.parametrize("path", ["/api/stream", "/v1/chat/completions", "/nowhere"])
async def test_a_body_with_two_lengths_is_refused_and_the_connection_closed(path: str, server: Server) -> None:
    async with connected(server) as client:
        await client.send(head(f"POST {path}", f"Content-Length: 5\r\n{CHUNKED}") + LAST_CHUNK + head("GET /", ""))
        received = await client.read_to_end()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1


async def test_a_chunked_body_over_http_1_0_is_refused_and_the_connection_closed(server: Server) -> None:
    request = head("POST /api/stream", CHUNKED + "Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with connected(server) as client:
        await client.send(request + LAST_CHUNK)
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/api/stream", "/v1/chat/completions", "/api/ui"])
async def test_a_body_in_tiny_chunks_is_refused_before_its_end(path: str, server: Server) -> None:
    async with connected(server) as client:
        await client.send(head(f"POST {path}", CHUNKED) + chunks(b"a" * 5000, 1))
        assert (await client.read_to_end()).startswith(b"HTTP/1.1 413 ")


async def test_a_request_waits_for_no_more_pieces_of_other_clients_bodies_than_each_may_send() -> None:
    taken, seen = 0, list[int]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Read each body. A request without one counts the pieces that were read before it."""
        nonlocal taken
        if scope["type"] == "lifespan":
            await late(scope, receive, send)
            return
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            taken += 1
        if scope["path"] == "/health":
            seen.append(taken)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    clients, pieces = 20, chunks(b"a" * 20_000, 1)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(served(app))
        others = [await stack.enter_async_context(first.another()) for _ in range(clients)]
        for client in others:
            client.writer.write(head("POST /body", CHUNKED) + pieces)
        await first.send(head("GET /health", ""))
        assert (await first.read_head()).startswith(b"HTTP/1.1 204 ")
        assert [(await client.read_head())[:13] for client in others] == [b"HTTP/1.1 413 "] * clients
    assert seen[0] <= taken <= clients * MAX_PIECES * PIECE_BYTES // (PIECE_BYTES - 1)


async def test_a_body_in_chunks_of_a_usual_size_is_read(server: Server) -> None:
    body = json.dumps({"message": "whole:1 " + "a" * 90_000 + f" {CANARY_PROMPT}"}).encode()
    async with connected(server) as client:
        await client.send(head("POST /api/stream", CHUNKED + "Connection: close\r\n") + chunks(body, 100) + LAST_CHUNK)
        assert b'"done"' in await client.read_to_end()


async def test_a_body_that_no_route_reads_is_not_read_on(server: Server, raw_upstream: RawUpstream) -> None:
    tag = secrets.token_hex(8)
    async with connected(server) as client:
        await client.send(head(f"GET /api/stream?message=stall:1+{CANARY_PROMPT}+{tag}", CHUNKED))
        exchange = await raw_upstream.exchange(tag)
        client.writer.write(chunks(b"a" * 2**20, 2**14))
        await client.read_to_end()
        await asyncio.wait_for(asyncio.wrap_future(exchange.closed), WITHIN_S)


async def test_an_app_is_stopped_if_its_server_cannot_listen() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            kind = (await receive())["type"]
            seen.append(kind)
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    class Taken(Config):
        def create_sockets(self) -> Any:
            raise OSError(errno.EADDRINUSE, "in use")  # hypercorn leaves its socket to the garbage collector

    with pytest.raises(OSError, match="in use"):
        await serve(app, Taken(), shutdown_trigger=asyncio.Event().wait, max_body_bytes=1)
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
