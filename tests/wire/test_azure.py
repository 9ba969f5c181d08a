"""Azure OpenAI with a key: the requests of both of its APIs, and the response to each answer and error."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.azure_upstream import CHUNKS, DEPLOYMENT, SAFE, VERSION, WHOLE, Azure, cut, refusal
from tests.support.endpoints import NDJSON, PROMPT, Client, chunk, event_stream, serving
from tests.support.loopback import Answer, Loopback, reply

KEY = "canary-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
FOREIGN = {
    "OPENAI_API_KEY": "sk-canary-openai-1234567890",
    "AZURE_OPENAI_AD_TOKEN": "canary-token",
    "OPENAI_ORG_ID": "canary-org",
    "OPENAI_CUSTOM_HEADERS": "X-Canary: canary-header",
}

VERSIONS = pytest.mark.parametrize("version", [VERSION, None], ids=["dated", "v1"])
WAYS = pytest.mark.parametrize("way", ["settings", "table"])


@pytest.fixture(autouse=True)
def foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials that are not Azure's, and one that the table names."""
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OUR_AZURE_KEY", KEY)


def chatting(azure: Azure, way: str, version: str | None, **given: Any) -> AbstractAsyncContextManager[Client]:
    """Open an app whose model `ours` is the deployment, by settings of its own or by the table of models."""
    endpoint = given.pop("endpoint", azure.origin)
    return serving(**_settings(way, endpoint, version), CHAT_RETRIES=0, **given)


def _settings(way: str, endpoint: str, version: str | None) -> Mapping[str, Any]:
    if way == "table":
        entry = {"kind": "azure", "base_url": endpoint, "key_env": "OUR_AZURE_KEY", "model": DEPLOYMENT}
        return {"CHAT_MODELS": {"ours": entry | ({"api_version": version} if version else {})}}
    return {
        "AZURE_OPENAI_ENDPOINT": endpoint,
        "AZURE_OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_API_VERSION": version,
        "AZURE_OPENAI_DEPLOYMENT": DEPLOYMENT,
        "CHAT_MODEL": "ours",
    }


# -- what is sent


