"""Models by name: their list, the choice of one, and its requests, with real apps and servers on loopback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from quart.testing.app import LifespanError

from quartapp.core.request import ChatRequest
from quartapp.models.registry import open_models
from quartapp.settings.settings import Settings
from tests.support.endpoints import NDJSON, STREAM, Client, Log, chunk, event_stream, serving
from tests.support.loopback import Answer, Loopback, reply

V1 = "/ai/v1/chat/completions"
QUESTION = {"role": "user", "content": "count"}


def answer_of(text: str) -> Answer:
    return reply(body=event_stream(chunk({"content": text}), chunk(finish_reason="stop")))


def compatible(server: Loopback, **fields: Any) -> dict[str, Any]:
    return {"kind": "compatible", "base_url": server.base_url, **fields}


async def sent(entry: Mapping[str, Any], document: Mapping[str, Any] | None = None, *, path: str = STREAM) -> Any:
    """Return the body that the server of a model with these fields receives for a question."""
    async with Loopback(answer_of("a")) as server, serving(CHAT_MODELS={"m": compatible(server, **entry)}) as client:
        answered = await post(client, {"messages": [QUESTION], **(document or {})}, path)
        assert answered.status == 200
        [request] = server.requests
        return request.json


async def post(client: Client, document: Any, path: str = STREAM) -> Any:
    body = json.dumps({"model": "m", **document}).encode()
    return await client.send(body, path=path, headers={"Content-Type": "application/json"})


# -- which there are


async def test_a_client_picks_a_model_by_name_and_the_first_is_the_default() -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(Loopback(answer_of(text))) for text in ("one", "two")]
        models = {"first": compatible(one, model="theirs-1"), "second": compatible(two)}
        client = await stack.enter_async_context(serving(CHAT_MODELS=models))
        assert (await client.ask()).body == b"one"
        assert (await client.ask({"message": "x", "model": "second"})).body == b"two"
        assert (await client.ask({"message": "x", "model": "first"}, **NDJSON)).records[0]["model"] == "first"
        assert [request.json["model"] for request in one.requests] == ["theirs-1", "theirs-1"]
        assert [request.json["model"] for request in two.requests] == ["second"]


async def test_a_setting_names_another_default() -> None:
    async with Loopback(answer_of("a")) as server:
        models = {"first": compatible(server), "second": compatible(server)}
        async with serving(CHAT_MODELS=models, CHAT_MODEL="second") as client:
            assert (await client.ask(**NDJSON)).records[0]["model"] == "second"


@pytest.mark.parametrize("name", ["nobody", "hidden"])
async def test_a_default_that_is_not_offered_stops_the_start(name: str) -> None:
    models = {"a": {"kind": "mock"}, "hidden": {"kind": "mock", "offered": False}}
    with pytest.raises(
        LifespanError, match=r"CHAT_MODEL: none of the models that are offered; for example CHAT_MODEL=a$"
    ):
        async with serving(CHAT_MODELS=models, CHAT_MODEL=name):
            pass


@pytest.mark.parametrize("name", ["hidden", "theirs", "First", "first ", "__class__", "../first", "mock"])
async def test_a_name_that_is_not_offered_is_404_and_lists_nothing(name: str) -> None:
    async with Loopback(answer_of("a")) as server:
        models = {"first": compatible(server, model="theirs"), "hidden": compatible(server, offered=False)}
        async with serving(CHAT_MODELS=models) as client:
            refused = await client.ask({"message": "x", "model": name})
            assert (refused.status, refused.error["code"], refused.error["path"]) == (404, "model_not_found", "model")
            for private in ("first", "hidden", "theirs", "127.0.0.1"):
                assert private not in refused.body.decode()
            refused = await post(client, {"messages": [QUESTION], "model": name}, V1)
            assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
            assert server.requests == []


async def test_the_list_of_models_has_those_that_are_offered_in_their_order() -> None:
    models = {name: {"kind": "mock", "offered": name != "b"} for name in ("c", "b", "a/x")}
    async with serving(CHAT_MODELS=models) as client:
        listed = await client.send(path="/ai/v1/models", method="GET")
        assert [model["id"] for model in listed.json["data"]] == ["c", "a/x"]
        found = await client.send(path="/ai/v1/models/a/x", method="GET")
        assert found.json["id"] == "a/x"
        assert (await client.send(path="/ai/v1/models/b", method="GET")).status == 404


async def test_a_chunk_has_the_requested_name_of_the_model() -> None:
    async with Loopback(answer_of("a")) as server, serving(CHAT_MODELS={"m": compatible(server, model="t")}) as client:
        streamed = await post(client, {"messages": [QUESTION], "stream": True}, V1)
        assert {chunk["model"] for chunk in streamed.data} == {"m"}
        completion = await post(client, {"messages": [QUESTION]}, V1)
        assert completion.json["model"] == "m"


async def test_two_models_of_one_server_share_its_connection() -> None:
    async with Loopback(answer_of("a")) as server:
        async with serving(CHAT_MODELS={"m": compatible(server), "n": compatible(server)}) as client:
            await client.ask({"message": "x", "model": "m"})
            await client.ask({"message": "x", "model": "n"})
        assert (len(server.requests), server.connections) == (2, 1)


async def test_among_a_hundred_models_each_is_found() -> None:
    async with Loopback(answer_of("a")) as server:
        models = {f"m{number}": compatible(server, model=f"theirs-{number}") for number in range(100)}
        async with serving(CHAT_MODELS=models) as client:
            for name in ("m0", "m57", "m99"):
                assert (await client.ask({"message": "x", "model": name})).status == 200
        assert [request.json["model"] for request in server.requests] == ["theirs-0", "theirs-57", "theirs-99"]
        assert server.connections == 1


async def test_the_table_may_have_the_mock_model_by_any_name() -> None:
    models = {"ours": {"kind": "mock"}, "slow": {"kind": "mock", "model": "mock"}}
    async with serving(CHAT_MODELS=models) as client:
        assert (await client.ask({"message": "count to 3"})).body == b"1 2 3"
        assert (await client.ask({"message": "count to 3", "model": "slow"})).body == b"1 2 3"


# -- what a model is sent


async def test_parameters_of_an_entry_are_sent_unless_the_client_sends_its_own() -> None:
    entry = {"params": {"temperature": 0.2, "top_p": 0.5, "reasoning": {"effort": "low"}}}
    body = await sent(entry, {"temperature": 1})
    assert (body["temperature"], body["top_p"], body["reasoning"]) == (1, 0.5, {"effort": "low"})


async def test_parameters_that_a_model_refuses_are_dropped() -> None:
    entry = {"params": {"top_p": 0.5}, "drop_params": ["seed", "top_p", "stream_options"]}
    body = await sent(entry, {"seed": 1, "temperature": 1})
    assert body.keys() == {"model", "messages", "stream", "temperature"}


@pytest.mark.parametrize("path", [STREAM, V1])
@pytest.mark.parametrize(
    ("entry", "document", "limit"),
    [
        ({}, {}, {}),
        ({}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({"output_limit": "max_completion_tokens"}, {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_output_tokens": 9}, {}, {"max_tokens": 9}),
        ({"max_output_tokens": 9}, {"max_tokens": 9}, {"max_tokens": 9}),
        ({"params": {"max_tokens": 7}}, {}, {"max_tokens": 7}),
        ({"params": {"max_completion_tokens": 7}}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({"params": {"max_tokens": 7}, "max_output_tokens": 3}, {}, {"max_tokens": 3}),
    ],
)
async def test_the_token_limit_is_sent_by_the_models_own_name(
    path: str, entry: Mapping[str, Any], document: Mapping[str, Any], limit: Mapping[str, int]
) -> None:
    body = await sent(entry, document, path=path)
    assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == limit


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"kind": "compatible"}, "max_tokens"),
        ({"kind": "openai"}, "max_completion_tokens"),
        ({"kind": "azure"}, "max_completion_tokens"),
        ({"kind": "azure", "api_version": "2024-10-21"}, "max_tokens"),
        ({"kind": "azure", "api_version": "2025-04-01-preview"}, "max_completion_tokens"),
        (
            {"kind": "azure", "api_version": "2024-10-21", "output_limit": "max_completion_tokens"},
            "max_completion_tokens",
        ),
    ],
)
async def test_each_kind_has_a_default_name_for_the_limit(entry: Mapping[str, Any], name: str) -> None:
    body = await sent({"auth": "none", **entry}, {"max_tokens": 5})
    assert {key for key in body if key.startswith("max")} == {name}


async def test_openais_newer_name_for_the_limit_is_translated_for_servers_that_have_the_older_one() -> None:
    body = await sent({}, {"max_completion_tokens": 5}, path=V1)
    assert (body["max_tokens"], "max_completion_tokens" in body) == (5, False)


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(("path", "status"), [(STREAM, 422), (V1, 400)])
async def test_more_tokens_than_the_model_gives_are_refused_by_the_name_the_client_used(
    path: str, status: int, retries: int
) -> None:
    async with (
        Loopback(answer_of("a")) as server,
        serving(CHAT_MODELS={"m": compatible(server, max_output_tokens=9, retries=retries)}) as client,
    ):
        refused = await post(client, {"messages": [QUESTION], "max_tokens": 10}, path)
        assert refused.status == status
        assert b"max_tokens" in refused.body
        assert server.requests == []


async def test_several_answers_are_refused_if_the_model_drops_n() -> None:
    async with (
        Loopback(answer_of("a")) as server,
        serving(CHAT_MODELS={"m": compatible(server, drop_params=["n"])}) as client,
    ):
        assert (await post(client, {"messages": [QUESTION], "n": 1}, V1)).status == 200
        refused = await post(client, {"messages": [QUESTION], "n": 2}, V1)
        assert (refused.status, refused.json["error"]["param"]) == (400, "n")
        assert ["n" in request.json for request in server.requests] == [False]


async def test_a_system_prompt_of_the_entry_counts_before_that_of_all() -> None:
    async with Loopback(answer_of("a")) as server:
        models = {"m": compatible(server, system_prompt="Own."), "n": compatible(server)}
        models |= {"o": compatible(server, system_prompt="")}
        async with serving(CHAT_MODELS=models, CHAT_SYSTEM_PROMPT="All.") as client:
            for name in models:
                await client.ask({"message": "x", "model": name})
        first = [request.json["messages"][0] for request in server.requests]
    assert first[:2] == [{"role": "system", "content": "Own."}, {"role": "system", "content": "All."}]
    assert first[2] == {"role": "user", "content": "x"}


async def test_headers_of_an_entry_are_sent_to_its_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_KEY", "canary-key-1")
    async with Loopback(answer_of("a")) as one, Loopback(answer_of("a")) as two:
        fields = {"headers": {"HTTP-Referer": "https://example.com"}, "key_env": "ONE_KEY"}
        async with serving(CHAT_MODELS={"m": compatible(one, **fields), "n": compatible(two)}) as client:
            await client.ask({"message": "x", "model": "m"})
            await client.ask({"message": "x", "model": "n"})
        assert one.requests[0].headers["http-referer"] == "https://example.com"
        assert one.requests[0].headers["authorization"] == "Bearer canary-key-1"
        assert "http-referer" not in two.requests[0].headers
        assert "authorization" not in two.requests[0].headers


async def test_thinking_in_tags_is_reasoning_unless_the_entry_disables_it() -> None:
    answer = answer_of("<think>hm</think>yes")
    async with Loopback(answer) as server:
        models = {"m": compatible(server), "n": compatible(server, think_tags="none")}
        async with serving(CHAT_MODELS=models) as client:
            thought = (await client.ask({"message": "x", "model": "m"}, **NDJSON)).records[1:-1]
            records = (await client.ask({"message": "x", "model": "n"}, **NDJSON)).records[1:-1]
    assert thought == [{"type": "reasoning", "text": "hm"}, {"type": "delta", "text": "yes"}]
    assert records == [{"type": "delta", "text": "<think>hm</think>yes"}]


async def test_a_model_has_time_limits_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    models = {
        "m": {"kind": "mock", "model": "fault-stall", "idle_timeout_s": 0.05},
        "n": {"kind": "mock", "model": "fault-slow-first-byte", "answer_timeout_s": 0.05},
    }
    log = Log(caplog)
    async with serving(CHAT_MODELS=models) as client:
        assert (await client.ask({"message": "x", "model": "m"}, **NDJSON)).records[-1]["code"] == "upstream_timeout"
        assert (await client.ask({"message": "x", "model": "n"})).error["code"] == "deadline_exceeded"
    assert [line["ending"] for _, line in log.lines if "ending" in line] == ["upstream_timeout", "deadline_exceeded"]


# -- whose time limits hold


async def test_a_fallback_has_its_own_time_limits() -> None:
    nowhere = {"kind": "compatible", "base_url": "http://127.0.0.1:1/v1", "retries": 1, "idle_timeout_s": 7}
    async with Loopback(answer_of("a")) as server:
        table = {"m": {**nowhere, "fallbacks": ["n"]}, "n": compatible(server, answer_timeout_s=900)}
        models = open_models(
            Settings.load({"CHAT_MODELS": table, "CHAT_IDLE_TIMEOUT_S": 30, "CHAT_ANSWER_TIMEOUT_S": 60})
        )
        offered = models.get("m")
        request = ChatRequest([QUESTION], "m")
        async with aclosing(offered.build(request)()) as batches:
            attempts = [batch.attempt async for batch in batches if batch.attempt is not None]
        await models.close()
    own = {"idle_timeout_s": 7, "answer_timeout_s": 60}
    assert offered.timeouts == own
    assert [attempt.timeouts for attempt in attempts] == [{}, {"idle_timeout_s": 30, "answer_timeout_s": 900}]
