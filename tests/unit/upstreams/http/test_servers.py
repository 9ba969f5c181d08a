"""The servers of the models: shared connections, the requests that each receives, and the cost of a faulty server."""

from __future__ import annotations

import asyncio
import gc
import gzip
import itertools
import re
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest
import uvloop
from pydantic import SecretStr
from quart import Quart
from quart.testing.app import LifespanError

from quartapp import chat_blueprint
from quartapp.core.error_log import describe
from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.upstreams.http.servers import PIECE_BYTES, Address, Server, Servers
from quartapp.upstreams.http.transport import ConnectionOptions
from tests.support.endpoints import Client, Reply, offered_by, serving
from tests.support.loopback import (
    CHUNKED_HEAD,
    EVENT_STREAM,
    Answer,
    Exchange,
    Loopback,
    Received,
    head,
    http_chunk,
    reply,
    settle,
)
from tests.support.upstream_models import (
    MIB,
    TOKEN,
    WHOLE,
    Endless,
    Memory,
    ask,
    failure,
    model_at,
    peak_bytes,
)

CONNECTING = ConnectionOptions(timeout_s=5, max_connections=10, keep_alive_s=5)
URL = "http://127.0.0.1:1/v1"
CHAT = "/ai/api/chat"


@asynccontextmanager
async def servers_open(connecting: ConnectionOptions = CONNECTING) -> AsyncIterator[Servers]:
    servers = Servers(connecting)
    try:
        yield servers
    finally:
        await servers.close()


class CountingTransport(httpx2.AsyncBaseTransport):
    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def post(client: Client, model: str) -> Reply:
    return await client.ask({"message": "hello", "model": model})


# -- one server for equal addresses


async def token() -> str:
    return "canary-token"


ADDRESSES = {
    "the base URL": Address("http://127.0.0.1:2/v1"),
    "a path": Address("http://127.0.0.1:1/v2"),
    "a key": Address(URL, key=SecretStr("sk-1")),
    "another key": Address(URL, key=SecretStr("sk-2")),
    "the header of a key": Address(URL, key=SecretStr("sk-1"), key_header="api-key"),
    "a token": Address(URL, token=token),
    "a query": Address(URL, query=(("api-version", "1"),)),
    "a header": Address(URL, headers=(("x-title", "a"),)),
    "obedience": Address(URL, obeys_environment=True),
}


@pytest.mark.parametrize("difference", ADDRESSES)
async def test_addresses_that_differ_are_servers_of_their_own(difference: str) -> None:
    async with servers_open() as servers:
        opened = {servers.at(Address(URL)), *(servers.at(address) for address in ADDRESSES.values())}
        assert len(opened) == len(ADDRESSES) + 1
        assert servers.at(ADDRESSES[difference]) in opened


async def test_equal_addresses_are_one_server() -> None:
    async with servers_open() as servers:
        addresses = [Address(URL, key=SecretStr("sk-1"), headers=(("x-title", "a"),)) for _ in range(2)]
        assert servers.at(addresses[0]) is servers.at(addresses[1])
        assert len(list(servers)) == 1


async def test_each_server_is_closed_once_at_the_end() -> None:
    transports = [CountingTransport() for _ in range(3)]
    servers = Servers(CONNECTING)
    for number, transport in enumerate(transports):
        address = Address(f"http://{number}/v1")
        for _ in range(2):
            servers.at(address, lambda transport=transport: transport)  # type: ignore[misc]
    assert [transport.closed for transport in transports] == [0, 0, 0]
    await servers.close()
    await servers.close()
    assert [transport.closed for transport in transports] == [1, 1, 1]


async def test_the_repr_of_an_address_contains_no_key() -> None:
    assert "sk-1" not in repr(ADDRESSES["a key"])


@pytest.mark.parametrize("key", ["canary\n", " canary", "can ary", "canary\x00", "canary-é", "canary\r\nX-Evil: 1"])
async def test_a_key_that_cannot_be_sent_stops_the_start_and_is_not_repeated(key: str) -> None:
    with pytest.raises(LifespanError, match="OPENAI_API_KEY: holds white space") as raised:
        async with serving(OPENAI_BASE_URL=URL, OPENAI_API_KEY=key):
            pass
    assert "can" not in str(raised.value).replace("cannot", "")


