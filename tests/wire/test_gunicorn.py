"""gunicorn with our gunicorn.conf.py: where it listens, when it closes, and how it refuses to start."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import APP, CANARY_PROMPT, ROOT, Servers

WITHIN_S = 5.0


@pytest.mark.parametrize("path", ["/api/stream", "/api/chat"])
async def test_an_answer_over_http_1_0_ends_with_its_connection_though_the_client_asks_for_keep_alive(
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


async def test_an_address_of_ipv6_is_listened_at(servers: Servers) -> None:
    server = servers.start("gunicorn", HOST="::1")
    _, writer = await asyncio.open_connection("::1", server.port)
    writer.transport.abort()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"CHAT_STATUS_TIMEOUT_S": "soon"}, "CHAT_STATUS_TIMEOUT_S: "),
        ({"PORT": "http"}, "PORT: "),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(
    environment: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    ended = start(tmp_path, **environment)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert ended.stderr.startswith(f"gunicorn cannot start. {sentence}")


def test_a_wrong_table_of_models_stops_the_start_without_a_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = start(tmp_path, CHAT_MODELS='{"a": {"kind": "none"}}', PORT=str(port))
    assert (ended.returncode, "Traceback" in ended.stderr) == (3, False)
    assert "CHAT_MODELS: models.a.kind: " in ended.stderr


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """gunicorn, which must end by itself."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), APP]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=30, check=False)
