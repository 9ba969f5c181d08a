"""A client that stops reading an answer larger than the kernel's buffers: given up, and soon gone altogether."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack

import pytest

from tests.support.http_client import RawClient, in_each_format
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import ROOT, Server, Servers, eventually, upstream_settings
from tests.support.wire_formats import STREAMED, Format

WRITE_TIMEOUT_S = 2.0
GIVEN_UP_WITHIN_S = WRITE_TIMEOUT_S + 8
SOCKET_GONE_WITHIN_S = 12.0
MAX_GROWTH_BYTES = 30 * 2**20

STALLED = 200
MAX_MIB_OF_EACH = 2
SAMPLES = 50
SECURITY = ROOT / "docs" / "explanation" / "security.md"

each_server = pytest.mark.parametrize("kind", ["quartapp", "gunicorn"])


@pytest.fixture
def server(kind: str, servers: Servers, raw_upstream: RawUpstream) -> Server:
    return servers.get(kind, **upstream_settings(raw_upstream.base_url), CHAT_WRITE_TIMEOUT_S=str(WRITE_TIMEOUT_S))


async def stall(server: Server, upstream: RawUpstream, format: Format) -> None:
    """Run one client that stops reading after the first token, until its answer is closed."""
    tag = secrets.token_hex(8)
    async with await RawClient.ask(server, "endless_body:1", tag, format, receive_buffer_bytes=4096) as client:
        await client.read_until(b"token ")
        client.stop_taking()
        exchange = await upstream.exchange(tag)
        exchange.go()
        async with asyncio.timeout(GIVEN_UP_WITHIN_S):
            await asyncio.wrap_future(exchange.closed)
        lines = await eventually(lambda: server.answer_lines(client_id=tag))
        assert [line["ending"] for line in lines] == ["client_stalled"]
        await eventually(lambda: server.upstream_connections(client.port) == 0, SOCKET_GONE_WITHIN_S)


@each_server
async def test_a_stalled_client_times_out_and_its_socket_is_closed(server: Server, raw_upstream: RawUpstream) -> None:
    async with await RawClient.ask(server, "whole:1", secrets.token_hex(8)) as client:
        await client.read()
    rss_bytes = server.rss_bytes()
    await in_each_format(lambda format: stall(server, raw_upstream, format), STREAMED)
    assert server.rss_bytes() - rss_bytes < MAX_GROWTH_BYTES
    assert "Traceback" not in server.log_text()


@each_server
async def test_a_stalled_client_that_then_disconnects_is_logged_once(server: Server, raw_upstream: RawUpstream) -> None:
    tag = secrets.token_hex(8)
    async with await RawClient.ask(server, "endless_body:1", tag, receive_buffer_bytes=4096) as client:
        await client.read_until(b"token ")
        client.stop_taking()
        exchange = await raw_upstream.exchange(tag)
        exchange.go()
        await eventually(lambda: server.answer_lines(client_id=tag), GIVEN_UP_WITHIN_S)
        client.leave("reset")
        await eventually(lambda: server.upstream_connections(client.port) == 0)
    assert len(server.answer_lines(client_id=tag)) == 1
    assert "Traceback" not in server.log_text()


@pytest.mark.soak
async def test_each_stalled_client_uses_no_more_memory_than_documented(
    servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = servers.start("quartapp", **upstream_settings(raw_upstream.base_url), CHAT_WRITE_TIMEOUT_S="60")
    tags = [secrets.token_hex(8) for _ in range(STALLED + 1)]
    async with AsyncExitStack() as stack:

        async def stalled(tag: str) -> None:
            client = await RawClient.ask(server, "endless_body:1", tag, receive_buffer_bytes=4096)
            stack.push_async_callback(client.close)
            await client.read_until(b"token ")
            client.stop_taking()
            (await raw_upstream.exchange(tag)).go()

        await stalled(tags[0])
        before = await settled(server)
        for tag in tags[1:]:
            await stalled(tag)
        growth = await settled(server) - before
        assert server.answer_lines() == []  # all of them are open
    assert growth / STALLED < MAX_MIB_OF_EACH * 2**20
    assert f"holds less than {MAX_MIB_OF_EACH} MiB" in SECURITY.read_text(encoding="utf-8")


async def settled(server: Server) -> int:
    """Return the memory of the server once it has stopped growing, because the buffers of each answer are full."""
    samples: list[int] = []

    def has_stopped() -> bool:
        samples.append(server.rss_bytes())
        return len(samples) > SAMPLES and samples[-1] <= samples[-SAMPLES]

    await eventually(has_stopped, 20)
    return samples[-1]