async def test_a_start_that_fails_closes_all_clients() -> None:
    models = {name: {"kind": "compatible", "base_url": f"http://127.0.0.1:1/{name}"} for name in ("a", "b")}
    with pytest.raises(LifespanError, match="CHAT_MODEL: none of the models"):
        async with serving(path=CHAT, CHAT_MODELS=models, CHAT_MODEL="c"):
            pass
    gc.collect()  # a client that is still open would warn, which fails the test


# -- the requests of each server


async def test_each_server_sees_its_own_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST_KEY", "sk-first-1a2b3c4d")
    monkeypatch.setenv("SECOND_KEY", "sk-second-1a2b3c4d")
    async with Loopback(reply(body=WHOLE)) as first, Loopback(reply(body=WHOLE)) as second:
        models = {
            "one": {"kind": "compatible", "base_url": first.base_url, "key_env": "FIRST_KEY"},
            "two": {"kind": "azure", "base_url": second.origin, "key_env": "SECOND_KEY"},
            "none": {"kind": "compatible", "base_url": second.base_url},
        }
        async with serving(path=CHAT, CHAT_MODELS=models) as client:
            for name in [*models, *reversed(models)]:
                assert (await post(client, name)).json["text"] == "a"
        keys = [re.findall(r"sk-\w+", str(request.headers)) for request in first.requests + second.requests]
    assert keys == [["sk-first"]] * 2 + [["sk-second"], [], [], ["sk-second"]]


async def test_two_blueprints_with_a_key_each_send_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-environment")
    async with Loopback(reply(body=WHOLE)) as server:
        models = {"m": {"kind": "compatible", "base_url": server.base_url, "key_env": "OPENAI_API_KEY"}}
        host = Quart("host", static_folder=None)
        for name in ("one", "two"):
            settings = {"CHAT_MODELS": models, "OPENAI_API_KEY": f"sk-{name}"}
            host.register_blueprint(chat_blueprint(name, settings), url_prefix=f"/{name}")
        async with serving(host=host, CHAT_MODELS=models) as client:
            for path in ("/one/api/chat", "/two/api/chat", CHAT):
                assert (await Client(client.app, path).ask()).status == 200
        sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer sk-one", "Bearer sk-two", "Bearer sk-canary-environment"]


async def test_models_of_one_server_share_its_connections() -> None:
    async with Loopback(reply(body=WHOLE)) as server:
        models = {name: {"kind": "compatible", "base_url": server.base_url} for name in ("a", "b", "c")}
        async with serving(path=CHAT, CHAT_MODELS=models) as client:
            for name in models:
                assert (await post(client, name)).status == 200
        assert [request.json["model"] for request in server.requests] == ["a", "b", "c"]
        assert server.connections == 1


async def test_a_token_is_fetched_for_each_request() -> None:
    numbers = itertools.count(1)

    async def number() -> str:
        return f"canary-token-{next(numbers)}"

    async with Loopback(reply(body=WHOLE)) as loopback, servers_open() as servers:
        server = servers.at(Address(loopback.base_url, token=number))
        for _ in range(2):
            await read(server)
        assert [request.headers["authorization"] for request in loopback.requests] == [
            "Bearer canary-token-1",
            "Bearer canary-token-2",
        ]


async def test_without_a_token_no_request_is_sent() -> None:
    async def refused() -> str:
        raise ChatError("upstream_error")

    async with Loopback(reply(body=WHOLE)) as loopback, servers_open() as servers:
        with pytest.raises(ChatError, match="upstream_error"):
            await read(servers.at(Address(loopback.base_url, token=refused)))
        assert loopback.connections == 0


async def test_a_flood_is_decoded_in_pieces_that_can_be_held_back() -> None:
    flood = b"a" * MIB
    async with Loopback(reply(body=flood)) as loopback, servers_open() as servers:
        pieces = await pieces_of(servers.at(Address(loopback.base_url)))
    assert b"".join(pieces) == flood
    assert max(map(len, pieces)) <= PIECE_BYTES


async def read(server: Server) -> bytes:
    """Return the bytes of an answer."""
    return b"".join(await pieces_of(server))


async def pieces_of(server: Server) -> list[bytes]:
    """Return the bytes of an answer in the pieces that its parser is fed with."""
    held: list[bytes] = []

    class Reads:
        error = None

        def feed(self, data: bytes) -> Any:
            held.append(data)

        def end(self) -> Any: ...

    async with aclosing(server.stream("/x", {}, lambda _: Reads())) as batches:
        async for _ in batches:
            pass
    return held


