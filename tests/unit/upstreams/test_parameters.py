"""The parameters beyond OpenAI's own: which model receives them, and how a client learns that one may not be sent."""

from __future__ import annotations

from typing import Any

import pytest

from quartapp import Settings, SettingsError
from quartapp.models.config import read_table
from tests.support.endpoints import chunk, event_stream, serving
from tests.support.loopback import Loopback, reply

COMPLETIONS = "/ai/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
ANSWER = event_stream(chunk({"content": "hi"}), chunk(finish_reason="stop"))
MARK = {"type": "ephemeral", "ttl": "1h"}
FOREIGN: dict[str, Any] = {
    "top_k": 40,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "chat_template_kwargs": {"enable_thinking": False},
    "enable_thinking": True,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}


def marked(**mark: Any) -> list[dict[str, Any]]:
    """Return a conversation whose second part has a mark."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **mark}]
    return [{"role": "user", "content": parts}]


def entry(upstream: Loopback, **fields: Any) -> dict[str, Any]:
    return {"kind": "compatible", "base_url": upstream.base_url, "retries": 0, **fields}


async def test_a_parameter_that_the_entry_allows_reaches_the_models_server_unchanged() -> None:
    async with Loopback(reply(body=ANSWER)) as upstream:
        models = {"ours": entry(upstream, allow=[*FOREIGN, "cache_control"])}
        async with serving(path=COMPLETIONS, CHAT_MODELS=models) as client:
            assert (await client.ask({"messages": marked(cache_control=MARK), **FOREIGN})).status == 200
    (sent,) = [request.json for request in upstream.requests]
    assert {name: sent[name] for name in FOREIGN} == FOREIGN
    assert sent["messages"] == marked(cache_control=MARK)


@pytest.mark.parametrize("name", FOREIGN)
async def test_a_parameter_that_the_entry_does_not_allow_is_refused_by_its_name(name: str) -> None:
    async with Loopback(reply(body=ANSWER)) as upstream:
        models = {"ours": entry(upstream, allow=[other for other in FOREIGN if other != name])}
        async with serving(path=COMPLETIONS, CHAT_MODELS=models) as client:
            refused = await client.ask({"messages": HI, **FOREIGN})
    assert (refused.status, refused.json["error"]["param"]) == (400, name)
    assert refused.json["error"]["message"] == f"Unknown parameter: '{name}'."
    assert upstream.requests == []


async def test_cache_control_on_a_part_is_refused_by_its_place() -> None:
    async with (
        Loopback(reply(body=ANSWER)) as upstream,
        serving(path=COMPLETIONS, CHAT_MODELS={"ours": entry(upstream)}) as client,
    ):
        refused = await client.ask({"messages": [*HI, *marked(cache_control=MARK)]})
        assert (await client.ask({"messages": marked(cache_control=None)})).status == 200
    assert refused.json["error"]["message"] == "Unknown parameter: 'messages.1.content.1.cache_control'."
    assert [request.json["messages"] for request in upstream.requests] == [marked()]


async def test_a_fallback_receives_only_what_its_own_entry_allows() -> None:
    broken = Loopback(reply(503))
    async with broken, Loopback(reply(body=ANSWER)) as second:
        models = {
            "first": entry(broken, allow=["top_k", "min_p", "cache_control"], fallbacks=["second"]),
            "second": entry(second, allow=["min_p"]),
        }
        async with serving(path=COMPLETIONS, CHAT_MODELS=models) as client:
            body = {"messages": marked(cache_control=MARK), "top_k": 40, "min_p": 0.1}
            assert (await client.ask(body)).status == 200
    assert broken.requests[0].json.items() >= body.items()
    sent = second.requests[0].json
    assert (sent.get("top_k"), sent["min_p"], sent["messages"]) == (None, 0.1, marked())


async def test_the_client_s_value_counts_before_the_entry_s() -> None:
    async with Loopback(reply(body=ANSWER)) as upstream:
        models = {"ours": entry(upstream, allow=["top_k"], params={"top_k": 1, "min_p": 0.5})}
        async with serving(path=COMPLETIONS, CHAT_MODELS=models) as client:
            await client.ask({"messages": HI, "top_k": 40})
    assert (upstream.requests[0].json["top_k"], upstream.requests[0].json["min_p"]) == (40, 0.5)


async def test_a_hint_is_sent_only_where_the_entry_allows_it_and_never_refused() -> None:
    prediction = {"type": "content", "content": "hello"}
    async with Loopback(reply(body=ANSWER)) as upstream:
        models = {"without": entry(upstream), "with": entry(upstream, allow=["prediction"])}
        async with serving(path=COMPLETIONS, CHAT_MODELS=models) as client:
            for model in models:
                assert (await client.ask({"model": model, "messages": HI, "prediction": prediction})).status == 200
    assert [request.json.get("prediction") for request in upstream.requests] == [None, prediction]


@pytest.mark.parametrize("name", ["model", "messages", "stream", "n", "max_tokens", "stream_options"])
def test_a_parameter_that_the_chat_decides_cannot_be_allowed(name: str) -> None:
    models = {"ours": {"kind": "mock", "allow": ["top_k", name]}}
    with pytest.raises(SettingsError, match=r"CHAT_MODELS: models\.ours\.allow\.1: a parameter of the chat itself"):
        read_table(Settings.load({"CHAT_MODELS": models}))
