"""Many answers at once, one answer for long, and the limit of how many may be open."""

from __future__ import annotations

import asyncio
import resource
import secrets
import time
from collections.abc import Iterator

import pytest

from tests.support.http_client import LongAnswers, RawClient
from tests.support.raw_upstreams import RawUpstream
from tests.support.sampling import SOAK
from tests.support.serving import Server, Servers, eventually, upstream_settings
from tests.support.wire_formats import FORMATS, Format

STREAMS = 1000
FEW_STREAMS = 250
CONNECTING_AT_ONCE = 50

# hypercorn keeps a connection that its client has closed until its own keep-alive timeout.
CLOSED_KEPT_FOR_S = 5


def app(kind: str, servers: Servers, upstream: RawUpstream, **more: str) -> Server:
    """Start a server with default settings, except `more`."""
    return servers.get(kind, **upstream_settings(upstream.base_url), **more)


@pytest.fixture(scope="module")
def _many_files() -> Iterator[None]:
    """Allow as many files as both ends' sockets need, because the upstream runs in this process too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * STREAMS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def open_streams(server: Server, tags: list[str]) -> list[RawClient]:
    """Return a client for each tag that has read its first token."""
    slots = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def open_stream(tag: str) -> RawClient:
        async with slots:
            client = await RawClient.ask(server, "one_more:1", tag)
            await client.read_until(b"token ")
        return client

    return await asyncio.gather(*map(open_stream, tags))


@pytest.mark.usefixtures("_many_files")
@pytest.mark.parametrize("streams", [FEW_STREAMS, pytest.param(STREAMS, marks=SOAK)])
async def test_many_open_streams_leave_no_connections_and_no_memory(
    streams: int, servers: Servers, raw_upstream: RawUpstream
) -> None:
    # A server without other answers: each connection counts.
    server = app("hypercorn", servers, raw_upstream, CHAT_MAX_OPEN_STREAMS=str(streams + 1))
    async with await RawClient.ask(server, "whole:1", secrets.token_hex(8)) as client:
        await client.read()
    files = server.open_fds()
    tags = [secrets.token_hex(8) for _ in range(streams)]
    clients = await open_streams(server, tags)
    await a_new_request_is_answered(server)
    for tag in tags:
        (await raw_upstream.exchange(tag)).go()
    await asyncio.gather(*(client.read_until(b"more") for client in clients))
    await asyncio.gather(*(client.close() for client in clients))
    await eventually(lambda: server.upstream_connections(raw_upstream.port) == 0, 10)
    await eventually(lambda: server.open_fds() <= files, 10)
    assert sum(line.get("client_id") in tags for line in server.answer_lines(ending="client_disconnected")) == streams
    assert "Traceback" not in server.log_text()


async def a_new_request_is_answered(server: Server) -> None:
    """The limit only ends the wait. The test prints how long it was and does not check it."""
    started = time.monotonic()
    async with asyncio.timeout(2), await RawClient.ask(server, "whole:1", secrets.token_hex(8)) as client:
        assert (await client.read()).is_whole
    print(f"a new request next to the open streams: {(time.monotonic() - started) * 1000:.0f} ms")  # noqa: T201


async def test_a_stream_too_many_is_refused_at_once_and_its_upstream_never_called(
    servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = app("hypercorn", servers, raw_upstream, CHAT_MAX_OPEN_STREAMS="3")
    clients = await open_streams(server, [secrets.token_hex(8) for _ in range(3)])
    tag = secrets.token_hex(8)
    async with asyncio.timeout(1), await RawClient.ask(server, "whole:1", tag) as refused:
        await refused.read()
    assert (refused.status, refused.refused) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert raw_upstream.requests(tag) == 0
    clients[0].leave("close")
    await eventually(lambda: server.answer_lines(ending="client_disconnected"))
    async with await RawClient.ask(server, "whole:1", secrets.token_hex(8)) as accepted:
        assert (await accepted.read()).is_whole
    await asyncio.gather(*(client.close() for client in clients))


@pytest.mark.parametrize("kind", ["quartapp", "gunicorn"])
async def test_connections_that_clients_have_closed_hold_no_files(
    kind: str, servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = app(kind, servers, raw_upstream)
    await keep_and_close(server)
    files = await asyncio.to_thread(server.open_fds)
    for _ in range(20):
        await keep_and_close(server)
    await eventually(lambda: server.open_fds() <= files, CLOSED_KEPT_FOR_S + 5)


async def keep_and_close(server: Server) -> None:
    """Open a client that could send another request on its connection, and close it."""
    async with await RawClient.ask(server, "whole:1", secrets.token_hex(8), connection="keep-alive") as client:
        assert (await client.read()).is_whole


@SOAK
@pytest.mark.slow
@pytest.mark.timeout(LongAnswers.SECONDS + 30)
@pytest.mark.parametrize("kind", LongAnswers.KINDS)
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
async def test_an_answer_of_75_seconds_is_complete_with_default_settings(
    kind: str, format: Format, long_answers: LongAnswers
) -> None:
    server, client = await long_answers.read(kind, format)
    assert client.seen == "whole"
    assert client.body.count(b"token ") == LongAnswers.TOKENS
    [line] = server.answer_lines(id=client.headers["x-request-id"])
    assert line["ending"] == "done"
    assert line["total_ms"] >= LongAnswers.SECONDS * 1000
    assert "Traceback" not in server.log_text()