async def test_a_query_follows_each_path() -> None:
    async with Loopback(reply(body=WHOLE)) as loopback, servers_open() as servers:
        await read(servers.at(Address(loopback.base_url, query=(("api-version", "2024-10-21"), ("a b", "c&d")))))
        assert loopback.requests[0].target == "/v1/x?api-version=2024-10-21&a+b=c%26d"


async def test_headers_of_an_address_are_sent_with_the_chats_own() -> None:
    address = {"headers": (("x-title", "a"), ("user-agent", "ours")), "key": SecretStr("sk-1")}
    async with Loopback(reply(body=WHOLE)) as loopback, servers_open() as servers:
        await read(servers.at(Address(loopback.base_url, **address)))  # type: ignore[arg-type]
        headers = loopback.requests[0].headers
    assert (headers["x-title"], headers["user-agent"], headers["authorization"]) == ("a", "ours", "Bearer sk-1")


async def test_a_body_of_megabytes_arrives_complete() -> None:
    content = "x" * (5 * MIB)
    async with Loopback(reply(body=WHOLE)) as loopback, model_at(loopback.base_url) as model:
        assert await ask(model, ChatRequest([{"role": "user", "content": content}])) == "a."
        assert loopback.requests[0].json["messages"][0]["content"] == content
        assert loopback.requests[0].headers["content-length"] == str(len(loopback.requests[0].body))


