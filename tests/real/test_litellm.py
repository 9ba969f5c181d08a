"""The chat with a third party's server: the LiteLLM proxy, installed for the test (`make test-real`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from quart import Quart

from quartapp import create_app
from tests.real.servers import free_port, installed, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

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
def litellm() -> str:
    """Return the proxy's program, in an environment of its own."""
    return installed("litellm", REQUIREMENT)


@pytest.fixture(scope="module")
def base_url(litellm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    origin = f"http://127.0.0.1:{(port := free_port())}"
    command = [litellm, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, folder, origin, "/health/liveliness", {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}):
        yield f"{origin}/v1"


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


async def answer_of(app: Quart) -> tuple[int, str]:
    response = await app.test_client().post(
        "/api/stream", json={"message": "hi"}, headers={"Accept": "application/x-ndjson"}
    )
    return response.status_code, await response.get_data(as_text=True)


def records(body: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


async def test_a_streamed_answer_is_complete(app: Quart) -> None:
    status, body = await answer_of(app)
    start, *deltas, done = records(body)
    assert status == 200
    assert (start["type"], start["model"]) == ("start", "mocked")
    assert "".join(delta["text"] for delta in deltas) == ANSWER
    assert (done["type"], done["finish_reason"]) == ("done", "stop")
    assert done["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("app", [{"OPENAI_API_KEY": "sk-wrong"}, {"CHAT_MODEL": "unknown"}], indirect=True)
async def test_a_refused_answer_keeps_its_status(app: Quart) -> None:
    status, body = await answer_of(app)
    assert (status, json.loads(body)["error"]["code"]) == (502, "upstream_refused")
    assert "sk-wrong" not in body


async def test_answers_follow_one_another(app: Quart) -> None:
    for _ in range(5):
        status, body = await answer_of(app)
        assert (status, records(body)[-1]["type"]) == (200, "done")
