"""Against a server that nobody here wrote: the LiteLLM proxy, installed for the occasion (`make test-real`)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from quartapp import create_app

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

HERE = Path(__file__).resolve()
VENV = HERE.parents[2] / ".cache" / "litellm"
REQUIREMENT = "litellm[proxy]==1.106.2"
KEY = "sk-real-1"
ANSWER = "Streaming works, one word after another, all the way to the end."
CONFIG = {
    "model_list": [
        {"model_name": "mocked", "litellm_params": {"model": "openai/x", "api_key": "none", "mock_response": ANSWER}}
    ],
    "general_settings": {"master_key": KEY},
}


@pytest.fixture(scope="module")
def litellm() -> Path:
    """The proxy's program, in an environment of its own."""
    program = VENV / "bin" / "litellm"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "-q", REQUIREMENT], check=True)
    return program


@pytest.fixture(scope="module")
def base_url(litellm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [str(litellm), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        _wait_until_alive(f"http://127.0.0.1:{port}/health/liveliness", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _wait_until_alive(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the LiteLLM proxy did not start")


@pytest.fixture
async def app(base_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Quart]:
    config = {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": KEY,
        "CHAT_MODEL": "mocked",
        **getattr(request, "param", {}),
    }
    app = create_app(config)
    async with app.test_app():
        yield app


async def ask(app: Quart) -> tuple[int, str]:
    response = await app.test_client().post(
        "/api/stream", json={"message": "hi"}, headers={"Accept": "application/x-ndjson"}
    )
    return response.status_code, await response.get_data(as_text=True)


def records(body: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


async def test_a_streamed_answer_comes_whole(app: Quart) -> None:
    status, body = await ask(app)
    start, *deltas, done = records(body)
    assert status == 200
    assert (start["type"], start["model"]) == ("start", "mocked")
    assert "".join(delta["text"] for delta in deltas) == ANSWER
    assert (done["type"], done["finish_reason"]) == ("done", "stop")
    assert done["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("app", [{"OPENAI_API_KEY": "sk-wrong"}, {"CHAT_MODEL": "unknown"}], indirect=True)
async def test_a_refused_answer_keeps_its_status(app: Quart) -> None:
    status, body = await ask(app)
    assert (status, json.loads(body)["error"]["code"]) == (502, "upstream_refused")
    assert "sk-wrong" not in body


async def test_answers_follow_one_another(app: Quart) -> None:
    for _ in range(5):
        status, body = await ask(app)
        assert (status, records(body)[-1]["type"]) == (200, "done")
