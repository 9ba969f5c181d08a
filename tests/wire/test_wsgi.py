"""A Flask project with a chat under WSGI servers: the fault matrix, the disconnect matrix, threads and processes."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.support.faults import LIMITS, Phase, check_each_form, of_phase, warm
from tests.support.http_client import RawClient
from tests.support.raw_upstreams import RawUpstream
from tests.support.sampling import SOAK
from tests.support.serving import ROOT, Server, Servers, eventually, upstream_settings
from tests.support.wire_formats import NDJSON, TEXT, Format
from tests.wire.test_disconnects import disconnect, each_format, each_moment, each_way, logged_endings, often

APP = "flask_chat:app"
CLIENTS = 10
HOSTS = ROOT / "tests" / "support" / "hosts"

each_server = pytest.mark.parametrize("kind", ["gthread", "waitress"])


def served(servers: Servers, kind: str, **settings: str) -> Server:
    return servers.get(kind, APP, **settings)


@pytest.mark.parametrize("kind", ["gthread", pytest.param("waitress", marks=SOAK)])
@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
async def test_a_client_knows_in_each_form_whether_the_answer_is_complete(
    kind: str, phase: Phase, servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = await warm(served(servers, kind, **upstream_settings(raw_upstream.base_url), **LIMITS))
    await check_each_form(server, server, raw_upstream, of_phase(phase))


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
    server = served(servers, kind, **upstream_settings(raw_upstream.base_url))
    tags: list[str] = []
    while len(tags) < clients:
        at_once = range(min(clients, CLIENTS))
        tags += await asyncio.gather(
            *(disconnect(server, raw_upstream, how, prompt, has_token, format) for _ in at_once)
        )
    assert await logged_endings(server, tags) == Counter({(tag, "client_disconnected"): 1 for tag in tags})
    await eventually(lambda: server.upstream_connections(raw_upstream.port) == 0)


async def ask(server: Server, prompt: str, format: Format = TEXT) -> RawClient:
    return await RawClient.ask(server, prompt, secrets.token_hex(8), format)


@pytest.mark.parametrize("kind", ["flask", "flask --debug"])
async def test_a_truncated_text_is_aborted_by_the_server_of_flask(kind: str, servers: Servers) -> None:
    """Its debugger would end the body as if it were complete, and log a traceback."""
    server = servers.start_fresh(kind, APP, CHAT_MOCK_TOKENS_PER_S="0")
    async with await RawClient.ask(server, "count to 6", secrets.token_hex(8), TEXT, "fault-drop:3") as client:
        assert not (await client.read()).is_whole
    assert client.body == b"1 2 3"
    assert "Traceback" not in server.log_text()


# -- threads


@pytest.mark.parametrize(
    ("kind", "arguments", "limit"),
    [
        ("bare gunicorn", "-k gthread --threads 4", 3),
        ("small waitress", "", 2),
    ],
)
async def test_one_thread_is_left_for_other_requests(
    kind: str, arguments: str, limit: int, servers: Servers, raw_upstream: RawUpstream
) -> None:
    settings = upstream_settings(raw_upstream.base_url)
    server = servers.start(kind, APP, GUNICORN_CMD_ARGS=arguments, **settings)
    async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/iterate") as first:
        assert await first.text() == "token "  # which starts the chat without a request for it
    async with AsyncExitStack() as open_answers:
        for _ in range(limit):
            client = await open_answers.enter_async_context(await ask(server, "stall:1"))
            await client.read_until(b"token ")
        async with await ask(server, "whole:1") as refused:
            await refused.read()
        assert refused.status == 503
        async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/home") as home:
            assert await home.text() == "home"


async def test_one_thread_is_left_if_code_of_the_project_asked_first(
    servers: Servers, raw_upstream: RawUpstream
) -> None:
    settings = upstream_settings(raw_upstream.base_url)
    server = servers.start("bare gunicorn", APP, GUNICORN_CMD_ARGS="-k gthread --threads 2", **settings)
    async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/ask") as asked:
        assert asked.status == 200
    async with await ask(server, "stall:1") as client:
        await client.read_until(b"token ")
        async with await ask(server, "whole:1") as refused:
            await refused.read()
        assert refused.status == 503


async def test_one_thread_is_left_by_two_chats_together(servers: Servers) -> None:
    server = servers.start("bare gunicorn", "flask_two_chats:app", GUNICORN_CMD_ARGS="-k gthread --threads 2")
    url, question = f"http://127.0.0.1:{server.port}", {"message": "x"}
    async with (
        aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(5)) as client,
        client.post("/first/api/stream", json=question) as first,
    ):
        await first.content.readexactly(6)
        async with client.post("/second/api/stream", json=question) as second:
            assert second.status == 503


@pytest.mark.parametrize("arguments", ["", "-k gthread --threads 1"])
async def test_a_server_with_one_thread_is_reported(
    arguments: str, servers: Servers, raw_upstream: RawUpstream
) -> None:
    settings = upstream_settings(raw_upstream.base_url)
    server = servers.start("bare gunicorn", APP, GUNICORN_CMD_ARGS=arguments, **settings)
    async with await ask(server, "whole:1") as client:
        assert (await client.read()).is_whole
    assert "the WSGI server has one thread" in server.log_text()


# -- processes


async def test_each_forked_worker_has_its_own_chat(servers: Servers, raw_upstream: RawUpstream) -> None:
    """The app of the parent has answered a request too, before it forks."""
    arguments = "-k gthread --threads 2 --workers 2 --preload"
    settings = upstream_settings(raw_upstream.base_url)
    server = servers.start("bare gunicorn", "flask_preload:app", GUNICORN_CMD_ARGS=arguments, **settings)
    workers: set[str] = set()
    while len(workers) < 2:
        async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/process") as response:
            workers.add(await response.text())
        async with await ask(server, "whole:1") as client:
            assert (await client.read()).is_whole
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("kind", ["gthread", "flask"])
async def test_a_stop_leaves_nothing_behind(kind: str, servers: Servers, raw_upstream: RawUpstream) -> None:
    server = servers.start_fresh(kind, APP, **upstream_settings(raw_upstream.base_url), PYTHONWARNINGS="default")
    async with await ask(server, "whole:1") as client:
        assert (await client.read()).is_whole
    server.signal(signal.SIGINT)
    assert await server.exit_code(10) in (0, 1)
    assert not re.search("Traceback|Unclosed|never awaited|unclosed (socket|transport|event loop)", server.log_text())


async def test_an_open_answer_ends_with_a_record_when_gunicorn_stops(
    servers: Servers, raw_upstream: RawUpstream
) -> None:
    """The settings of the package make a worker stop five seconds before gunicorn kills it."""
    arguments = "-c python:quartapp.gunicorn -k gthread --threads 4 --graceful-timeout 6"
    settings = upstream_settings(raw_upstream.base_url)
    server = servers.start("bare gunicorn", APP, GUNICORN_CMD_ARGS=arguments, **settings)
    async with await ask(server, "stall:1", NDJSON) as client:
        await client.read_until(b"token ")
        server.signal(signal.SIGTERM)
        await client.read()
    assert b'"code":"shutting_down"' in client.body.splitlines()[-1]
    [line] = await eventually(lambda: server.answer_lines())
    assert line["ending"] == "shutting_down"


@SOAK
async def test_the_reloader_of_flask_ends_the_chat_with_its_process(
    servers: Servers, raw_upstream: RawUpstream, tmp_path: Path
) -> None:
    app = tmp_path / "reloaded.py"
    app.write_text((HOSTS / "flask_chat.py").read_text())
    server = servers.start_fresh("flask --debug", str(app), **upstream_settings(raw_upstream.base_url))
    async with await ask(server, "stall:1") as client:
        await client.read_until(b"token ")
        app.write_text(app.read_text() + "\n# changed\n")
        assert not (await client.read()).is_whole
    await eventually(lambda: server.log_text().count("Debugger is active") == 2, 15)
    async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/home") as home:
        assert await home.text() == "home"
    assert not re.search("Unclosed|never awaited", server.log_text())
