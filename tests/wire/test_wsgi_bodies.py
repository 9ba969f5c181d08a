"""Request bodies under WSGI servers that are slow, invalid or truncated, and clients that stop reading."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import Server, Servers, eventually, upstream_settings
from tests.support.tls import AUTHORITY, LOCALHOST

APP = "flask_chat:app"
QUESTION = json.dumps({"message": "count to 3"}).encode()
LONG = json.dumps({"message": "count", "model": "long"}).encode()
HEAD = b"POST /api/stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def sent(server: Server, *parts: bytes) -> bytes:
    """Return all bytes that the server sends to a client that sends these `parts` and then waits."""
    stream, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"".join(parts))
        async with asyncio.timeout(10):
            return await stream.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("kind", ["gthread", "bare gunicorn", "flask", "waitress"])
@pytest.mark.parametrize("chunk", [b"zz\r\n{}\r\n", b'5\r\n{"messagexx'])
async def test_an_invalid_chunk_is_no_fault_of_the_server(kind: str, chunk: bytes, servers: Servers) -> None:
    server = servers.get(kind, APP)
    reply = await sent(server, HEAD, b"Transfer-Encoding: chunked\r\n\r\n", chunk)
    assert reply == b"" or reply.startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in server.log_text()


# waitress reads a body before it takes a thread
@pytest.mark.parametrize("kind", ["gthread", "bare gunicorn", "flask"])
@pytest.mark.parametrize("users", [{}, {"WITH_USERS": "1"}], ids=["anyone", "users"])
async def test_a_body_that_never_ends_holds_its_thread_no_longer_than_the_limit(
    kind: str, users: dict[str, str], servers: Servers
) -> None:
    server = servers.get(kind, "flask_slow_body:app", CHAT_BODY_TIMEOUT_S="1", **users)
    length = f"Content-Length: {len(QUESTION)}\r\n\r\n".encode()
    reply = await sent(server, HEAD, length, QUESTION[:-1])
    assert reply.startswith(b"HTTP/1.1 408 ")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no limit for a blocked send")
@pytest.mark.parametrize("arguments", ["", "-k gthread --threads 1"])
async def test_a_client_that_stops_reading_holds_its_thread_no_longer_than_the_limit(
    arguments: str, servers: Servers
) -> None:
    settings = {"CHAT_WRITE_TIMEOUT_S": "1", "CHAT_MAX_OUTPUT_TOKENS": "1000000", "GUNICORN_CMD_ARGS": arguments}
    server = servers.start("bare gunicorn", "flask_slow_body:app", **settings)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(HEAD + f"Content-Length: {len(LONG)}\r\n\r\n".encode() + LONG)
        await eventually(lambda: server.answer_lines(ending="client_stalled"), 10)
        timeout = aiohttp.ClientTimeout(15)
        async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/home", timeout=timeout) as home:
            assert await home.text() == "home"


async def test_a_disconnect_over_tls_cancels_an_answer_before_its_first_byte(
    servers: Servers, raw_upstream: RawUpstream, tmp_path: Path
) -> None:
    LOCALHOST.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    arguments = f"-k gthread --threads 4 --certfile {tmp_path}/server.pem --keyfile {tmp_path}/server.pem"
    settings = upstream_settings(raw_upstream.base_url)
    server = servers.start("bare gunicorn", APP, GUNICORN_CMD_ARGS=arguments, **settings)
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    body = json.dumps({"message": "stall:0"}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    writer.write(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await eventually(lambda: server.upstream_connections(raw_upstream.port))
    writer.transport.abort()
    await eventually(lambda: server.answer_lines(ending="client_disconnected"))


@pytest.mark.parametrize("users", [{}, {"WITH_USERS": "1"}], ids=["anyone", "users"])
async def test_a_stop_does_not_wait_for_a_body(users: dict[str, str], servers: Servers) -> None:
    arguments = "-k gthread --threads 2 --graceful-timeout 30"
    server = servers.start("bare gunicorn", "flask_slow_body:app", GUNICORN_CMD_ARGS=arguments, **users)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HEAD + f"Content-Length: {len(QUESTION)}\r\n\r\n".encode() + QUESTION[:-1])
        await server.wait_for_log("model long")  # the chat has begun to start
        async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/api/models") as models:
            assert models.status == 200
        server.signal(signal.SIGINT)
        assert await server.exit_code(15) == 0
