"""nginx with its defaults in front of the app, over any version of HTTP: as direct, except for text over HTTP/1.0."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import pytest

from tests.support.faults import LIMITS, REPRESENTATIVES, Phase, check_each_form, nothing_left, of_phase, warm
from tests.support.http_client import Endpoint, RawClient, in_each_format
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import Nginx, Server, Servers, eventually, upstream_settings
from tests.support.wire_formats import FORMATS, STREAMED, Format

# At once, that is; the rest is room for a busy machine. No limit of the answers ends them that soon.
CLOSED_WITHIN_S = 3.0

HTTP_1_0 = "HTTP/1.0"
DIRECTIVES = {HTTP_1_0: "", "HTTP/1.1": "proxy_http_version 1.1;"}

#: Pings from the start, and whenever nothing was sent for a moment.
PINGS = {"CHAT_STATUS_TIMEOUT_S": "0.2", "CHAT_KEEP_ALIVE_S": "0.2"}

each_server = pytest.mark.parametrize("kind", ["hypercorn", "gunicorn"])
each_hop = pytest.mark.parametrize("hop", DIRECTIVES)


@pytest.fixture
def before(servers: Servers, needs: Callable[[str], str], hop: str) -> Callable[[Server], Nginx]:
    """Start nginx in front of a server."""
    return lambda server: servers.proxy(needs("nginx"), server, DIRECTIVES[hop])


@each_server
@each_hop
@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
async def test_a_client_behind_nginx_gets_the_ending_in_the_matrix(
    kind: str, hop: str, phase: Phase, before: Callable[[Server], Nginx], servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = await warm(servers.get(kind, **upstream_settings(raw_upstream.base_url), **LIMITS))
    faults = of_phase(phase, REPRESENTATIVES)
    await check_each_form(before(server), server, raw_upstream, faults, over_http_1_0=hop == HTTP_1_0)


@each_server
@each_hop
async def test_each_token_comes_through_before_the_next_is_made(
    kind: str, before: Callable[[Server], Nginx], servers: Servers, raw_upstream: RawUpstream
) -> None:
    endpoint = before(servers.get(kind, **upstream_settings(raw_upstream.base_url), **PINGS))

    async def check(format: Format) -> None:
        tag = secrets.token_hex(8)
        async with await RawClient.ask(endpoint, "one_more:1", tag, format) as client:
            await client.read_until(b"token ")
            assert b"more" not in client.body
            (await raw_upstream.exchange(tag)).go()
            await client.read_until(b"more")

    await in_each_format(check, STREAMED)


@each_server
@each_hop
@pytest.mark.parametrize("prompt", ["no_head", "stall:1"])
async def test_pings_come_through(
    kind: str, prompt: str, before: Callable[[Server], Nginx], servers: Servers, raw_upstream: RawUpstream
) -> None:
    endpoint = before(servers.get(kind, **upstream_settings(raw_upstream.base_url), **PINGS))

    async def check(format: Format) -> None:
        async with await RawClient.ask(endpoint, prompt, secrets.token_hex(8), format) as client:
            await client.read_until(format.ping, times=2 if prompt == "no_head" else 1)

    await in_each_format(check, [format for format in FORMATS if format.has_records])


@each_server
@each_hop
@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
@pytest.mark.parametrize("prompt", ["no_head", "stall:1"])
async def test_a_disconnect_from_nginx_cancels_the_upstream_request(
    kind: str,
    how: str,
    prompt: str,
    before: Callable[[Server], Nginx],
    servers: Servers,
    raw_upstream: RawUpstream,
) -> None:
    server = await warm(servers.get(kind, **upstream_settings(raw_upstream.base_url), **PINGS))
    endpoint = before(server)
    async with nothing_left(server, raw_upstream.port):
        await in_each_format(lambda format: disconnect(endpoint, server, raw_upstream, prompt, how, format))


async def disconnect(
    endpoint: Endpoint, server: Server, upstream: RawUpstream, prompt: str, how: str, format: Format
) -> None:
    """Disconnect one client from `endpoint`, after the first token if it can read one."""
    tag = secrets.token_hex(8)
    async with await RawClient.ask(endpoint, prompt, tag, format) as client:
        exchange = await upstream.exchange(tag)
        if prompt != "no_head" and format.is_streamed:
            await client.read_until(b"token ")
        client.leave(how)
        async with asyncio.timeout(CLOSED_WITHIN_S):
            await asyncio.wrap_future(exchange.closed)
    lines = await eventually(lambda: server.answer_lines(client_id=tag))
    assert [line["ending"] for line in lines] == ["client_disconnected"]
