"""The handshake of a WebSocket, on raw sockets: no route of the chat takes one, and those of its host still do."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.support.serving import Server, Servers, eventually

WITHIN_S = 5.0
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PATHS = ["/", "/nowhere", "/api/stream?message=hello", "/v1/models", "/v1/nowhere", "/api/ui", "/static/nothing.js"]

# gunicorn's worker has no way to refuse a handshake but 403.
STATUS = {"quartapp": 404, "hypercorn": 404, "gunicorn": 403}

each_kind = pytest.mark.parametrize("kind", STATUS)


async def status_of(server: Server, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(HANDSHAKE.format(path=path).encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN_S)
    finally:
        writer.transport.abort()
    return int(head.split()[1])


@each_kind
async def test_a_handshake_at_any_path_is_refused_with_one_line_in_the_log(kind: str, servers: Servers) -> None:
    server = servers.start(kind)
    await server.wait_for_log("the mock model answers", 20)
    assert [await status_of(server, path) for path in PATHS] == [STATUS[kind]] * len(PATHS)
    await eventually(lambda: server.log_text().count('"error": "not_found"') == len(PATHS))
    lines = server.log_text().splitlines()
    assert [line for line in lines if re.search("Traceback|ERROR|Exception", line)] == []


@pytest.mark.parametrize("kind", ["hypercorn", "gunicorn"])
async def test_a_handshake_below_the_prefix_in_a_host_is_refused_and_the_hosts_own_routes_go_on(
    kind: str, servers: Servers
) -> None:
    server = servers.start(kind, "websocket_host:app")
    assert [await status_of(server, path) for path in ("/ws", "/ai/ws")] == [101, 101]
    refused = [await status_of(server, f"/ai{path}") for path in PATHS]
    assert refused == [STATUS[kind]] * len(PATHS)
    assert "Traceback" not in server.log_text()
