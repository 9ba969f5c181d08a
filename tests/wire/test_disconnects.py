"""Disconnects, of any kind and at any time: each one cancels the upstream request, so no more tokens are billed."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter

import pytest

from tests.support.http_client import RawClient, in_each_format
from tests.support.raw_upstreams import RawUpstream
from tests.support.sampling import SOAK
from tests.support.serving import Server, Servers, eventually, upstream_settings
from tests.support.wire_formats import FORMATS, STREAMED, TEXT, Format

OPEN_STREAMS = 25
# At once, that is; the rest is room for a busy machine. No limit of the answers ends them that soon.
CLOSED_WITHIN_S = 3.0

each_server = pytest.mark.parametrize("kind", ["hypercorn", "gunicorn"])
each_format = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)

# The soak repeats a disconnect so often that a race that is lost once in fifty times shows.
often = pytest.mark.parametrize("clients", [10, pytest.param(100, marks=SOAK)])
each_way = pytest.mark.parametrize("how", ["close", "reset", "half_close"])

# What the upstream does, and whether it has sent a token before the disconnect, which is read if the format shows it.
each_moment = pytest.mark.parametrize(
    ("prompt", "has_token"),
    [("no_head", False), ("stall:0", False), ("trickle", True), ("stall:1", True)],
    ids=["before the head", "before the first token", "mid-stream", "upstream silent"],
)


def settings(upstream: RawUpstream) -> dict[str, str]:
    """Allow as many open streams as disconnect at once, because the next ones need the slots of those before."""
    limits = {"CHAT_MAX_OPEN_STREAMS": str(OPEN_STREAMS), "CHAT_MAX_ANSWER_BYTES": str(2**30)}
    return upstream_settings(upstream.base_url) | limits


async def disconnect(
    server: Server, upstream: RawUpstream, how: str, prompt: str, has_token: bool, format: Format
) -> str:
    """Connect one client and disconnect it. Return its tag once the upstream's connection is closed."""
    tag = secrets.token_hex(8)
    async with await RawClient.ask(server, prompt, tag, format) as client:
        exchange = await upstream.exchange(tag)
        if has_token:
            await (client.read_until(b"token ") if format.is_streamed else asyncio.wrap_future(exchange.has_sent))
            exchange.go()
        client.leave(how)
        async with asyncio.timeout(CLOSED_WITHIN_S):
            await asyncio.wrap_future(exchange.closed)
        if how == "half_close":
            assert not (await client.read()).is_whole
    return tag


@pytest.mark.sampled("format", "prompt")
@each_server
@often
@each_format
@each_way
@each_moment
async def test_the_upstream_is_closed_each_time(
    kind: str,
    format: Format,
    clients: int,
    how: str,
    prompt: str,
    has_token: bool,
    servers: Servers,
    raw_upstream: RawUpstream,
) -> None:
    server = servers.get(kind, **settings(raw_upstream))
    log_size = len(server.log_text())
    tags: list[str] = []
    while len(tags) < clients:
        at_once = range(min(clients, OPEN_STREAMS))
        disconnects = (disconnect(server, raw_upstream, how, prompt, has_token, format) for _ in at_once)
        tags += await asyncio.gather(*disconnects)
    endings = await logged_endings(server, tags)
    assert endings == Counter({(tag, "client_disconnected"): 1 for tag in tags})
    assert "Traceback" not in server.log_text()[log_size:]
    await eventually(lambda: server.upstream_connections(raw_upstream.port) == 0)


async def logged_endings(server: Server, tags: list[str]) -> Counter[tuple[str, str]]:
    """Return the ending of each of the answers, once the log has a line for each of them."""
    lines = await eventually(lambda: _lines(server, set(tags)))
    return Counter((line["client_id"], line["ending"]) for line in lines)


def _lines(server: Server, tags: set[str]) -> list[dict[str, str]]:
    lines = [line for line in server.answer_lines() if line.get("client_id") in tags]
    return lines if len(lines) >= len(tags) else []


@pytest.mark.sampled
@each_server
@each_format
@each_way
async def test_a_flood_ends_when_its_client_disconnects(
    kind: str, format: Format, how: str, servers: Servers, raw_upstream: RawUpstream
) -> None:
    """One after the other: several would take each other's time, for they share a core with their upstream."""
    server = servers.get(kind, **settings(raw_upstream))
    tags = [await disconnect(server, raw_upstream, how, "endless_body:1", True, format) for _ in range(3)]
    assert await logged_endings(server, tags) == Counter({(tag, "client_disconnected"): 1 for tag in tags})


@each_server
async def test_a_disconnect_makes_room_for_the_next_client(
    kind: str, servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = servers.get(kind, **settings(raw_upstream))
    disconnects = (disconnect(server, raw_upstream, "close", "stall:1", True, TEXT) for _ in range(OPEN_STREAMS))
    await asyncio.gather(*disconnects)
    async with await RawClient.ask(server, "whole:3", secrets.token_hex(8), TEXT) as client:
        assert (await client.read()).is_whole
    assert (client.status, client.body) == (200, b"token " * 3)


@each_server
async def test_a_disconnect_while_a_hosts_hook_delays_the_response(
    kind: str, servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = servers.start(kind, "slow_hook:app", **settings(raw_upstream))

    async def check(format: Format) -> None:
        tag = secrets.token_hex(8)
        async with await RawClient.ask(server, "stall:1", tag, format) as client:
            exchange = await raw_upstream.exchange(tag)
            await eventually(lambda: server.log_text().count("the hook holds a response back") == len(STREAMED))
            client.leave("close")
            async with asyncio.timeout(CLOSED_WITHIN_S):
                await asyncio.wrap_future(exchange.closed)
        lines = await eventually(lambda: server.answer_lines(client_id=tag))
        assert [line["ending"] for line in lines] == ["client_disconnected"]

    await in_each_format(check, STREAMED)
    assert "Traceback" not in server.log_text()
