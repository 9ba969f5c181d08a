"""One JSON object in place of a stream: its content, its true statuses, and disconnects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.events import Batch, Delta, Done, Event, Piece, Reasoning, Refusal, Start, ToolCall, Usage
from quartapp.protocols.native.whole import WholeAnswer, WholeToolCall, merge
from tests.support.endpoints import PROMPT, STREAM, Client, Log, OwnModel, Reply, Silent, offered_by, serving

CHAT = "/ai/api/chat"
JSON = {"Accept": "application/json"}
COUNT = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(path=CHAT) as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def answer_of(reply: Reply) -> Any:
    """Return the object of an answer, after the checks that all answers share."""
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.json["id"] == reply.headers["X-Request-ID"]
    return {name: value for name, value in reply.json.items() if name != "id"}


# -- the object


async def test_an_answer_is_one_object(client: Client) -> None:
    reply = await client.ask()
    answer = answer_of(reply)
    usage = answer.pop("usage")
    assert answer == {"model": "mock", "finish_reason": "stop", "text": "1 2 3"}
    assert usage.keys() == {*COUNT, "cached_input_tokens", "reasoning_tokens"}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_every_request_for_one_object_gets_the_same(client: Client) -> None:
    body = {"message": PROMPT}
    replies = [
        await client.ask(body),
        await client.ask({**body, "stream": True}),
        await client.ask(body, **JSON),
        await client.get(body),
    ]
    client.path = STREAM
    replies += [
        await client.ask(body, **JSON),
        await client.ask({**body, "stream": False}),
        await client.ask({**body, "stream": False}, Accept="application/x-ndjson"),
        await client.get(body, **JSON),
    ]
    assert all(answer_of(reply) == answer_of(replies[0]) for reply in replies)


async def test_an_object_has_all_events_of_the_model() -> None:
    pieces: list[Piece] = [
        Reasoning("h"),
        Reasoning("m"),
        Delta("a"),
        ToolCall(0, "c1", "f"),
        ToolCall(0, arguments='{"x"'),
        ToolCall(2, "c2", "g", "{}"),
        ToolCall(0, arguments=":1}"),
        Delta("b"),
        Refusal("n"),
        Refusal("o"),
    ]
    batch = Batch(1, pieces, finish_reason="tool_calls", usage=Usage(9, 3, 12), ended=True)
    async with serving(path=CHAT, models={"own": OwnModel(batch)}) as client:
        answer = answer_of(await client.ask())
    assert answer == {
        "model": "own",
        "finish_reason": "tool_calls",
        "text": "ab",
        "reasoning": "hm",
        "refusal": "no",
        "tool_calls": [
            {"id": "c1", "name": "f", "arguments": '{"x":1}'},
            {"id": "c2", "name": "g", "arguments": "{}"},
        ],
        "usage": COUNT,
    }


async def test_empty_fields_of_an_answer_are_dropped_except_its_text() -> None:
    async with serving(path=CHAT, models={"own": OwnModel(Batch(1, finish_reason="stop", ended=True))}) as client:
        assert answer_of(await client.ask()) == {"model": "own", "finish_reason": "stop", "text": ""}


async def test_characters_that_a_model_splits_are_joined() -> None:
    batches = [Batch(1, [Delta("a\ud83d")]), Batch(1, [Delta("\ude00\ud83d")], finish_reason="stop", ended=True)]
    async with serving(path=CHAT, models={"own": OwnModel(*batches)}) as client:
        assert answer_of(await client.ask())["text"] == "a😀\ufffd"


@pytest.mark.parametrize(("model", "field"), [("mock-reasoning", "reasoning"), ("mock-refusal", "refusal")])
async def test_an_object_has_the_content_of_the_stream(client: Client, model: str, field: str) -> None:
    question = {"message": PROMPT, "model": model}
    answer = answer_of(await client.ask(question))
    client.path = STREAM
    records = (await client.ask(question, Accept="application/x-ndjson")).records
    for name, kind in (("text", "delta"), (field, field)):
        assert answer[name] == "".join(record["text"] for record in records if record["type"] == kind)
    assert answer[field]


async def test_the_parameters_count_for_one_object_too(client: Client) -> None:
    assert answer_of(await client.ask({"message": "count to 9", "max_tokens": 2}))["finish_reason"] == "length"


def test_merging_uses_the_last_end_and_drops_nothing() -> None:
    events: list[Event] = [Start("i", "m"), Delta("a"), ToolCall(0, arguments="1"), ToolCall(0, "c", "f"), Done("stop")]
    assert merge(events) == WholeAnswer("i", "m", "stop", "a", tool_calls=[WholeToolCall("c", "f", "1")])


# -- refusals and failures


@pytest.mark.parametrize(
    ("accept", "is_taken"),
    [("*/*", True), ("application/*", True), ("application/json;q=0.1", True), ("text/plain", False)],
)
async def test_it_is_json_or_nothing(client: Client, accept: str, is_taken: bool) -> None:
    reply = await client.ask(Accept=accept)
    assert reply.status == (200 if is_taken else 406)
    if not is_taken:
        assert (reply.error["code"], reply.headers["X-Offered"]) == ("not_acceptable", "application/json")


FAILING = {
    "fault-status:429": "upstream_busy",
    "fault-status:401": "upstream_refused",
    "fault-error-object:2": "upstream_error",
    "fault-drop:2": "upstream_error",
    "fault-garbage:2": "upstream_error",
    "fault-no-finish:2": "upstream_truncated",
    "fault-no-finish-done:2": "upstream_truncated",
    "fault-context-too-long": "context_too_long",
}


@pytest.mark.parametrize("path", [CHAT, STREAM])
@pytest.mark.parametrize("model", FAILING)
async def test_a_failure_is_a_true_status_whatever_text_came_before_it(
    client: Client, log: Log, model: str, path: str
) -> None:
    client.path = path
    reply = await client.ask({"message": PROMPT, "model": model}, **JSON)
    assert reply.error["code"] == FAILING[model]
    assert "upstream-secret" not in reply.body.decode() + log.text
    assert (log.only["id"], log.only["ending"]) == (reply.error["id"], FAILING[model])


@pytest.mark.parametrize("model", ["fault-no-done", "fault-drop-after-finish"])
async def test_a_finish_reason_makes_an_answer_complete_whatever_follows(client: Client, model: str) -> None:
    assert answer_of(await client.ask({"message": PROMPT, "model": model}))["text"] == "1 2 3"


async def test_a_limit_that_ends_an_answer_is_a_status() -> None:
    async with serving(path=CHAT, CHAT_IDLE_TIMEOUT_S=0.05) as client:
        reply = await client.ask({"message": PROMPT, "model": "fault-stall:1"})
    assert (reply.status, reply.error["code"]) == (KINDS["upstream_timeout"].status, "upstream_timeout")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_another_method_is_refused_with_the_chats_own_error(client: Client, method: str) -> None:
    reply = await client.send(method=method)
    assert (reply.error["code"], reply.headers["Allow"]) == ("method_not_allowed", "GET, POST, OPTIONS")


# -- disconnects


@pytest.mark.parametrize("path", [CHAT, "/ai/v1/chat/completions"])
async def test_a_disconnect_cancels_the_upstream_request(log: Log, path: str) -> None:
    question = {"model": "ours", "messages": [{"role": "user", "content": PROMPT}]}
    async with Silent() as upstream, serving(path=path, **offered_by(upstream)) as client:
        async with client.asking(question) as connection:
            await upstream.asked.wait()
            await connection.disconnect()
        await asyncio.wait_for(upstream.left.wait(), 10)
    assert log.only["ending"] == "client_disconnected"


async def test_there_is_no_status_timeout_for_one_object() -> None:
    body = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    async with (
        Silent(body) as upstream,
        serving(path=CHAT, CHAT_STATUS_TIMEOUT_S=0.001, CHAT_KEEP_ALIVE_S=0.001, **offered_by(upstream)) as client,
        client.asking() as connection,
    ):
        await upstream.asked.wait()
        upstream.release.set()
        assert json.loads(await connection.receive())["text"] == "hi"
