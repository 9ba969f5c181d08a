"""Tools in Python under real servers: disconnects and the end of the process cancel them."""

from __future__ import annotations

import asyncio
import secrets
import signal

import pytest

from tests.support.http_client import RawClient
from tests.support.sampling import SOAK
from tests.support.serving import Server, Servers, eventually, upstream_settings
from tests.support.tool_upstreams import Scripts, answering, call, calling
from tests.support.wire_formats import DONE, FORMATS, NDJSON, TEXT, Format

CANCELLED_WITHIN_S = 3.0
ENDS_WITHIN_S = 10.0

SCRIPTS = {
    "plain": [calling(call("weather", {"city": "Bern"}), text="Let me look."), answering("It is sunny.")],
    "wait": [calling(call("wait"), text="Wait."), answering("It is sunny.")],
    "hang": [calling(call("hang"), text="Wait."), answering("It is sunny.")],
}
HOSTS = {"hypercorn": "tools_host:app", "gunicorn": "tools_host:app", "gthread": "flask_tools:app"}

each_server = pytest.mark.parametrize(
    "kind", ["hypercorn", *(pytest.param(kind, marks=SOAK) for kind in ("gthread", "gunicorn"))]
)


async def start(servers: Servers, kind: str, upstream: Scripts, **settings: str) -> Server:
    environment = upstream_settings(upstream.base_url) | settings
    return await asyncio.to_thread(servers.start, kind, HOSTS[kind], **environment)


async def endings(server: Server, tag: str) -> list[str]:
    lines = await eventually(lambda: server.answer_lines(client_id=tag))
    return [line["ending"] for line in lines]


@each_server
async def test_each_client_gets_the_end_and_a_disconnect_cancels_a_tool(kind: str, servers: Servers) -> None:
    async with Scripts(SCRIPTS) as upstream:
        server = await start(servers, kind, upstream)
        for form in FORMATS:
            async with await RawClient.ask(server, "plain", secrets.token_hex(8), form) as client:
                await client.read()
            assert client.seen == "whole"
        for number, form in enumerate(FORMATS, start=1):
            await check_disconnect(server, form, number)


async def check_disconnect(server: Server, form: Format, number: int) -> None:
    tag = secrets.token_hex(8)
    async with await RawClient.ask(server, "wait", tag, form) as client:
        await eventually(lambda: server.log_text().count("the tool waits") == number)
        client.leave("close")
        await eventually(lambda: server.log_text().count("the tool was cancelled") == number, CANCELLED_WITHIN_S)
    assert await endings(server, tag) == ["client_disconnected"]


@pytest.mark.parametrize("kind", ["hypercorn", pytest.param("gunicorn", marks=SOAK)])
async def test_the_end_of_the_process_cancels_tools_and_reports_it(kind: str, servers: Servers) -> None:
    async with Scripts(SCRIPTS) as upstream:
        server = await start(servers, kind, upstream, GUNICORN_CMD_ARGS="--graceful-timeout 6")
        async with (
            await RawClient.ask(server, "wait", secrets.token_hex(8), NDJSON) as waiting,
            await RawClient.ask(server, "hang", secrets.token_hex(8), NDJSON) as hanging,
        ):
            for text in ("the tool waits", "the tool hangs"):
                await server.wait_for_log(text)
            server.signal(signal.SIGTERM)
            for client in (waiting, hanging):
                await client.read()
                assert client.ending == "shutting_down"
        await server.exit_code(ENDS_WITHIN_S)
    assert "the tool was cancelled" in server.log_text()
    assert server.log_text().count("the answer has ended with shutting_down") == 2


@each_server
async def test_a_sync_tool_that_hangs_ends_within_its_limit(kind: str, servers: Servers) -> None:
    async with Scripts(SCRIPTS) as upstream:
        server = await start(servers, kind, upstream, CHAT_TOOL_TIMEOUT_S="0.3")
        for form in (NDJSON, TEXT):
            async with await RawClient.ask(server, "hang", secrets.token_hex(8), form) as client:
                await client.read()
            assert client.seen == "whole"
            assert form is TEXT or client.ending == DONE
