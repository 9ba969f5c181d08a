"""The data in the page: the models that are offered, and the limits of a request."""

from __future__ import annotations

import json

from quartapp.settings.settings import Settings
from tests.support.endpoints import Client, OwnModel, serving

MODELS = "/ai/api/models"


async def offer(client: Client) -> dict[str, object]:
    found: dict[str, object] = (await client.send(path=MODELS, method="GET")).json
    return found


async def test_the_limits_of_a_request_are_those_of_the_settings() -> None:
    async with serving(CHAT_MAX_MESSAGES=7, CHAT_MAX_PROMPT_CHARS=500) as client:
        limits = (await offer(client))["limits"]
    defaults = Settings()
    assert limits == {
        "max_body_bytes": defaults.max_body_bytes,
        "max_json_values": defaults.max_json_values,
        "max_messages": 7,
        "max_prompt_chars": 500,
        "max_attachments": defaults.max_attachments,
        "max_attachment_bytes": defaults.max_attachment_bytes,
    }


async def test_the_default_is_named_and_the_mock_models_are_marked() -> None:
    table = {
        "real": {"kind": "compatible", "base_url": "http://127.0.0.1:9/v1", "model": "m"},
        "mock": {"kind": "mock"},
    }
    async with serving(CHAT_MODELS=json.dumps(table), CHAT_MODEL="mock") as client:
        found = await offer(client)
    assert found["default"] == "mock"
    assert found["models"] == [{"id": "real", "is_mock": False}, {"id": "mock", "is_mock": True}]


async def test_a_model_in_python_is_not_marked_as_mock() -> None:
    async with serving(models={"own": OwnModel()}) as client:
        found = await offer(client)
    assert (found["default"], found["models"]) == ("own", [{"id": "own", "is_mock": False}])


async def test_the_models_and_limits_are_for_clients_that_may_ask() -> None:
    async with serving(authenticate=lambda _: None) as client:
        assert (await client.send(path=MODELS, method="GET")).status == 401