async def test_the_early_refusal_of_a_large_body_is_reported_by_its_status() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(413, {"Content-Length": "2", "Connection": "close"}) + b"{}")
        await writer.drain()
        await reader.read()

    async with listening(refuse) as port, model_at(f"http://127.0.0.1:{port}/v1") as model:
        with pytest.raises(ChatError) as raised:
            await ask(model, ChatRequest([{"role": "user", "content": "x" * (20 * MIB)}]))
    assert describe(raised.value)["upstream"] == {"status": 413}


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Open a server that passes bare connections to `serve` and waits for their ends; yield its port."""
    tasks: list[asyncio.Future[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(serve(reader, writer)))
        tasks[-1].add_done_callback(lambda _: writer.close())

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])
    await asyncio.gather(*tasks)


# -- bytes without a request


def unasked(data: bytes) -> Callable[[asyncio.Event], Answer]:
    """Return a function that makes an answer. After the first one, the server sends `data` without a request."""

    def make(sent: asyncio.Event) -> Answer:
        async def answer(exchange: Exchange) -> None:
            await reply(body=WHOLE)(exchange)
            if exchange.request.connection == 0:
                await settle()
                await exchange.send(data)
                sent.set()

        return answer

    return make


ANOTHERS = WHOLE.replace(b'"a"', b'"another"')
WHOLE_HEAD = head(headers=EVENT_STREAM | {"Content-Length": str(len(ANOTHERS))})


@pytest.mark.parametrize(
    "data",
    [WHOLE_HEAD + ANOTHERS, WHOLE_HEAD, WHOLE_HEAD[:20], WHOLE_HEAD + ANOTHERS[:20], b"x", b"\r\n"],
    ids=["an answer", "a head", "half a head", "half an answer", "garbage", "an empty line"],
)
async def test_bytes_before_a_request_are_not_its_answer(data: bytes) -> None:
    sent = asyncio.Event()
    async with Loopback(unasked(data)(sent)) as server, model_at(server.base_url) as model:
        assert await ask(model) == "a."
        await sent.wait()
        await settle()
        assert await ask(model) == "a."
        assert [request.connection for request in server.requests] in ([0, 0], [0, 1])


async def test_bytes_after_an_answer_are_not_the_next_answer() -> None:
    async def answer(exchange: Exchange) -> None:
        first = head(headers=EVENT_STREAM | {"Content-Length": str(len(WHOLE))}) + WHOLE
        await exchange.send(first + (WHOLE_HEAD + ANOTHERS if exchange.request.connection == 0 else b""))

    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert [await ask(model), await ask(model)] == ["a.", "a."]
        assert server.connections == 2


class Talker:
    """A server in a thread of its own that sends first: its bytes arrive before the client reads."""

    def __init__(self, sent: bytes) -> None:
        self.port = 0
        self.connections: list[socket.socket] = []
        self._sent = sent
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Talker:
        self.port = self._listener.getsockname()[1]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in [self._listener, *self.connections]:
            each.close()

    def _run(self) -> None:
        with suppress(OSError):  # the listener was shut
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                connection.sendall(self._sent)
                connection.shutdown(socket.SHUT_WR)


async def failures_at(port: int, count: int) -> list[ChatError]:
    async with model_at(f"http://127.0.0.1:{port}/v1") as model, asyncio.timeout(10):
        return await asyncio.gather(*(failure(model) for _ in range(count)))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("sent", [b"220 mail.example\r\n", head(503, {"Connection": "close", "Content-Length": "0"})])
def test_a_server_that_sends_first_gets_one_connection_for_each_question(
    sent: bytes, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with Talker(sent) as server:
        for count in (1, 32):
            before = len(server.connections)
            with asyncio.Runner(loop_factory=loop) as runner:
                failures = runner.run(failures_at(server.port, count))
            assert {error.code for error in failures} <= {"upstream_error", "upstream_overloaded"}
            assert len(server.connections) - before == count


# -- a head, or a body, without an end

ENDLESS = {
    "header lines": Endless(b"HTTP/1.1 200 OK\r\n", b"A: aaaaaaaaaaaaaaaaaaa\r\n" * 1000),
    "a header": Endless(b"HTTP/1.1 200 OK\r\nA: ", b"a" * 65_536),
    "a reason": Endless(b"HTTP/1.1 200 ", b"a" * 65_536),
    "cookies": Endless(b"HTTP/1.1 200 OK\r\n", b"Set-Cookie: a=b; Path=/\r\n" * 1000),
    "trailers": Endless(CHUNKED_HEAD + http_chunk(TOKEN) + b"0\r\n", b"A: aaaaaaaaaaaaaaaaaaaa\r\n" * 1000),
    "a trailer": Endless(CHUNKED_HEAD + http_chunk(TOKEN) + b"0\r\nA: ", b"a" * 65_536),
}


@pytest.mark.parametrize("path", ["/v1", "/canary/v1"])
async def test_a_server_that_cannot_be_reached_is_named_to_the_operator_by_host_and_port(path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with model_at(f"http://127.0.0.1:{port}{path}") as model:
        fields = describe(await failure(model))
    assert (fields["error"], fields["upstream"]) == ("upstream_error", {"address": f"127.0.0.1:{port}"})


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_endless_head_or_trailer_is_an_upstream_error(kind: str) -> None:
    answer = ENDLESS[kind]
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert await peak_bytes(model) < 8 * MIB
        await answer.left.wait()
    assert answer.sent < 8 * MIB


SILENT_NOISE = {
    "100 Continue": (Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "FIRST_EVENT"),
    "103 Early Hints": (
        Endless(b"", (b"HTTP/1.1 103 Early Hints\r\n" + b"Link: x\r\n" * 20 + b"\r\n") * 100),
        "FIRST_EVENT",
    ),
    "empty lines": (Endless(b"", b"\r\n" * 30_000), "FIRST_EVENT"),
    "noughts before a size": (Endless(CHUNKED_HEAD + http_chunk(TOKEN), b"0" * 65_536), "IDLE"),
    "an extension of a chunk": (Endless(CHUNKED_HEAD + http_chunk(TOKEN) + b"5;", b"a" * 65_536), "IDLE"),
}


@pytest.mark.parametrize("kind", SILENT_NOISE)
async def test_noise_without_events_ends_with_the_time_limit_and_uses_little_memory(kind: str) -> None:
    answer, limit = SILENT_NOISE[kind]
    settings: dict[str, Any] = {"CHAT_RETRIES": 0, f"CHAT_{limit}_TIMEOUT_S": 0.3}
    async with Loopback(answer) as server, serving(path=CHAT, **offered_by(server), **settings) as client:
        with Memory() as memory:
            error = (await client.ask()).error
        await answer.left.wait()
    assert error["code"] == "upstream_timeout"
    assert memory.peak_bytes < 16 * MIB


async def test_a_hundred_cookies_are_neither_stored_nor_sent_back() -> None:
    cookies = b"".join(b"Set-Cookie: c%d=%d; Path=/\r\n" % (n, n) for n in range(100))
    response = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (cookies, len(WHOLE), WHOLE)

    async def answer(exchange: Exchange) -> None:
        await exchange.send(response)

    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert [await ask(model), await ask(model)] == ["a.", "a."]
        assert "cookie" not in server.requests[1].headers


# -- compressed


def packed(data: bytes, coding: str) -> bytes:
    return gzip.compress(data) if coding == "gzip" else zlib.compress(data)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "content", [b": %b\n" % (b"x" * 60), b'data: {"choices":[]}\n\n'], ids=["comments", "empty chunks"]
)
async def test_a_compressed_flood_is_truncated_at_the_maximum_size_of_an_answer(coding: str, content: bytes) -> None:
    body = packed(TOKEN + content * (32 * MIB // len(content)), coding)
    answer = reply(body=body, headers=EVENT_STREAM | {"Content-Encoding": coding})
    settings: dict[str, Any] = {"CHAT_RETRIES": 0, "CHAT_MAX_ANSWER_BYTES": MIB}
    async with Loopback(answer) as server, serving(path=CHAT, **offered_by(server), **settings) as client:
        with Memory() as memory:
            error = (await client.ask()).error
    assert error["code"] == "upstream_error"
    assert memory.peak_bytes < 16 * MIB


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "x-unknown", "gzip, gzip, gzip, gzip, gzip, gzip"])
async def test_a_coding_that_cannot_be_read_is_an_upstream_error(coding: str) -> None:
    body = bytes(range(255, 0, -1)) + b"\n"
    answer = reply(body=body, headers=EVENT_STREAM | {"Content-Encoding": coding})
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert (await failure(model)).code == "upstream_error"


# -- connecting


class Held:
    """An upstream that answers each request with a token, and ends the answers on request."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.received = asyncio.Semaphore(0)

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.send(CHUNKED_HEAD + http_chunk(TOKEN))
        self.received.release()
        await self.go.wait()
        await exchange.send(http_chunk(WHOLE.removeprefix(TOKEN)) + http_chunk(b""))


