"""A model behind a server of the Responses API, over a socket: what is sent, what cannot be, and how answers end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.settings.settings import Settings
from quartapp.upstreams.entry import Entry
from quartapp.upstreams.model import UpstreamModel
from quartapp.upstreams.opener import Upstreams
from quartapp.upstreams.responses.input import input_items
from quartapp.upstreams.responses.parameters import response_params
from tests.support.loopback import Loopback, head, raw, reply
from tests.support.responses_upstream import (
    Document,
    ResponsesServer,
    begun,
    encode,
    fault_in_body,
    message,
    response,
    stream,
    told,
)
from tests.support.upstream_models import KEY, PROMPT, ask, failure

QUESTION: Document = {"role": "user", "content": PROMPT}
ANSWERS = {PROMPT: stream(message("Hello"))}


@asynccontextmanager
async def model_at(
    server: Loopback, *, system_prompt: str | None = None, **fields: Any
) -> AsyncIterator[UpstreamModel]:
    """Open a model of `server`, whose entry has these fields too."""
    upstreams = Upstreams(Settings.load({"CHAT_MAX_UPSTREAM_LINE_BYTES": 65_536, "OPENAI_API_KEY": KEY}))
    given = {"base_url": server.base_url, "key_env": "OPENAI_API_KEY", "system_prompt": system_prompt, **fields}
    try:
        yield upstreams.open("model-1", Entry(kind="responses", **given))
    finally:
        await upstreams.close()


async def sent(*messages: Document, request_params: Document | None = None, **fields: Any) -> Document:
    """Return the body that the server of a model with these fields receives. The server has found no fault in it."""
    async with ResponsesServer(ANSWERS, key=KEY) as server, model_at(server, **fields) as model:
        request = ChatRequest([*messages, QUESTION], "name-for-clients", request_params or {})
        assert await ask(model, request) == "Hello."
        assert server.faults == []
        body: Document = server.requests[0].json
        return body


# -- what is sent


async def test_the_request_is_a_streamed_response_that_is_not_stored() -> None:
    body = await sent()
    assert body == {"model": "model-1", "input": [QUESTION], "stream": True, "store": False}


async def test_the_models_name_at_its_server_is_sent_and_not_the_one_that_clients_know() -> None:
    assert (await sent(model="gpt-5.4"))["model"] == "gpt-5.4"


async def test_the_key_is_sent_once_and_as_a_bearer() -> None:
    async with ResponsesServer(ANSWERS, key=KEY) as server, model_at(server) as model:
        assert await ask(model, ChatRequest([QUESTION])) == "Hello."
        [request] = server.requests
    assert (request.method, request.target) == ("POST", "/v1/responses")
    assert [value for value in request.headers.values() if KEY in value] == [f"Bearer {KEY}"]
    assert "api-key" not in request.headers


async def test_the_system_prompt_goes_first() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert (await sent(system_prompt="Be brief."))["input"] == [system, QUESTION]


IMAGE = "data:image/png;base64,AAAA"
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
]
CALL_ITEMS = [
    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Rome"}'},
    {"type": "function_call", "call_id": "call_2", "name": "clock", "arguments": "{}"},
]


def user(*parts: Document) -> Document:
    return {"role": "user", "content": list(parts)}


TRANSLATED: dict[str, tuple[Document, list[Document]]] = {
    "text": ({"role": "user", "content": "é€😀"}, [{"role": "user", "content": "é€😀"}]),
    "a name": ({"role": "user", "content": "a", "name": "Ann"}, [{"role": "user", "content": "a"}]),
    "system": ({"role": "system", "content": "a"}, [{"role": "system", "content": "a"}]),
    "developer": ({"role": "developer", "content": "a"}, [{"role": "developer", "content": "a"}]),
    "parts of a system prompt": (
        {"role": "system", "content": [{"type": "text", "text": "a"}]},
        [{"role": "system", "content": [{"type": "input_text", "text": "a"}]}],
    ),
    "parts": (
        user({"type": "text", "text": "a"}, {"type": "text", "text": "b"}),
        [user({"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"})],
    ),
    "an image": (
        user({"type": "image_url", "image_url": {"url": IMAGE}}),
        [user({"type": "input_image", "image_url": IMAGE, "detail": "auto"})],
    ),
    "an image to be looked at closely": (
        user({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}}),
        [user({"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"})],
    ),
    "a file": (
        user({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}}),
        [user({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"})],
    ),
    "a file that the server has": (
        user({"type": "file", "file": {"file_id": "file-1"}}),
        [user({"type": "input_file", "file_id": "file-1"})],
    ),
    "an answer": ({"role": "assistant", "content": "a"}, [{"role": "assistant", "content": "a"}]),
    "an answer in parts": (
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        [{"role": "assistant", "content": "ab"}],
    ),
    "a refusal": (
        {"role": "assistant", "refusal": "No."},
        [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
    ),
    "a refusal as a part": (
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
    ),
    "text and a refusal": (
        {"role": "assistant", "content": "Well.", "refusal": "No."},
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "Well.", "annotations": []},
                    {"type": "refusal", "refusal": "No."},
                ],
            }
        ],
    ),
    "calls": ({"role": "assistant", "tool_calls": CALLS}, CALL_ITEMS),
    "calls beside empty text": ({"role": "assistant", "content": "", "tool_calls": CALLS}, CALL_ITEMS),
    "text and a call": (
        {"role": "assistant", "content": "See:", "tool_calls": CALLS[:1]},
        [{"role": "assistant", "content": "See:"}, CALL_ITEMS[0]],
    ),
    "a result": (
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        [{"type": "function_call_output", "call_id": "call_1", "output": "sunny"}],
    ),
    "an empty result": (
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
        [{"type": "function_call_output", "call_id": "call_1", "output": ""}],
    ),
    "a result in parts": (
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sunny"}]},
        [{"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "sunny"}]}],
    ),
}


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_message_is_sent_as_items_that_the_api_knows(name: str) -> None:
    message, items = TRANSLATED[name]
    assert input_items([message]) == items
    assert fault_in_body({"model": "m", "input": items, "stream": True}) is None


CUSTOM_CALL = {"id": "call_3", "type": "custom", "custom": {"name": "run", "input": "ls"}}
REASONING = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "ZW5j"}


def test_calls_of_custom_tools_and_their_results_are_sent_as_items_that_the_api_knows() -> None:
    results = [{"role": "tool", "tool_call_id": id, "content": "1"} for id in ("call_1", "call_3")]
    items = input_items([{"role": "assistant", "tool_calls": [CALLS[0], CUSTOM_CALL]}, *results])
    assert items == [
        CALL_ITEMS[0],
        {"type": "custom_tool_call", "call_id": "call_3", "name": "run", "input": "ls"},
        {"type": "function_call_output", "call_id": "call_1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "call_3", "output": "1"},
    ]
    assert fault_in_body({"model": "m", "input": items, "stream": True}) is None


async def test_encrypted_reasoning_is_sent_before_the_call_that_it_led_to() -> None:
    state = {"extra": {"extra_content": {"openai": {"reasoning_items": [REASONING]}}}}
    turn = {"role": "assistant", "content": "See:", "tool_calls": [CALLS[0], CALLS[1] | state]}
    body = await sent(turn)
    assert body["input"][:-1] == [{"role": "assistant", "content": "See:"}, CALL_ITEMS[0], REASONING, CALL_ITEMS[1]]


async def test_encrypted_reasoning_before_a_text_is_sent_before_it() -> None:
    second = REASONING | {"id": "rs_2"}
    state = {"extra": {"extra_content": {"openai": {"reasoning_items": [REASONING, second], "before_text": 1}}}}
    body = await sent({"role": "assistant", "content": "See:", "tool_calls": [CALLS[0] | state]})
    text = {"role": "assistant", "content": "See:"}
    assert body["input"][:-1] == [REASONING, text, second, CALL_ITEMS[0]]


GRAMMAR = {"syntax": "lark", "definition": "start: INT"}


@pytest.mark.parametrize(
    ("format", "sent_format"),
    [
        (None, None),
        ({"type": "text"}, {"type": "text"}),
        ({"type": "grammar", "grammar": GRAMMAR}, {"type": "grammar", **GRAMMAR}),
    ],
)
async def test_a_custom_tool_is_offered_in_the_apis_own_shape(format: Any, sent_format: Any) -> None:
    fields = {"name": "run", "description": "Runs it"}
    tool = {"type": "custom", "custom": fields | ({"format": format} if format else {})}
    choice = {"type": "custom", "custom": {"name": "run"}}
    body = await sent(request_params={"tools": [tool], "tool_choice": choice})
    assert body["tools"] == [{"type": "custom", **fields, **({"format": sent_format} if sent_format else {})}]
    assert body["tool_choice"] == {"type": "custom", "name": "run"}


async def test_a_conversation_is_sent_in_its_order() -> None:
    names = ("system", "text", "text and a call", "a result", "a refusal")
    messages = [TRANSLATED[name][0] for name in names]
    items = [item for name in names for item in TRANSLATED[name][1]]
    assert (await sent(*messages))["input"] == [*items, QUESTION]


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
NOTHING = {"type": "object", "properties": {}}
FUNCTION = {"name": "weather", "description": "The weather.", "parameters": SCHEMA, "strict": True}

PARAMS: dict[str, tuple[Document, Document]] = {
    "none": ({}, {}),
    "as they are": (
        {"temperature": 0.5, "top_p": 0.9, "parallel_tool_calls": False, "user": "u", "prompt_cache_key": "k"},
        {"temperature": 0.5, "top_p": 0.9, "parallel_tool_calls": False, "user": "u", "prompt_cache_key": "k"},
    ),
    "who asks": ({"safety_identifier": "s"}, {"safety_identifier": "s"}),
    "a limit": ({"max_tokens": 99}, {"max_output_tokens": 99}),
    "a limit by its other name": ({"max_completion_tokens": 99}, {"max_output_tokens": 99}),
    "limits": ({"max_completion_tokens": 99, "max_tokens": 98, "max_output_tokens": 97}, {"max_output_tokens": 97}),
    "effort": ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
    "effort beside a summary": (
        {"reasoning_effort": "low", "reasoning": {"summary": "auto", "effort": "high"}},
        {"reasoning": {"summary": "auto", "effort": "low"}},
    ),
    "a summary": ({"reasoning": {"summary": "auto"}}, {"reasoning": {"summary": "auto"}}),
    "verbosity": ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    "JSON": ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
    "JSON of a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}},
        {"text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True}}},
    ),
    "format and verbosity": (
        {"response_format": {"type": "text"}, "verbosity": "high", "text": {"verbosity": "low"}},
        {"text": {"format": {"type": "text"}, "verbosity": "high"}},
    ),
    "a function": (
        {"tools": [{"type": "function", "function": FUNCTION}]},
        {"tools": [{"type": "function", **FUNCTION}]},
    ),
    "a function that says little": (
        {"tools": [{"type": "function", "function": {"name": "clock"}}]},
        {"tools": [{"type": "function", "name": "clock", "parameters": NOTHING, "strict": False}]},
    ),
    "a function as the API has it": (
        {"tools": [{"type": "function", **FUNCTION}]},
        {"tools": [{"type": "function", **FUNCTION}]},
    ),
    "a function that says it is something else": (
        {"tools": [{"type": "function", "function": {**FUNCTION, "type": "mcp"}}]},
        {"tools": [{"type": "function", **FUNCTION}]},
    ),
    "an entry's tool, which the server runs": (
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "web_search"}]},
    ),
    "no tool": ({"tool_choice": "none"}, {"tool_choice": "none"}),
    "this function": (
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tool_choice": {"type": "function", "name": "weather"}},
    ),
    "one of these functions": (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
            }
        },
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}},
    ),
    "this tool": ({"tool_choice": {"type": "file_search"}}, {"tool_choice": {"type": "file_search"}}),
    "an entry's own": ({"truncation": "auto", "include": []}, {"truncation": "auto", "include": []}),
}


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_are_sent_by_names_that_the_api_knows(name: str) -> None:
    given, params = PARAMS[name]
    assert response_params(given) == params
    assert fault_in_body({"model": "m", "input": [], "stream": True, **params}) is None


async def test_the_clients_parameters_are_sent_over_the_entrys_and_dropped_ones_are_not() -> None:
    body = await sent(
        request_params={"temperature": 0.5, "top_p": 0.7, "seed": 1, "max_tokens": 50, "reasoning_effort": "low"},
        params={"temperature": 0.9, "reasoning": {"summary": "auto"}, "truncation": "auto"},
        drop_params=["top_p", "seed"],
        max_output_tokens=60,
    )
    assert body == {
        "model": "model-1",
        "input": [QUESTION],
        "stream": True,
        "store": False,
        "temperature": 0.5,
        "truncation": "auto",
        "max_output_tokens": 50,
        "reasoning": {"summary": "auto", "effort": "low"},
    }


async def test_the_tools_of_an_entry_are_sent_with_the_clients() -> None:
    client_tool = {"type": "function", "function": FUNCTION}
    body = await sent(request_params={"tools": [client_tool]}, params={"tools": [{"type": "web_search"}]})
    assert body["tools"] == [{"type": "web_search"}, {"type": "function", **FUNCTION}]


async def test_an_entry_may_drop_parameters_by_the_apis_names_and_may_store_responses() -> None:
    assert "store" not in await sent(drop_params=["store"])
    assert "max_output_tokens" not in await sent(request_params={"max_tokens": 50}, drop_params=["max_output_tokens"])
    assert (await sent(params={"store": True}))["store"] is True


NEUTRAL = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
}


async def test_parameters_without_effect_are_not_sent() -> None:
    assert await sent(request_params=NEUTRAL) == await sent()


# -- unsupported requests


def tool(kind: str) -> Document:
    return {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": kind}]}


CANNOT: dict[str, tuple[Document, str]] = {
    "several answers": ({"n": 2}, "n"),
    "where to stop": ({"stop": "x"}, "stop"),
    "a seed": ({"seed": 0}, "seed"),
    "biased tokens": ({"logit_bias": {"1": 5}}, "logit_bias"),
    "a penalty": ({"presence_penalty": 0.1}, "presence_penalty"),
    "another": ({"frequency_penalty": -0.1}, "frequency_penalty"),
    "log probabilities": ({"logprobs": True}, "logprobs"),
    "more of them": ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
    "a tool that clients run": (tool("computer_use_preview"), "tools.1.type"),
}


async def refused(request: ChatRequest, **fields: Any) -> ChatError:
    """Return the error with which a model with these fields refuses the request, without a request to its server."""
    async with ResponsesServer(ANSWERS, key=KEY) as server, model_at(server, **fields) as model:
        with pytest.raises(ChatError) as raised:
            model.build(request)
        assert server.connections == 0
    return raised.value


@pytest.mark.parametrize("name", CANNOT)
async def test_an_unsupported_parameter_is_refused_by_its_name(name: str) -> None:
    params, path = CANNOT[name]
    error = await refused(ChatRequest([QUESTION], params=params))
    assert (error.code, error.path) == ("invalid_request", path)


@pytest.mark.parametrize("name", [name for name, (_, path) in CANNOT.items() if path != "n" and "tool" not in name])
async def test_a_parameter_that_the_entry_drops_is_accepted_and_not_sent(name: str) -> None:
    params, path = CANNOT[name]
    assert await sent(request_params=params, drop_params=[path]) == await sent()


async def test_several_answers_are_refused_even_if_the_entry_drops_n() -> None:
    assert (await refused(ChatRequest([QUESTION], params={"n": 2}), drop_params=["n"])).path == "n"


@pytest.mark.parametrize("system_prompt", [None, "Be brief."])
async def test_a_sound_is_refused_where_the_client_has_put_it(system_prompt: str | None) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    request = ChatRequest([QUESTION, user({"type": "text", "text": "a"}, sound)])
    error = await refused(request, system_prompt=system_prompt)
    assert (error.code, error.path) == ("invalid_request", "messages.1.content.1.type")


async def test_more_tokens_than_the_entry_allows_are_refused() -> None:
    request = ChatRequest([QUESTION], params={"max_tokens": 61})
    async with ResponsesServer(ANSWERS, key=KEY) as server, model_at(server, max_output_tokens=60) as model:
        with pytest.raises(ChatError) as raised:
            model.build(request)
    assert (raised.value.code, raised.value.path) == ("invalid_request", "max_tokens")


# -- how it ends


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "upstream_refused"), (401, "upstream_refused"), (429, "upstream_busy"), (503, "upstream_overloaded")],
)
async def test_a_refusal_is_reported_by_its_status(status: int, code: str) -> None:
    body = json.dumps({"error": {"message": f"{KEY} {PROMPT}", "type": "some_error"}}).encode()
    async with Loopback(reply(status, body)) as server, model_at(server) as model:
        assert (await failure(model)).code == code
        assert len(server.requests) == 1


async def test_an_aborted_connection_is_an_upstream_error() -> None:
    body = encode([*begun(), *told(message("Hello"))])
    async with Loopback(raw(head(headers={"Content-Length": "100000"}) + body)) as server, model_at(server) as model:
        assert (await failure(model)).code == "upstream_error"


async def test_a_response_that_is_not_streamed_is_read_all_the_same() -> None:
    body = json.dumps(response(message("Hello"))).encode()
    answer = reply(body=body, headers={"Content-Type": "application/json"})
    async with Loopback(answer) as server, model_at(server) as model:
        assert await ask(model) == "Hello."


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
async def test_an_answer_holds_no_more_than_the_line_limit(content_type: str) -> None:
    body = json.dumps(response(message("a" * 65_536))).encode()
    async with Loopback(reply(body=body, headers={"Content-Type": content_type})) as server, model_at(server) as model:
        assert (await failure(model)).code == "upstream_error"
