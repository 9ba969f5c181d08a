"""gunicorn with our gunicorn.conf.py: where it listens, when it closes, and how it refuses to start."""

from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import pytest

from tests.support.serving import APP, CANARY_PROMPT, ROOT, Servers, forks

WITHIN_S = 5.0

GUNICORN = ("gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), APP)


@pytest.mark.parametrize("path", ["/api/stream", "/api/chat"])
async def test_an_answer_over_http_1_0_ends_with_its_connection_in_spite_of_keep_alive(
    path: str, servers: Servers
) -> None:
    server = servers.get("gunicorn", CHAT_MOCK_TOKENS_PER_S="0")
    body = json.dumps({"message": CANARY_PROMPT}).encode()
    fields = (
        f"Host: chat\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: keep-alive\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(f"POST {path} HTTP/1.0\r\n{fields}\r\n".encode() + body)
        assert (await asyncio.wait_for(reader.read(), WITHIN_S)).startswith(b"HTTP/1.0 200 ")
    finally:
        writer.transport.abort()


async def test_the_settings_inside_the_package_serve_from_an_empty_folder(servers: Servers) -> None:
    server = servers.start("bare gunicorn", GUNICORN_CMD_ARGS="-c python:quartapp.gunicorn", CHAT_MOCK_TOKENS_PER_S="0")
    async with aiohttp.request("POST", f"http://127.0.0.1:{server.port}/api/stream", json={"message": "hi"}) as reply:
        assert reply.status == 200
    await server.wait_for_log("Using worker: asgi")


async def test_an_address_of_ipv6_is_listened_at(servers: Servers) -> None:
    server = servers.start("gunicorn", HOST="::1")
    _, writer = await asyncio.open_connection("::1", server.port)
    writer.transport.abort()


@forks
@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"CHAT_STATUS_TIMEOUT_S": "soon"}, "CHAT_STATUS_TIMEOUT_S: "),
        ({"PORT": "http"}, "PORT: "),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(
    environment: dict[str, str], sentence: str, servers: Servers
) -> None:
    code, text = servers.run(*GUNICORN, **environment)
    assert (code, len(text.splitlines())) == (1, 1)
    assert text.startswith(f"gunicorn cannot start. {sentence}")


@forks
def test_a_wrong_table_of_models_stops_the_start_without_a_traceback(servers: Servers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, text = servers.run(*GUNICORN, CHAT_MODELS='{"a": {"kind": "none"}}', PORT=str(port))
    assert (code, "Traceback" in text) == (3, False)
    assert "CHAT_MODELS: models.a.kind: " in text
