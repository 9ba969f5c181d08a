"""The state of a server through real routes: it comes back to that server unchanged, and reaches no other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quartapp.upstreams.chat_completions.chunks import ChunkParser
from tests.support.endpoints import NDJSON, Client, chunk, event_stream, serving
from tests.support.loopback import Exchange, Loopback, reply

Json = dict[str, Any]
SIGNATURE = "c2lnbmVkLWNhbmFyeQ=="
SIGNED = {"extra_content": {"google": {"thought_signature": SIGNATURE}}}
ON_TEXT = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "ZGF0YS1jYW5hcnk=", "index": 0}]}
QUESTION = {"role": "user", "content": "hi"}
RESULT = {"role": "tool", "content": "1", "tool_call_id": "c1"}


class Signing(Loopback):
    """A server that calls a tool and attaches state to the call and to the answer; while it `is_down`, 503."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.is_down = False

    async def _answer(self, exchange: Exchange) -> None:
        if self.is_down:
            await reply(503, b"{}")(exchange)
            return
        begun = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        behind = {"index": 0, **SIGNED}
        body = event_stream(
            chunk({"role": "assistant", "tool_calls": [begun]}),
            chunk({"tool_calls": [behind]}),
            chunk(ON_TEXT),
            chunk({}, "tool_calls"),
        )
        await reply(body=body)(exchange)

    @property
    def turn(self) -> Json:
        """Return the assistant's turn in the last question."""
        turns: list[Json] = self.requests[-1].json["messages"]
        return next(turn for turn in turns if turn["role"] == "assistant")


@asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[Client, Signing, Signing]]:
    """Open a chat whose model `first` has `second`, of another server, as its fallback."""
    async with Signing() as first, Signing() as second:
        table = {
            "first": {"kind": "compatible", "base_url": first.base_url, "fallbacks": ["second"], "retries": 0},
            "second": {"kind": "compatible", "base_url": second.base_url, "retries": 0},
        }
        async with serving(CHAT_MODELS=table) as client:
            yield client, first, second


async def openai_turn(client: Client, model: str, messages: list[Json]) -> Json:
    body = json.dumps({"model": model, "messages": messages}).encode()
    headers = {"Content-Type": "application/json"}
    answer = await client.send(body, path="/ai/v1/chat/completions", headers=headers)
    assert answer.status == 200, answer.body
    turn: Json = answer.json["choices"][0]["message"]
    return turn


async def our_turn(client: Client, model: str, messages: list[Json]) -> Json:
    answer = await client.ask({"model": model, "messages": messages}, Accept="application/json")
    assert answer.status == 200, answer.body
    document = answer.json
    return {
        "role": "assistant",
        "content": document["text"],
        "tool_calls": document["tool_calls"],
        "extra": document["extra"],
    }


EACH = pytest.mark.parametrize("turn_of", [openai_turn, our_turn])


@EACH
async def test_state_comes_back_to_its_server_and_reaches_no_other(turn_of: Any) -> None:
    async with two_servers() as (client, first, second):
        turn = await turn_of(client, "first", [QUESTION])
        conversation = [QUESTION, turn, RESULT]
        await turn_of(client, "first", conversation)
        assert first.turn["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]
        assert first.turn["reasoning_details"] == ON_TEXT["reasoning_details"]
        await turn_of(client, "second", conversation)
        assert second.turn["tool_calls"][0].keys() == {"id", "type", "function"}
        assert b"ZGF0YS1jYW5hcnk=" not in second.requests[-1].body
        assert SIGNATURE.encode() not in second.requests[-1].body


@EACH
async def test_state_of_a_fallback_goes_to_the_fallback_alone(turn_of: Any) -> None:
    async with two_servers() as (client, first, second):
        first.is_down = True
        conversation = [QUESTION, await turn_of(client, "first", [QUESTION]), RESULT]
        await turn_of(client, "first", conversation)
        assert SIGNATURE.encode() not in first.requests[-1].body
        assert second.turn["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]
        first.is_down = False
        await turn_of(client, "first", conversation)
        assert SIGNATURE.encode() not in first.requests[-1].body


async def test_an_only_servers_chunks_are_passed_on_unchanged() -> None:
    async with Signing() as server, serving(OPENAI_BASE_URL=server.base_url, CHAT_MODEL="m") as client:
        turn = await openai_turn(client, "m", [QUESTION])
        assert turn["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]
        await openai_turn(client, "m", [QUESTION, turn, RESULT])
        assert server.turn["tool_calls"][0]["extra_content"] == SIGNED["extra_content"]


async def test_records_have_state_after_its_call_and_at_the_end() -> None:
    async with Signing() as server, serving(OPENAI_BASE_URL=server.base_url, CHAT_MODEL="m") as client:
        _, *calls, done = (await client.ask({"message": "hi"}, **NDJSON)).records
        assert {name: value for call in calls for name, value in call.get("extra", {}).items()} == SIGNED
        assert done["extra"] == ON_TEXT


def test_the_state_of_text_comes_with_the_end() -> None:
    parser = ChunkParser(10_000)
    batch = parser.feed(event_stream(chunk({"content": "a", **SIGNED}), chunk({}, "stop")))
    assert (batch.extra, batch.finish_reason) == (SIGNED, "stop")