@WAYS
@VERSIONS
async def test_a_deployment_gets_a_request_of_its_api_with_its_key_alone(way: str, version: str | None) -> None:
    async with Azure(version=version, key=KEY) as azure, chatting(azure, way, version) as client:
        start, *deltas, done = (await client.ask(**NDJSON)).records
        [request] = azure.requests
    assert start["model"] == "ours"
    assert "".join(delta["text"] for delta in deltas) == "Guten Tag"
    assert done["usage"] == {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
    assert request.json == {
        "model": DEPLOYMENT,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@WAYS
@VERSIONS
@pytest.mark.parametrize("suffix", ["", "/", "/openai/v1", "/openai/v1/"])
async def test_an_endpoint_may_be_written_as_the_portal_shows_it(way: str, version: str | None, suffix: str) -> None:
    async with (
        Azure(version=version, key=KEY) as azure,
        chatting(azure, way, version, endpoint=azure.origin + suffix) as client,
    ):
        assert (await client.ask()).status == 200


@pytest.mark.parametrize(
    ("version", "name", "other"),
    [
        (VERSION, "max_tokens", "max_completion_tokens"),
        ("2024-12-01-preview", "max_completion_tokens", "max_tokens"),
        (None, "max_completion_tokens", "max_tokens"),
    ],
)
async def test_a_token_limit_is_sent_by_the_name_in_the_api(version: str | None, name: str, other: str) -> None:
    async with Azure(version=version, key=KEY) as azure, chatting(azure, "table", version) as client:
        await client.ask({"message": "hi", "max_tokens": 7})
        sent = azure.requests[0].json
    assert sent[name] == 7
    assert other not in sent


@VERSIONS
async def test_the_deployment_gives_the_model_its_name_where_no_other_is_set(version: str | None) -> None:
    async with (
        Azure(version=version, key=KEY) as azure,
        serving(**{**_settings("settings", azure.origin, version), "CHAT_MODEL": None}) as client,
    ):
        assert (await client.ask(**NDJSON)).records[0]["model"] == DEPLOYMENT


@pytest.mark.parametrize(
    ("name", "path"), [("a b", "a%20b"), ("a/b", "a%2Fb"), ("ä", "%C3%A4"), ("a?b#c", "a%3Fb%23c")]
)
async def test_a_deployments_name_is_one_part_of_the_path(name: str, path: str) -> None:
    async with Loopback(WHOLE) as azure:
        given = {**_settings("settings", azure.origin, VERSION), "AZURE_OPENAI_DEPLOYMENT": name}
        async with serving(**given) as client:
            assert (await client.ask()).status == 200
        assert azure.requests[0].target == f"/openai/deployments/{path}/chat/completions?api-version={VERSION}"


# -- what it answers


@VERSIONS
async def test_openais_clients_can_read_each_chunk_of_azures(version: str | None) -> None:
    async with (
        Azure(version=version, key=KEY) as azure,
        chatting(azure, "settings", version, path="/ai/v1/chat/completions") as client,
    ):
        question = {"model": "ours", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        response = await client.ask({**question, "stream_options": {"include_usage": True}})
    chunks = [ChatCompletionChunk.model_validate(data) for data in response.data]
    assert response.is_done
    assert {chunk.model for chunk in chunks} == {"ours"}
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Guten Tag"
    assert chunks[-1].usage is not None


@WAYS
async def test_an_answer_that_the_filter_ends_has_that_finish_reason(way: str) -> None:
    filtered = {"hate": {"filtered": True, "severity": "high"}}
    end = chunk(
        choices=[{"index": 0, "delta": {}, "finish_reason": "content_filter", "content_filter_results": filtered}]
    )
    answer = reply(body=event_stream(*CHUNKS[:3], end))
    async with Azure(answer, key=KEY) as azure, chatting(azure, way, VERSION) as client:
        *_, done = (await client.ask(**NDJSON)).records
    assert done == {"type": "done", "finish_reason": "content_filter"}


async def test_late_chunks_of_filters_are_ignored() -> None:
    late = chunk(
        choices=[{"index": 0, "finish_reason": None, "content_filter_results": SAFE, "content_filter_offsets": {}}]
    )
    answer = reply(body=event_stream(CHUNKS[0], late, *CHUNKS[1:4], late, *CHUNKS[4:]))
    async with Azure(answer, key=KEY) as azure, chatting(azure, "table", VERSION) as client:
        _, *deltas, done = (await client.ask(**NDJSON)).records
    assert ("".join(delta["text"] for delta in deltas), done["finish_reason"]) == ("Guten Tag", "stop")


# -- its errors

MESSAGE = f"Something about {KEY} and {PROMPT}."
FILTERED = {
    "message": MESSAGE,
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {**SAFE, "violence": {"filtered": True, "severity": "medium"}},
    },
}
BUSY = {"code": "429", "message": MESSAGE}
STREAMED = {"Content-Type": "text/event-stream"}

ERRORS: dict[str, tuple[Answer, str, int | None]] = {
    "a filtered prompt": (refusal(400, FILTERED), "content_filtered", None),
    "a long conversation": (
        refusal(400, {"code": "context_length_exceeded", "message": MESSAGE, "param": "messages"}),
        "context_too_long",
        None,
    ),
    "an unknown parameter": (
        refusal(400, {"code": "unsupported_parameter", "message": MESSAGE}),
        "upstream_refused",
        None,
    ),
    "a wrong key": (refusal(401, {"code": "401", "message": MESSAGE}), "upstream_refused", None),
    "a wrong key, told by the gateway": (
        refusal(401, {"statusCode": 401, "message": MESSAGE}),
        "upstream_refused",
        None,
    ),
    "no right to ask": (refusal(403, {"code": "PermissionDenied", "message": MESSAGE}), "upstream_refused", None),
    "a firewall": (refusal(403, {"code": "AccessDenied", "message": MESSAGE}), "upstream_refused", None),
    "no such deployment": (refusal(404, {"code": "DeploymentNotFound", "message": MESSAGE}), "upstream_refused", None),
    "no such version": (refusal(404, {"code": "404", "message": "Resource not found"}), "upstream_refused", None),
    "too much, in seconds": (refusal(429, BUSY, {"Retry-After": "7"}), "upstream_busy", 7),
    "too much, in milliseconds": (
        refusal(429, BUSY, {"Retry-After": "7", "retry-after-ms": "1300"}),
        "upstream_busy",
        2,
    ),
    "too much, by name": (refusal(429, {"code": "RateLimitReached", "message": MESSAGE}), "upstream_busy", None),
    "too much, no hint": (refusal(429, BUSY), "upstream_busy", None),
    "out of quota": (refusal(429, {"code": "insufficient_quota", "message": MESSAGE}), "upstream_unpaid", None),
    "a fault of its own": (refusal(500, {"code": "InternalServerError", "message": MESSAGE}), "upstream_error", None),
    "a gateway's": (refusal(502, {"code": "BadGateway", "message": MESSAGE}), "upstream_error", None),
    "overload": (
        refusal(503, {"code": "ServiceUnavailable", "message": MESSAGE}, {"Retry-After": "3"}),
        "upstream_overloaded",
        3,
    ),
    "a time limit of its own": (refusal(408, {"code": "Timeout", "message": MESSAGE}), "upstream_error", None),
    "an error in the stream": (
        reply(body=event_stream({"error": {"code": "server_error", "message": MESSAGE}}), headers=STREAMED),
        "upstream_error",
        None,
    ),
    "a filter in the stream": (
        reply(body=event_stream(CHUNKS[0], {"error": FILTERED}), headers=STREAMED),
        "content_filtered",
        None,
    ),
    "a broken answer": (cut, "upstream_error", None),
}


@WAYS
@VERSIONS
@pytest.mark.parametrize("kind", ERRORS)
async def test_each_error_has_its_code_and_the_key_is_nowhere(
    kind: str, way: str, version: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    answer, code, retry_after_s = ERRORS[kind]
    with caplog.at_level(logging.DEBUG):
        async with Azure(answer, version=version, key=KEY) as azure, chatting(azure, way, version) as client:
            response = await client.ask(Accept="application/json")
            assert len(azure.requests) == 1
    assert (response.status, response.error["code"]) == (KINDS[code].status, code)
    assert response.error.get("retry_after_s") == retry_after_s
    assert response.headers.get("Retry-After") == (None if retry_after_s is None else str(retry_after_s))
    everything = f"{response.body!r} {dict(response.headers)} {caplog.text}"
    assert [word for word in ("canary", "Something about", "Sweden") if word in everything] == []


@pytest.mark.parametrize("path", ["/ai/v1/chat/completions", "/ai/api/ui", "/ai/api/stream"])
async def test_no_route_quotes_azure(path: str, caplog: pytest.LogCaptureFixture) -> None:
    messages = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": PROMPT}]}]
    questions = {"/ai/v1/chat/completions": {"model": "ours", "messages": [{"role": "user", "content": PROMPT}]}}
    questions["/ai/api/ui"] = {"id": "1", "trigger": "submit-message", "messages": messages}
    with caplog.at_level(logging.DEBUG):
        async with (
            Azure(refusal(400, FILTERED), key=KEY) as azure,
            chatting(azure, "table", VERSION, path=path) as client,
        ):
            response = await client.ask(questions.get(path))
    assert response.status == 400
    assert b"canary" not in response.body
    assert "canary" not in caplog.text


async def test_the_log_contains_azures_name_of_the_error(caplog: pytest.LogCaptureFixture) -> None:
    answer = refusal(404, {"code": "DeploymentNotFound", "message": MESSAGE}, {"x-request-id": "0a1b-2c3d"})
    with caplog.at_level(logging.INFO):
        async with Azure(answer, key=KEY) as azure, chatting(azure, "settings", VERSION) as client:
            await client.ask()
    [line] = [json.loads(text.partition(" ")[2]) for text in caplog.messages if text.startswith("answer ")]
    assert line["upstream"] == {"status": 404, "code": "DeploymentNotFound", "request_id": "0a1b-2c3d"}
