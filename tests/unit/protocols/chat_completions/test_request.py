"""The requests of /v1/chat/completions: each listed parameter reaches the model's server, and no other does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.protocols.chat_completions.request import parse_completion
from quartapp.settings.settings import Settings
from quartapp.upstreams.parameters import check_extras
from tests.support.endpoints import chunk, event_stream, offered_by, serving
from tests.support.loopback import Loopback, reply

HI = [{"role": "user", "content": "hi"}]
CANARY = "canary7f3a"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HI, **fields}


def taken(document: Any, **given: Any) -> ChatRequest:
    return parse_completion(json.dumps(document).encode(), Settings.load(given))


def refused(document: Any, **given: Any) -> tuple[str, str | None]:
    with pytest.raises(ChatError) as raised:
        check_extras(taken(document, **given))
    assert CANARY not in f"{raised.value!r} {raised.value.path} {raised.value.__cause__}"
    return raised.value.code, raised.value.path


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
PARAMETERS: dict[str, list[Any]] = {
    "frequency_penalty": [-2, 0.5, 2],
    "logit_bias": [{"50256": -100, "7": 100}, {"1": 0.5}, {}],
    "logprobs": [True, False],
    "max_completion_tokens": [1, 32_768],
    "max_tokens": [1, 32_768],
    "n": [1, 4],
    "parallel_tool_calls": [True, False],
    "presence_penalty": [-2, 0.5, 2],
    "prompt_cache_key": ["a"],
    "reasoning_effort": ["none", "minimal", "low", "medium", "high", "xhigh"],
    "response_format": [{"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}],
    "safety_identifier": ["a"],
    "seed": [0, -(2**63), 2**63 - 1],
    "stop": ["a", ["a", "b", "c", "d"]],
    "temperature": [0, 0.7, 2],
    "tool_choice": ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}],
    "tools": [[FUNCTION], [FUNCTION] * 128],
    "top_logprobs": [0, 20],
    "top_p": [0, 0.1, 1],
    "user": ["ann"],
    "verbosity": ["low", "medium", "high"],
}
# Every compatible server knows this one of the two names.
SENT_AS = {"max_completion_tokens": "max_tokens"}
EACH = [(name, value) for name, values in PARAMETERS.items() for value in values]


async def test_each_parameter_reaches_the_models_server_unchanged() -> None:
    ends = [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(4)]
    async with (
        Loopback(reply(body=event_stream(chunk(choices=ends)))) as upstream,
        serving(path="/ai/v1/chat/completions", **offered_by(upstream)) as client,
    ):
        for name, value in EACH:
            assert (await client.ask({"model": "ours", "messages": HI, name: value})).status == 200
    sent = [request.json for request in upstream.requests]
    fixed = {"model": "ours", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    assert sent == [{**fixed, SENT_AS.get(name, name): value} for name, value in EACH]
    kinds = [[type(each) for each in body.get("logit_bias", {}).values()] for body in sent]
    assert [kind for kind in kinds if kind] == [[int, int], [float]]


@pytest.mark.parametrize("name", PARAMETERS)
def test_null_means_not_given(name: str) -> None:
    assert taken(body(**{name: None})).params == {}


def test_a_request_is_for_the_upstreams_own_chunks() -> None:
    assert taken(body(stream=True)) == ChatRequest(HI, "m", raw=True)
    assert taken(body(stream=True, stream_options={"include_usage": True})).include_usage
    for document in (body(), body(stream=False), body(stream=None, stream_options=None)):
        assert taken(document) == ChatRequest(HI, "m", whole=True, raw=True, include_usage=True)
    assert taken(body(n=3)).choices == 3


def test_conversations_may_have_instructions_names_parts_calls_and_refusals() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
        {"role": "assistant", "refusal": "no"},
    ]
    sent = [{name: value for name, value in turn.items() if value is not None} for turn in turns]
    for index in (3, 5):
        sent[index]["content"] = None
    assert taken(body(messages=turns)).messages == sent


WITHOUT_EFFECT: list[tuple[str, Any]] = [
    ("metadata", {}),
    ("modalities", ["text"]),
    ("service_tier", "auto"),
    ("service_tier", "default"),
    ("store", False),
]


@pytest.mark.parametrize(("name", "value"), [*WITHOUT_EFFECT, *[(name, None) for name, _ in WITHOUT_EFFECT]])
def test_openais_own_parameters_without_effect_are_taken_and_not_sent_on(name: str, value: Any) -> None:
    request = taken(body(**{name: value}))
    assert (request.params, request.extras) == ({}, {})


def test_without_a_model_the_request_is_for_the_default() -> None:
    assert taken({"messages": HI}).model is None
    assert taken({"model": None, "messages": HI}).model is None


def test_two_equal_limits_are_taken_and_two_different_ones_refused() -> None:
    assert taken(body(max_tokens=5, max_completion_tokens=5)).params == {"max_tokens": 5, "max_completion_tokens": 5}
    assert refused(body(max_tokens=5, max_completion_tokens=6)) == ("invalid_request", "max_tokens")


UNKNOWN = [
    *("store", "metadata", "functions", "function_call", "modalities", "audio", "web_search_options"),
    *("api_base", "base_url", "api_key", "api_version", "organization", "project", "headers", "extra_headers"),
    *("extra_query", "extra_body", "timeout", "proxy", "custom_llm_provider", "fallbacks", "mock_response"),
    *("service_tier", "prompt", "top_k", "suffix", "input", "__proto__", "constructor", "Model", "STREAM"),
]


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("value", [CANARY, {"x": CANARY}, True])
def test_an_unknown_parameter_is_refused_by_its_name(name: str, value: Any) -> None:
    assert refused(body(**{name: value})) == ("invalid_request", name)


def test_the_name_of_an_unknown_parameter_is_reduced_to_harmless_characters() -> None:
    assert refused(body(**{"<b>é'" + "x" * 200: 1})) == ("invalid_request", "?b???" + "x" * 95)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "", "messages": HI}, "model"),
    ({"model": "m"}, "messages"),
    (body(messages=[]), "messages"),
    (body(messages=[{"role": "function", "content": "x", "name": "f"}]), "messages.0.role"),
    (body(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages.0.content.0.image_url"),
    (body(stream="true"), "stream"),
    (body(stream_options={}), "stream_options"),
    (body(stream=False, stream_options={"include_usage": True}), "stream_options"),
    (body(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage"),
    (body(stream=True, stream_options={"x": CANARY}), "stream_options.x"),
    (body(n=0), "n"),
    (body(n=5), "n"),
    (body(n=True), "n"),
    (body(max_tokens=32_769), "max_tokens"),
    (body(max_completion_tokens=32_769), "max_completion_tokens"),
    (body(max_completion_tokens=0), "max_completion_tokens"),
    (body(temperature=2.1), "temperature"),
    (body(frequency_penalty=-2.1), "frequency_penalty"),
    (body(presence_penalty="1"), "presence_penalty"),
    (body(top_p=1.5), "top_p"),
    (body(top_logprobs=21), "top_logprobs"),
    (body(logprobs=1), "logprobs"),
    (body(verbosity=CANARY), "verbosity"),
    (body(reasoning_effort=""), "reasoning_effort"),
    (body(seed=2**63), "seed"),
    (body(stop=[]), "stop"),
    (body(stop=["a"] * 5), "stop"),
    (body(tools=[]), "tools"),
    (body(tools=[FUNCTION] * 129), "tools"),
    (body(tools=["x"]), "tools.0"),
    (body(user="a" * 201), "user"),
    (body(logit_bias={str(number): 1 for number in range(1025)}), "logit_bias"),
    (body(logit_bias=[1]), "logit_bias"),
]


@pytest.mark.parametrize(("document", "path"), WRONG)
def test_a_wrong_shape_is_reported_with_its_path(document: dict[str, Any], path: str) -> None:
    assert refused(document) == ("invalid_request", path)


@pytest.mark.parametrize("bias", [101, -100.5, "1", True, None, [1]])
def test_an_invalid_bias_is_reported_with_its_token(bias: Any) -> None:
    assert refused(body(logit_bias={"7": bias})) == ("invalid_request", "logit_bias.7")


def test_limits_are_settings() -> None:
    assert taken(body(n=7), CHAT_MAX_CHOICES=7).choices == 7
    assert refused(body(n=2), CHAT_MAX_CHOICES=1) == ("invalid_request", "n")
    assert refused(body(max_tokens=8), CHAT_MAX_OUTPUT_TOKENS=7) == ("invalid_request", "max_tokens")
    assert refused(body(messages=HI * 3), CHAT_MAX_MESSAGES=2) == ("too_large", "messages")
    assert refused(body(messages=HI * 3), CHAT_MAX_PROMPT_CHARS=5) == ("too_large", "messages")