async def test_if_all_connections_are_busy_the_next_request_waits() -> None:
    answer = Held()
    async with Loopback(answer) as server, model_at(server.base_url, CHAT_MAX_CONNECTIONS=2) as model:
        tasks = [asyncio.ensure_future(ask(model)) for _ in range(5)]
        for _ in range(2):
            await answer.received.acquire()
        await settle()
        assert (server.connections, len(server.requests)) == (2, 2)
        answer.go.set()
        assert await asyncio.gather(*tasks) == ["a."] * 5
        assert server.connections == 2


async def test_if_no_connection_is_free_in_time_the_server_is_overloaded() -> None:
    answer = Held()
    settings = {"CHAT_MAX_CONNECTIONS": 1, "CHAT_CONNECT_TIMEOUT_S": 0.1}
    async with Loopback(answer) as server, model_at(server.base_url, **settings) as model:
        first = asyncio.ensure_future(ask(model))
        await answer.received.acquire()
        error = await failure(model)
        assert (error.code, type(error.__cause__).__name__) == ("upstream_overloaded", "PoolTimeout")
        answer.go.set()
        assert await first == "a."
        assert await ask(model) == "a."
        assert len(server.requests) == 2


async def test_a_request_from_the_queue_that_cannot_connect_reports_that() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    settings = {"CHAT_MAX_CONNECTIONS": 1, "CHAT_CONNECT_TIMEOUT_S": 0.6}
    async with listening(silence) as port, model_at(f"https://127.0.0.1:{port}/v1", **settings) as model:
        first = asyncio.ensure_future(failure(model))
        await asyncio.sleep(0.3)  # half of the first request's time is over, and later half of the second's
        errors = await asyncio.gather(first, failure(model))
    assert {type(error.__cause__).__name__ for error in errors} == {"ConnectionTimeoutError"}


async def test_a_cancelled_request_in_the_queue_takes_no_connection() -> None:
    answer = Held()
    async with Loopback(answer) as server, model_at(server.base_url, CHAT_MAX_CONNECTIONS=1) as model:
        first, left, last = (asyncio.ensure_future(ask(model)) for _ in range(3))
        await answer.received.acquire()
        await settle()
        left.cancel()
        answer.go.set()
        assert [await first, await last] == ["a.", "a."]
        assert (left.cancelled(), len(server.requests)) == (True, 2)


async def test_a_server_that_never_ends_its_handshake_times_out() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with (
        listening(silence) as port,
        model_at(f"https://127.0.0.1:{port}/v1", CHAT_CONNECT_TIMEOUT_S=0.1) as model,
    ):
        error = await failure(model)
    assert (error.code, type(error.__cause__).__name__) == ("upstream_error", "ConnectionTimeoutError")


class DeafLoop(asyncio.SelectorEventLoop):
    """A loop whose names are never found, nor found not to be there."""

    async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()


