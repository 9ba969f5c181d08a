"""/api/ui: the UI message stream of the AI SDK, complete and truncated, its refusals, and resuming."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, Request

from quartapp import ChatError
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.events import Batch, Delta, Piece, Reasoning, Refusal, ToolCall, Usage
from tests.support.endpoints import (
    ID,
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
from tests.support.mock_model import FAILS_AFTER_TOKENS

UI = "/ai/api/ui"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(path=UI) as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def question(model: str | None = None, text: str = PROMPT) -> dict[str, Any]:
    """Return the body that `DefaultChatTransport` sends."""
    message = {"parts": [{"type": "text", "text": text}], "id": "YpJP", "role": "user"}
    return {"id": "c1", "messages": [message], "trigger": "submit-message"} | ({"model": model} if model else {})


async def parts_of(*pieces: Piece, finish_reason: str = "stop", usage: Usage | None = None) -> list[Any]:
    """Return the parts between the start of the step and its end, and the `finish`, of a model that emits `pieces`."""
    batch = Batch(1, list(pieces), finish_reason=finish_reason, usage=usage, ended=True)
    async with serving(path=UI, models={"own": OwnModel(batch)}) as client:
        reply = await client.ask(question())
    start, step, *parts, finish = reply.data
    assert start == {
        "type": "start",
        "messageId": reply.headers["X-Request-ID"],
        "messageMetadata": {"model": "own"},
    }
    assert step == {"type": "start-step"}
    assert reply.is_done
    assert None not in [value for part in reply.data for value in part.values()]
    return [*parts, finish]


def text(reply: Reply) -> str:
    return "".join(part["delta"] for part in reply.data if part["type"] == "text-delta")


# -- the stream


async def test_an_answer_is_parts_from_start_to_finish(client: Client) -> None:
    reply = await client.ask(question())
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert reply.headers["Cache-Control"] == "no-cache, no-transform"
    assert reply.headers["X-Accel-Buffering"] == "no"
    kinds = [part["type"] for part in reply.data]
    assert kinds[:3] == ["start", "start-step", "text-start"]
    assert kinds[-3:] == ["text-end", "finish-step", "finish"]
    assert set(kinds[3:-3]) == {"text-delta"}
    assert text(reply) == "1 2 3"
    usage = reply.data[-1]["messageMetadata"]["usage"]
    assert usage.keys() == {"inputTokens", "outputTokens", "totalTokens", "cachedInputTokens", "reasoningTokens"}
    assert reply.is_done


async def test_a_part_is_closed_before_another_begins() -> None:
    pieces: list[Piece] = [Reasoning("h"), Reasoning("m"), Delta("a"), Delta("b"), Reasoning("so"), Refusal("no")]
    parts = [(part["type"], part.get("id"), part.get("delta")) for part in await parts_of(*pieces)]
    assert parts == [
        ("reasoning-start", "1", None),
        ("reasoning-delta", "1", "h"),
        ("reasoning-delta", "1", "m"),
        ("reasoning-end", "1", None),
        ("text-start", "2", None),
        ("text-delta", "2", "a"),
        ("text-delta", "2", "b"),
        ("text-end", "2", None),
        ("reasoning-start", "3", None),
        ("reasoning-delta", "3", "so"),
        ("reasoning-end", "3", None),
        ("text-start", "4", None),
        ("text-delta", "4", "no"),
        ("text-end", "4", None),
        ("finish-step", None, None),
        ("finish", None, None),
    ]


async def test_a_tool_call_has_its_input_once_the_answer_is_complete() -> None:
    pieces: list[Piece] = [
        Delta("a"),
        ToolCall(0, "c1", "weather"),
        ToolCall(0, arguments='{"city"'),
        ToolCall(1, "c2", "time", "{}"),
        ToolCall(0, arguments=':"Bern"}'),
        ToolCall(2, "c3", "broken", '{"a'),
        ToolCall(3, "c4", "empty"),
    ]
    parts = await parts_of(*pieces, finish_reason="tool_calls")
    assert parts[2:] == [
        {"type": "text-end", "id": "1"},
        {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"city"'},
        {"type": "tool-input-start", "toolCallId": "c2", "toolName": "time"},
        {"type": "tool-input-delta", "toolCallId": "c2", "inputTextDelta": "{}"},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": ':"Bern"}'},
        {"type": "tool-input-start", "toolCallId": "c3", "toolName": "broken"},
        {"type": "tool-input-delta", "toolCallId": "c3", "inputTextDelta": '{"a'},
        {"type": "tool-input-start", "toolCallId": "c4", "toolName": "empty"},
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {"city": "Bern"}},
        {"type": "tool-input-available", "toolCallId": "c2", "toolName": "time", "input": {}},
        {
            "type": "tool-input-error",
            "toolCallId": "c3",
            "toolName": "broken",
            "input": '{"a',
            "errorText": "The arguments are not JSON.",
        },
        {"type": "tool-input-available", "toolCallId": "c4", "toolName": "empty", "input": {}},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "tool-calls"},
    ]


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content-filter"),
        ("tool_calls", "tool-calls"),
        ("function_call", "tool-calls"),
        ("eos", "other"),
        ("error", "other"),
        ("__proto__", "other"),
    ],
)
async def test_a_reason_is_one_that_all_versions_know(reason: str, sent: str) -> None:
    parts = await parts_of(Delta("a"), finish_reason=reason, usage=Usage(1, 2, 3))
    usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    assert parts[-1] == {"type": "finish", "finishReason": sent, "messageMetadata": {"usage": usage}}


@pytest.mark.parametrize(
    "prompt", ["data: [DONE]\n\n", '"}\n\ndata: {"type":"finish"}', "\u2028\r\n", "\x00", "\ufeff"]
)
async def test_text_of_a_model_is_never_a_part_of_the_stream(client: Client, prompt: str) -> None:
    reply = await client.ask(question("mock-echo", prompt))
    assert text(reply) == prompt
    assert [part["type"] for part in reply.data].count("finish") == 1


# -- failures


@pytest.mark.parametrize(("model", "code"), FAILS_AFTER_TOKENS)
async def test_a_failure_ends_with_error_and_finish(client: Client, log: Log, model: str, code: str) -> None:
    reply = await client.ask(question(model))
    assert (reply.status, text(reply)) == (200, "1 2")
    assert reply.data[-4:] == [
        {"type": "text-end", "id": "1"},
        {"type": "finish-step"},
        {"type": "error", "errorText": KINDS[code].message},
        {"type": "finish", "finishReason": "error"},
    ]
    assert reply.is_done
    assert "upstream-secret" not in reply.body.decode() + log.text
    assert log.only["ending"] == code


async def test_a_call_of_an_answer_that_failed_has_no_input_to_act_on() -> None:
    model = OwnModel(Batch(1, [ToolCall(0, "c1", "pay", "{}")]), ChatError("upstream_error"))
    async with serving(path=UI, models={"own": model}) as client:
        kinds = [part["type"] for part in (await client.ask(question())).data]
    assert "tool-input-available" not in kinds
    assert kinds[-3:] == ["finish-step", "error", "finish"]


async def test_after_the_status_timeout_a_stream_opens_and_reports_a_later_failure() -> None:
    body = event_stream(chunk({"role": "assistant"}))
    async with (
        Silent(body) as upstream,
        serving(path=UI, CHAT_STATUS_TIMEOUT_S=0.01, **offered_by(upstream)) as client,
        client.asking(question()) as connection,
    ):
        opened = await connection.receive()
        upstream.release.set()
        rest = await connection.receive()
    assert opened.startswith(b'data: {"type":"start"')
    assert opened.endswith(b'\n\ndata: {"type":"data-ping","data":{},"transient":true}\n\n')
    assert [json.loads(line[6:])["type"] for line in rest.split(b"\n\n")[:-2]] == ["finish-step", "error", "finish"]
    assert rest.endswith(b'"finishReason":"error"}\n\ndata: [DONE]\n\n')


# -- refusals


def sentence_of(reply: Reply) -> str:
    """Return the body of a refusal, after the checks that all refusals share."""
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert ID.fullmatch(reply.headers["X-Request-ID"])
    return reply.body.decode()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"id": "c"}, "Missing required parameter: 'messages'."),
        (question() | {"trigger": "x"}, "Invalid value: 'trigger'."),
        (question() | {"messages": [{"id": "1", "role": "user", "parts": [], "odd": 1}]}, None),
    ],
)
async def test_the_sentence_names_the_field(client: Client, body: dict[str, Any], sentence: str | None) -> None:
    reply = await client.ask(body)
    assert (reply.status, sentence_of(reply)) == (422, sentence or "Unknown parameter: 'messages.0.odd'.")


@pytest.mark.parametrize(
    ("model", "code", "retry_after"),
    [
        ("fault-status:429", "upstream_busy", "7"),
        ("fault-status:401", "upstream_refused", None),
        ("fault-drop:0", "upstream_error", None),
        ("fault-no-finish:0", "upstream_truncated", None),
        ("fault-content-filtered", "content_filtered", None),
        ("nope", "model_not_found", None),
    ],
)
async def test_a_refusal_is_one_plain_sentence_with_a_true_status(
    client: Client, log: Log, model: str, code: str, retry_after: str | None
) -> None:
    reply = await client.ask(question(model))
    assert (reply.status, sentence_of(reply)) == (KINDS[code].status, KINDS[code].message)
    assert reply.headers.get("Retry-After") == retry_after
    assert log.only["id"] == reply.headers["X-Request-ID"]


async def test_a_request_is_authenticated_before_its_body_is_read() -> None:
    def authenticate(request: Request) -> str | None:
        return request.headers.get("X-Auth")

    async with serving(path=UI, authenticate=authenticate) as client:
        refused = await client.send(b"{", headers={"Content-Type": "application/json"})
        assert (refused.status, sentence_of(refused)) == (401, "Valid credentials are needed.")
        assert (await client.send(path=f"{UI}/c1/stream", method="GET")).status == 401
        assert (await client.ask(question(), **{"X-Auth": "ann"})).status == 200


async def test_a_hosts_hook_that_crashes_is_a_plain_sentence_too() -> None:
    host = Quart("host", static_folder=None)

    @host.before_request
    async def crash() -> None:
        raise RuntimeError("canary")

    async with serving(path=UI, host=host) as client:
        reply = await client.ask(question())
    assert (reply.status, sentence_of(reply)) == (500, KINDS["internal_error"].message)


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{", "application/json", "bad_request"),
        (b"{}", "text/plain", "unsupported_media_type"),
        (b"[" * 1000, "application/json", "too_deep"),
        (b" " * 262_145, "application/json", "too_large"),
    ],
)
async def test_a_body_is_refused_as_on_any_route(client: Client, body: bytes, content_type: str, code: str) -> None:
    reply = await client.send(body, headers={"Content-Type": content_type})
    assert (reply.status, sentence_of(reply)) == (KINDS[code].status, KINDS[code].message)


# -- other addresses


@pytest.mark.parametrize("id", ["c1", "a-b_c", "%20"])
async def test_there_is_nothing_to_resume(client: Client, log: Log, id: str) -> None:
    for method in ("GET", "HEAD"):
        reply = await client.send(path=f"{UI}/{id}/stream", method=method)
        assert (reply.status, reply.body) == (204, b"")
    assert log.lines == []


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [
        (UI, "GET", "method_not_allowed"),
        (UI, "DELETE", "method_not_allowed"),
        (f"{UI}/c1/stream", "POST", "method_not_allowed"),
        (f"{UI}/c1", "GET", "not_found"),
        (f"{UI}/c1/stream/x", "GET", "not_found"),
    ],
)
async def test_other_addresses_and_methods_are_refused_in_a_sentence(
    client: Client, path: str, method: str, code: str
) -> None:
    reply = await client.send(path=path, method=method)
    assert (reply.status, sentence_of(reply)) == (KINDS[code].status, KINDS[code].message)


async def test_options_lists_the_methods(client: Client) -> None:
    assert (await client.send(method="OPTIONS")).headers["Allow"] == "POST, OPTIONS"
    assert (await client.send(path=f"{UI}/c1/stream", method="OPTIONS")).headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_the_next_step_of_a_message_has_its_id(client: Client) -> None:
    call = {"type": "tool-f", "toolCallId": "c1", "state": "output-available", "input": {}, "output": "1"}
    answer = {"id": "a1", "role": "assistant", "parts": [call]}
    body = question("mock")
    reply = await client.ask(body | {"messages": [*body["messages"], answer]})
    assert reply.data[0]["messageId"] == "a1"
