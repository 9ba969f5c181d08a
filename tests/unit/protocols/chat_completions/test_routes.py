"""OpenAI's API below /v1: chunks as the upstream sent them, completions merged from them, and errors in its form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, Request

from quartapp import ChatError
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.errors import Code
from quartapp.core.events import Batch, Delta, Piece, Reasoning, Refusal, ToolCall, Usage
from quartapp.protocols.chat_completions.encode import OPENAI_CODES
from tests.support.endpoints import (
    PROMPT,
    Client,
    Log,
    OwnModel,
    Reply,
    Silent,
    chunk,
    event_stream,
    offered_by,
    serving,
)
from tests.support.loopback import Loopback, reply
from tests.support.mock_model import FAILS_AFTER_TOKENS

COMPLETIONS = "/ai/v1/chat/completions"
MODELS = "/ai/v1/models"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
USAGE_CHUNK = chunk(choices=[], usage=USAGE)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(path=COMPLETIONS) as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def question(model: str = "mock", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": PROMPT}], **fields}


def streamed(model: str = "mock", **fields: Any) -> dict[str, Any]:
    return question(model, stream=True, **fields)


async def answered(body: bytes, document: dict[str, Any]) -> Reply:
    """Return the response to `document`, whose model is offered, when the upstream answers with `body`."""
    async with (
        Loopback(reply(body=body)) as upstream,
        serving(path=COMPLETIONS, **offered_by(upstream, document["model"])) as client,
    ):
        return await client.ask(document)


def error_of(reply: Reply) -> Any:
    """Return the error of a refusal, after the checks that all refusals share."""
    error = reply.json["error"]
    assert error.keys() == {"message", "type", "code", "param"}
    named = {code: kind for code, kind in KINDS.items() if OPENAI_CODES.get(code, code) == error["code"]}
    statuses = {400 if kind.status == 422 else kind.status for kind in named.values()}
    assert reply.status in statuses
    if named.keys() <= {"invalid_request", "too_large"} and error["param"]:
        assert error["message"].endswith(f": '{error['param']}'.")
    else:
        assert error["message"] in [kind.message for kind in named.values()]
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Request-ID"]
    return error


def text_of(chunks: list[Any], field: str = "content", index: int = 0) -> str:
    """Return the text in `field` of the deltas of one choice."""
    choices = [choice for each in chunks for choice in each["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(field) or "" for choice in choices)


# -- streamed


async def test_a_stream_is_chunks_and_done(client: Client) -> None:
    reply = await client.ask(streamed())
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert reply.headers["Cache-Control"] == "no-cache, no-transform"
    assert reply.headers["X-Request-ID"]
    chunks = reply.data
    assert text_of(chunks) == "1 2 3"
    assert [each["object"] for each in chunks] == ["chat.completion.chunk"] * len(chunks)
    assert {each["model"] for each in chunks} == {"mock"}
    assert len({each["id"] for each in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert reply.is_done


async def test_a_chunk_is_the_upstreams_own_but_for_the_name_of_the_model() -> None:
    strange = chunk(
        {"role": "assistant", "content": 'a"model":"theirs"', "reasoning_content": "hm", "new": {"x": [1.50, None]}},
        system_fingerprint="fp",
        usage={"prompt_tokens": 1, "completion_tokens": 1, "model": "theirs"},
    )
    sent = json.dumps(strange, indent=1).replace("\n", "").encode()
    body = event_stream(sent, b'{"choices":[{"delta":{},"finish_reason":"stop","index":0}]}')
    response = await answered(body, streamed("ours", stream_options={"include_usage": True}))
    first, last = response.body.split(b"\n\n")[:2]
    assert first == b"data: " + sent.replace(b'"model": "theirs", "choices"', b'"model":"ours", "choices"')
    assert last == b'data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}]}'


@pytest.mark.parametrize("name", ['a"b', "a/b:c", "é", "\\"])
async def test_any_name_of_a_model_is_inserted_unchanged(name: str) -> None:
    body = event_stream(chunk({"content": "hi"}), chunk(finish_reason="stop"))
    response = await answered(body, streamed(name))
    assert {each["model"] for each in response.data} == {name}


async def test_usage_is_always_requested_and_sent_to_clients_that_request_it() -> None:
    body = event_stream(chunk({"content": "hi"}, usage=None), chunk(finish_reason="stop", usage=None), USAGE_CHUNK)
    async with Loopback(reply(body=body)) as upstream, serving(path=COMPLETIONS, **offered_by(upstream)) as client:
        for options in (None, {"include_usage": False}, {}):
            chunks = (await client.ask(streamed("ours", stream_options=options))).data
            assert len(chunks) == 2
            assert "usage" not in json.dumps(chunks)
        chunks = (await client.ask(streamed("ours", stream_options={"include_usage": True}))).data
    assert [each.get("usage", "none") for each in chunks] == [None, None, USAGE]
    assert [each.json["stream_options"] for each in upstream.requests] == [{"include_usage": True}] * 4


@pytest.mark.parametrize("held", [[chunk({"role": "assistant", "content": ""})], [chunk({"role": "assistant"})] * 3])
async def test_a_role_is_not_an_event_so_a_failure_after_it_is_a_true_status(held: list[Any]) -> None:
    body = event_stream(*held, {"error": {"message": "canary", "type": "server_error"}}, done=False)
    refused = await answered(body, streamed("ours"))
    assert error_of(refused)["code"] == "upstream_error"
    assert "canary" not in refused.body.decode()
    complete = await answered(
        event_stream(*held, chunk({"content": "a"}), chunk(finish_reason="stop")), streamed("ours")
    )
    assert [each["choices"][0]["delta"] for each in complete.data[: len(held)]] == [
        each["choices"][0]["delta"] for each in held
    ]


@pytest.mark.parametrize(("model", "code"), FAILS_AFTER_TOKENS)
async def test_a_failure_after_tokens_is_an_error_and_no_done(client: Client, log: Log, model: str, code: str) -> None:
    reply = await client.ask(streamed(model))
    *chunks, last = reply.data
    assert (reply.status, text_of(chunks)) == (200, "1 2")
    error = {"message": KINDS[code].message, "type": "server_error", "code": code, "param": None}
    assert last == {"error": error}
    assert not reply.is_done
    assert "upstream-secret" not in reply.body.decode() + log.text
    assert log.only["ending"] == code


async def test_after_the_status_timeout_a_stream_opens_with_an_empty_chunk() -> None:
    body = event_stream(chunk({"role": "assistant"}), chunk({"content": "hi"}), chunk(finish_reason="stop"))
    async with (
        Silent(body) as upstream,
        serving(path=COMPLETIONS, CHAT_STATUS_TIMEOUT_S=0.01, **offered_by(upstream)) as client,
        client.asking(streamed("ours")) as connection,
    ):
        (opened,) = (await connection.receive()).split(b"\n\n")[:-1]
        ping = json.loads(opened.removeprefix(b"data: "))
        assert (ping["object"], ping["model"]) == ("chat.completion.chunk", "ours")
        assert ping["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
        upstream.release.set()
        assert b'"content":"hi"' in await connection.receive()


async def test_several_choices_are_complete_when_each_of_them_is() -> None:
    both = [
        chunk(choices=[{"index": index, "delta": {"content": text}, "finish_reason": None}])
        for index, text in ((0, "a"), (1, "b"), (0, "c"), (1, "d"))
    ]
    ends = [chunk(choices=[{"index": index, "delta": {}, "finish_reason": "stop"}]) for index in (1, 0)]
    complete = await answered(event_stream(*both, *ends), streamed("ours", n=2))
    assert [text_of(complete.data, index=index) for index in (0, 1)] == ["ac", "bd"]
    assert complete.is_done
    half = await answered(event_stream(*both, ends[0]), streamed("ours", n=2))
    assert half.data[-1]["error"]["code"] == "upstream_truncated"
    assert not half.is_done


async def test_the_mock_model_gives_the_requested_number_of_choices(client: Client) -> None:
    chunks = (await client.ask(streamed(n=2))).data
    assert [text_of(chunks, index=index) for index in (0, 1, 2)] == ["1 2 3", "1 2 3", ""]


# -- completions


async def test_a_completion_is_merged_from_chunks(client: Client) -> None:
    for document in (question(), question(stream=False)):
        reply = await client.ask(document)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
        completion = reply.json
        assert (completion["object"], completion["model"]) == ("chat.completion", "mock")
        [choice] = completion["choices"]
        assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
        assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", "1 2 3")
        assert completion["usage"].keys() >= USAGE.keys()


TOKEN = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.5, "bytes": None}]}


async def test_everything_in_the_chunks_is_in_the_completion() -> None:
    def call(index: int, **fields: Any) -> Any:
        return {"tool_calls": [{"index": index, **fields}]}

    deltas = [
        {"role": "assistant", "content": None, "function_call": None},
        {"content": "a", "refusal": None, "reasoning_content": "h"},
        {"content": "b", "reasoning_content": "m", "annotations": [{"url": 1}]},
        {"refusal": "no", "annotations": [{"url": 2}]},
        call(1, id="c1", type="function", function={"name": "f", "arguments": ""}),
        call(1, function={"arguments": '{"x"'}),
        call(4, id="c4", type="function", function={"name": "g", "arguments": "{}"}),
        call(1, id="c1", type="function", function={"arguments": ":1}"}),
        {"function_call": {"name": "old"}},
        {"function_call": {"arguments": "{}"}},
    ]
    logprobs = [chunk(choices=[{"index": 0, "delta": {}, "logprobs": {"content": [TOKEN], "refusal": None}}])] * 2
    body = event_stream(
        chunk(choices=[], prompt_filter_results=[{"x": 1}]),
        *[chunk(delta, obfuscation="xyz", service_tier="default") for delta in deltas],
        *logprobs,
        chunk(finish_reason="tool_calls", system_fingerprint="fp"),
        USAGE_CHUNK,
    )
    assert (await answered(body, question("ours"))).json == {
        "id": "up-1",
        "object": "chat.completion",
        "created": 7,
        "model": "ours",
        "prompt_filter_results": [{"x": 1}],
        "service_tier": "default",
        "system_fingerprint": "fp",
        "usage": USAGE,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "refusal": "no",
                    "reasoning_content": "hm",
                    "annotations": [{"url": 1}, {"url": 2}],
                    "function_call": {"name": "old", "arguments": "{}"},
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                        {"id": "c4", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                    ],
                },
                "logprobs": {"content": [TOKEN, TOKEN], "refusal": None},
                "finish_reason": "tool_calls",
            }
        ],
    }


@pytest.mark.parametrize("size", [8191, 60_000])
async def test_an_answer_with_a_large_header_is_an_answer(size: int) -> None:
    body = event_stream(chunk({"content": "a"}), chunk(finish_reason="stop"))
    headers = {"Content-Type": "text/event-stream", "X-Large": "x" * size}
    async with (
        Loopback(reply(body=body, headers=headers)) as upstream,
        serving(path=COMPLETIONS, **offered_by(upstream)) as client,
    ):
        assert (await client.ask(question("ours"))).json["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize("end", ["[DONE]", "a clean end"])
async def test_one_choice_of_a_server_that_ignores_n_is_a_complete_answer(end: str) -> None:
    one = [chunk({"content": "a"}), chunk(finish_reason="stop")]
    announced = [chunk({"role": "assistant"}, choices=[{"index": 1, "delta": {"role": "assistant"}}]), *one]
    rest = b"" if end == "[DONE]" else b"data: [DONE]\n\n"
    body = event_stream(*one).removesuffix(rest)
    assert (await answered(body, streamed("ours", n=2))).is_done
    [choice] = (await answered(body, question("ours", n=2))).json["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("a", "stop")
    reply = await answered(event_stream(*announced).removesuffix(rest), question("ours", n=2))
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_truncated")


async def test_fields_that_clients_would_misread_are_in_openais_form_in_streams_and_completions() -> None:
    calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in "ab"]
    body = event_stream(
        {"choices": [{"index": 0, "delta": {"tool_calls": calls, "provider": {"model": "p"}}}], "model": "theirs"},
        chunk(finish_reason="end_turn"),
        chunk(choices=[], usage={"input_tokens": 9, "output_tokens": 3}),
    )
    first, last, counted = (await answered(body, streamed("ours", stream_options={"include_usage": True}))).data
    assert first["model"] == "ours"
    assert first["choices"][0]["delta"] == {
        "tool_calls": [{"index": index, **call} for index, call in enumerate(calls)],
        "provider": {"model": "p"},
    }
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert counted["usage"].items() >= USAGE.items()
    completion = (await answered(body, question("ours"))).json
    assert completion["model"] == "ours"
    assert completion["choices"][0]["message"]["tool_calls"] == calls
    assert completion["choices"][0]["message"]["provider"] == {"model": "p"}
    assert completion["choices"][0]["finish_reason"] == "tool_calls"
    assert completion["usage"].items() >= USAGE.items()


async def test_choices_of_a_completion_come_in_their_order() -> None:
    chunks = [
        chunk(choices=[{"index": index, "delta": {"content": text}, "finish_reason": "stop"}])
        for index, text in ((1, "b"), (0, "a"))
    ]
    completion = (await answered(event_stream(*chunks), question("ours", n=2))).json
    assert [(each["index"], each["message"]["content"]) for each in completion["choices"]] == [(0, "a"), (1, "b")]


async def test_fields_that_change_their_type_do_no_harm() -> None:
    deltas = [{"content": "a", "odd": None}, {"odd": {"a": "1"}}, {"odd": "b"}, {"odd": ["c"]}, {"odd": {"a": 2}}]
    body = event_stream(*map(chunk, deltas), chunk(finish_reason="stop"))
    message = (await answered(body, question("ours"))).json["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "a", "odd": {"a": 2}}


async def test_half_a_character_is_replaced() -> None:
    halves = [rb'{"choices":[{"index":0,"delta":{"content":"%b"}}]}' % half for half in (rb"a\ud83d", rb"\ude00\ud83d")]
    body = event_stream(*halves, chunk(finish_reason="stop"))
    content = (await answered(body, question("ours"))).json["choices"][0]["message"]["content"]
    assert content == "a\ufffd\ufffd\ufffd"


@pytest.mark.parametrize("strange", [b"1e999", b'"\xff"', b'"\xed\xa0\x80"'])
async def test_a_field_that_cannot_be_re_encoded_is_an_upstream_error(strange: bytes) -> None:
    body = event_stream(b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"x":%b}' % strange)
    assert error_of(await answered(body, question("ours")))["code"] == "upstream_error"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("fault-status:429", "upstream_busy"),
        ("fault-error-object:2", "upstream_error"),
        ("fault-drop:2", "upstream_error"),
        ("fault-garbage:2", "upstream_error"),
        ("fault-no-finish:2", "upstream_truncated"),
        ("fault-no-finish-done:2", "upstream_truncated"),
    ],
)
async def test_a_completion_is_complete_or_an_error(client: Client, log: Log, model: str, code: str) -> None:
    reply = await client.ask(question(model))
    assert error_of(reply)["code"] == OPENAI_CODES.get(code, code)
    assert "upstream-secret" not in reply.body.decode() + log.text
    assert (log.only["id"], log.only["ending"]) == (reply.headers["X-Request-ID"], code)


async def test_a_completion_is_requested_as_a_stream_so_that_truncation_is_detected() -> None:
    body = event_stream(chunk({"content": "a"}), chunk(finish_reason="stop"), USAGE_CHUNK)
    async with Loopback(reply(body=body)) as upstream, serving(path=COMPLETIONS, **offered_by(upstream)) as client:
        assert (await client.ask(question("ours"))).json["usage"] == USAGE
    assert upstream.requests[0].json["stream"] is True


# -- models of a project's own

PIECES: list[Piece] = [
    Reasoning("hm"),
    Delta("a"),
    ToolCall(0, "c1", "f", "{"),
    ToolCall(0, arguments="}"),
    Refusal("no"),
    Delta("b\ud83d"),
]
OWN = {"own": OwnModel(Batch(1, PIECES), Batch(1, finish_reason="tool_calls", usage=Usage(9, 3, 12), ended=True))}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_model_without_chunks_gets_the_chats_own_chunks(include_usage: bool) -> None:
    async with serving(path=COMPLETIONS, models=OWN) as client:
        reply = await client.ask(streamed("own", stream_options={"include_usage": include_usage}))
    chunks = reply.data
    assert reply.is_done
    assert {(each["id"], each["object"], each["model"]) for each in chunks} == {
        (f"chatcmpl-{reply.headers['X-Request-ID']}", "chat.completion.chunk", "own")
    }
    ends = [choice["finish_reason"] for each in chunks for choice in each["choices"]]
    assert ends == [None] * len(PIECES) + ["tool_calls"]
    deltas = [choice["delta"] for each in chunks for choice in each["choices"]]
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * len(PIECES)
    assert (text_of(chunks), text_of(chunks, "reasoning_content"), text_of(chunks, "refusal")) == (
        "ab\ufffd",
        "hm",
        "no",
    )
    assert [delta["tool_calls"] for delta in deltas if "tool_calls" in delta] == [
        [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}}],
        [{"index": 0, "function": {"arguments": "}"}}],
    ]
    assert [each.get("usage") for each in chunks if not each["choices"]] == ([USAGE] if include_usage else [])


async def test_a_model_without_chunks_gives_a_completion_too() -> None:
    async with serving(path=COMPLETIONS, models=OWN) as client:
        completion = (await client.ask(question("own"))).json
    message = {"role": "assistant", "content": "ab\ufffd", "reasoning_content": "hm", "refusal": "no"}
    assert completion["choices"][0]["message"] == {**message, "tool_calls": [CALL]}
    assert (completion["choices"][0]["finish_reason"], completion["usage"]) == ("tool_calls", USAGE)


# -- errors

BODIES: list[tuple[Any, str, str | None]] = [
    (b"{", "bad_request", None),
    (b"[" * 1000, "too_deep", None),
    (question(messages=[{"role": "x", "content": "hi"}]), "invalid_request", "messages.0.role"),
    ({"model": "mock"}, "invalid_request", "messages"),
    (question(store=True), "invalid_request", "store"),
    (question(n=5), "invalid_request", "n"),
    (question("nope"), "model_not_found", "model"),
    (question(messages=[{"role": "user", "content": "a" * 100_001}]), "too_large", "messages"),
]


@pytest.mark.parametrize(("body", "code", "param"), BODIES)
async def test_a_refusal_has_openais_form(client: Client, log: Log, body: Any, code: str, param: str | None) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await client.send(data, headers={"Content-Type": "application/json"})
    error = error_of(reply)
    assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")
    assert log.only["id"] == reply.headers["X-Request-ID"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "code", "may_be_billed"),
    [
        ("fault-status:429", "rate_limit_exceeded", False),
        ("fault-status:503", "upstream_overloaded", False),
        ("fault-context-too-long", "context_length_exceeded", False),
        ("fault-status:500", "upstream_error", True),
        ("fault-drop:0", "upstream_error", True),
        ("fault-no-finish:0", "upstream_truncated", True),
    ],
)
async def test_clients_get_x_should_retry_false_if_a_retry_may_be_billed(
    client: Client, model: str, code: str, may_be_billed: bool, stream: bool
) -> None:
    reply = await client.ask(question(model, stream=stream))
    assert error_of(reply)["code"] == code
    assert reply.headers.get("x-should-retry") == ("false" if may_be_billed else None)
    assert reply.headers.get("Retry-After") == ("7" if model in ("fault-status:429", "fault-status:503") else None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_of_the_upstream_has_a_status_that_no_client_retries(client: Client, status: int) -> None:
    reply = await client.ask(question(f"fault-status:{status}"))
    assert (reply.status, error_of(reply)["code"]) == (400, "upstream_refused")
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("status", "code"), [(402, None), (429, "insufficient_quota")])
async def test_an_account_without_credit_is_not_reported_as_busy(status: int, code: str | None) -> None:
    body = json.dumps({"error": {"message": "canary", "code": code}}).encode()
    async with (
        Loopback(reply(status, body, {"Content-Type": "application/json", "Retry-After": "7"})) as upstream,
        serving(path=COMPLETIONS, **offered_by(upstream)) as client,
    ):
        refused = await client.ask(question("ours"))
    assert (refused.status, error_of(refused)["code"]) == (402, "insufficient_quota")
    assert "try again" not in error_of(refused)["message"]
    assert (refused.headers["x-should-retry"], refused.headers.get("Retry-After")) == ("false", None)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("retry_after_s", "should_retry"), [(None, "false"), (20, None)])
async def test_a_spent_budget_is_worth_a_retry_only_after_a_known_wait(
    retry_after_s: int | None, should_retry: str | None
) -> None:
    def authenticate(_: Request) -> str:
        raise ChatError("budget_exceeded", retry_after_s=retry_after_s)

    async with serving(path=COMPLETIONS, authenticate=authenticate) as client:
        refused = await client.ask(question())
    assert (refused.status, error_of(refused)["code"]) == (429, "insufficient_quota")
    assert refused.headers.get("x-should-retry") == should_retry


MESSAGES: list[tuple[dict[str, Any], str]] = [
    (question(top_k=1), "Unknown parameter: 'top_k'."),
    (question(messages=[{"role": "user", "content": "hi", "odd": 1}]), "Unknown parameter: 'messages.0.odd'."),
    (question(store=True), "Unsupported value: 'store'."),
    (question(service_tier="flex"), "Unsupported value: 'service_tier'."),
    (question(temperature=3), "Invalid value: 'temperature'."),
    ({"model": "mock"}, "Missing required parameter: 'messages'."),
    (question(max_tokens=1, max_completion_tokens=2), "Unsupported value: 'max_tokens'."),
    (
        question(messages=[{"role": "user", "content": "a" * 100_001}]),
        "The request is larger than allowed: 'messages'.",
    ),
]


@pytest.mark.parametrize(("document", "message"), MESSAGES)
async def test_the_message_names_the_field_because_clients_show_nothing_else(
    client: Client, document: dict[str, Any], message: str
) -> None:
    assert error_of(await client.ask(document))["message"] == message


async def test_an_answer_that_took_too_long_is_not_retried() -> None:
    limits = {"CHAT_IDLE_TIMEOUT_S": "upstream_timeout", "CHAT_ANSWER_TIMEOUT_S": "deadline_exceeded"}
    for setting, code in limits.items():
        given: dict[str, Any] = {setting: 0.05}
        async with serving(path=COMPLETIONS, **given) as client:
            reply = await client.ask(question("fault-stall:1"))
        assert error_of(reply)["code"] == code
        assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("unauthorized", "authentication_error"),
        ("forbidden", "permission_error"),
        ("rate_limited", "rate_limit_error"),
        ("invalid_request", "invalid_request_error"),
        ("internal_error", "server_error"),
    ],
)
async def test_the_type_of_an_error_depends_on_its_status(code: Code, kind: str) -> None:
    def authenticate(_: Request) -> str:
        raise ChatError(code, retry_after_s=3)

    async with serving(path=COMPLETIONS, authenticate=authenticate) as client:
        for reply in (await client.ask(question()), await client.send(path=MODELS, method="GET")):
            assert (error_of(reply)["type"], reply.headers["Retry-After"]) == (kind, "3")


async def test_a_crash_of_a_hosts_hook_is_reported_in_the_format_of_the_route(log: Log) -> None:
    host = Quart("host", static_folder=None)

    @host.before_request
    async def crash() -> None:
        raise RuntimeError("canary")

    async with serving(path=COMPLETIONS, host=host) as client:
        reply = await client.ask(question())
    assert error_of(reply)["code"] == "internal_error"
    assert reply.headers["x-should-retry"] == "false"
    assert "canary" not in reply.body.decode()
    assert "RuntimeError: canary" in log.text


async def test_the_client_may_authenticate_with_its_api_key() -> None:
    def authenticate(request: Request) -> str | None:
        return "ann" if request.headers.get("Authorization") == "Bearer canary-key" else None

    body = event_stream(chunk({"content": "a"}), chunk(finish_reason="stop"))
    async with (
        Loopback(reply(body=body)) as upstream,
        serving(path=COMPLETIONS, authenticate=authenticate, **offered_by(upstream)) as client,
    ):
        assert error_of(await client.ask(question("ours")))["code"] == "invalid_api_key"
        assert (await client.ask(question("ours"), Authorization="Bearer canary-key")).status == 200
    assert "canary" not in repr(upstream.requests[0].headers)


# -- models and other addresses


async def test_the_models_that_are_offered_are_listed() -> None:
    async with serving(path=MODELS, models={"a": OwnModel(), "b/c": OwnModel()}) as client:
        listed = (await client.send(method="GET")).json
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == ["a", "b/c"]
        for model in listed["data"]:
            assert model == {"id": model["id"], "object": "model", "created": 0, "owned_by": "quartapp"}
            assert (await client.send(path=f"{MODELS}/{model['id']}", method="GET")).json == model


async def test_the_mock_models_faults_are_offered_by_name_and_not_listed(client: Client) -> None:
    listed = [model["id"] for model in (await client.send(path=MODELS, method="GET")).json["data"]]
    assert "mock" in listed
    assert [name for name in listed if name.startswith("fault")] == []
    assert (await client.send(path=f"{MODELS}/fault-drop", method="GET")).status == 200


async def test_a_single_model_is_offered_by_its_name() -> None:
    async with Loopback(reply()) as upstream, serving(path=MODELS, **offered_by(upstream)) as client:
        assert [model["id"] for model in (await client.send(method="GET")).json["data"]] == ["ours"]
    assert upstream.requests == []


@pytest.mark.parametrize("name", ["nope", "a/b", "../x", "fault-drop:x", "%00"])
async def test_a_model_that_is_not_offered_is_not_found(client: Client, name: str) -> None:
    assert error_of(await client.send(path=f"{MODELS}/{name}", method="GET"))["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/ai/v1/completions", "/ai/v1/chat", "/ai/v1/models/", "/ai/v1/embeddings"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_address_is_not_found_in_openais_form(client: Client, path: str, method: str) -> None:
    assert error_of(await client.send(path=path, method=method))["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        (COMPLETIONS, "GET", "POST, OPTIONS"),
        (COMPLETIONS, "DELETE", "POST, OPTIONS"),
        (MODELS, "POST", "GET, HEAD, OPTIONS"),
        (MODELS + "/mock", "DELETE", "GET, HEAD, OPTIONS"),
    ],
)
async def test_another_method_is_refused_in_openais_form(client: Client, path: str, method: str, allow: str) -> None:
    reply = await client.send(path=path, method=method)
    assert (error_of(reply)["code"], reply.headers["Allow"]) == ("method_not_allowed", allow)
    options = await client.send(path=path, method="OPTIONS")
    assert (options.status, options.headers["Allow"]) == (204, allow)