def test_a_name_that_is_never_resolved_times_out() -> None:
    async def error_of() -> ChatError:
        async with model_at("http://model.example/v1", CHAT_CONNECT_TIMEOUT_S=0.1) as model:
            return await failure(model)

    with asyncio.Runner(loop_factory=DeafLoop) as runner:
        error = runner.run(error_of())
    assert (error.code, type(error.__cause__).__name__) == ("upstream_error", "ConnectionTimeoutError")


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    left = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await reply(body=WHOLE)(exchange)
        await exchange.client_leaves()
        left.set()

    async with Loopback(answer) as server, model_at(server.base_url, CHAT_CONNECTION_KEEP_ALIVE_S=0.1) as model:
        await ask(model)
        await left.wait()
        assert server.connections == 1


async def test_an_answer_that_lasts_longer_than_connecting_may_is_not_disturbed() -> None:
    answer = Held()
    async with Loopback(answer) as server, model_at(server.base_url, CHAT_CONNECT_TIMEOUT_S=0.05) as model:
        task = asyncio.ensure_future(ask(model))
        await answer.received.acquire()
        await asyncio.sleep(0.1)  # the limit passes
        answer.go.set()
        assert await task == "a."


# -- integers, and refusals


async def test_a_refusal_whose_body_never_comes_is_a_refusal() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.send(head(400, {"Content-Length": "100"}) + b"{")
        with suppress(ConnectionError):
            await exchange.client_leaves()

    async with Loopback(refuse) as server, model_at(server.base_url) as model, asyncio.timeout(20):
        assert (await failure(model)).code == "upstream_refused"


async def test_integers_of_any_size_are_sent_unchanged() -> None:
    number = 2**70
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"maximum": number, "é": "日本"}}}]
    request = ChatRequest([{"role": "user", "content": "a"}], params={"tools": tools})
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url) as model:
        assert await ask(model, request) == "a."
        assert server.requests[0].json["tools"] == tools


# -- connections that have died while they were kept


class Dying(Loopback):
    """A server whose first connections die under their second request: `die` ends each, after `late` or at once."""

    def __init__(self, die: Callable[[Exchange], Awaitable[None]], dying: int) -> None:
        super().__init__(self._answer)
        self._die = die
        self._dying = dying
        self.arrived = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def _answer(self, exchange: Exchange) -> None:
        number = exchange.request.connection
        if number < self._dying and sum(each.connection == number for each in self.requests) > 1:
            await self._die(exchange)
            return
        self.arrived.release()
        await self.go.wait()
        await reply(body=WHOLE)(exchange)


async def close_it(exchange: Exchange) -> None:
    exchange.close()


async def reset_it(exchange: Exchange) -> None:
    exchange.reset()


async def half_a_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-")
    exchange.close()


@asynccontextmanager
async def kept(server: Dying, count: int) -> AsyncIterator[Any]:
    """Yield a model without retries that keeps `count` connections to `server`."""
    async with server, model_at(server.base_url, CHAT_RETRIES=0) as model:
        tasks = [asyncio.ensure_future(ask(model)) for _ in range(count)]
        for _ in range(count):
            await server.arrived.acquire()
        server.go.set()
        assert set(await asyncio.gather(*tasks)) == {"a."}
        assert server.connections == count
        server.requests.clear()
        server.requests.extend(Received(number, "", "", {}, b"") for number in range(count))
        yield model


@pytest.mark.parametrize("die", [close_it, reset_it])
async def test_ten_dead_kept_connections_cause_no_error_and_are_dropped_together(
    die: Callable[[Exchange], Awaitable[None]],
) -> None:
    server = Dying(die, 10)
    async with kept(server, 10) as model:
        assert await asyncio.gather(*(ask(model) for _ in range(20))) == ["a."] * 20
    server = Dying(die, 10)
    async with kept(server, 10) as model:
        assert await ask(model) == "a."
        assert await ask(model) == "a."
        dead = [request for request in server.requests[10:] if request.connection < 10]
        assert len(dead) == 1


async def test_a_request_is_not_sent_again_once_a_byte_of_its_response_has_come() -> None:
    server = Dying(half_a_head, 1)
    async with kept(server, 1) as model:
        assert (await failure(model)).code == "upstream_error"
        assert len(server.requests) == 2


@pytest.mark.parametrize("die", [close_it, reset_it])
async def test_a_request_over_a_fresh_connection_is_not_sent_again(die: Callable[[Exchange], Awaitable[None]]) -> None:
    async with Loopback(die) as server, model_at(server.base_url, CHAT_RETRIES=0) as model:
        assert (await failure(model)).code == "upstream_error"
        assert len(server.requests) == 1
