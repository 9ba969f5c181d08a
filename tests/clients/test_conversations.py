"""Conversations of five questions with tools, whose servers refuse a request without their state unchanged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.support.answers_of_records import read_records, turn_of
from tests.support.serving import ROOT, Servers
from tests.support.strict_families import FAMILIES, LAST_ANSWER, QUESTIONS, STEPS, TOOLS
from tests.support.strict_servers import Book, StrictServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = ROOT / "tests" / "node"
LIMIT_S = 50

Json = dict[str, Any]
#: Asks once, and returns the turn of the assistant as the client keeps it.
Ask = Callable[[str, list[Any]], Awaitable[Any]]

#: The models of the five questions: those of one server, or one of each server in turn.
MODELS: Mapping[str, Sequence[str]] = {
    **{name: [name] * QUESTIONS for name in FAMILIES},
    "mixed": list(FAMILIES)[:QUESTIONS],
    "back": list(FAMILIES)[: -QUESTIONS - 1 : -1],
}


#: The fields of entries that their servers need.
ENTRIES: Mapping[str, Json] = {
    "deepseek": {"returns": ["reasoning_content"]},
    "responses": {"kind": "responses", "params": {"tools": TOOLS, "include": ["reasoning.encrypted_content"]}},
}


class Served(NamedTuple):
    """A table of models, one for each server, and the origin of the app that offers it."""

    origin: str
    book: Book


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers_of_table(servers: Servers) -> AsyncIterator[Served]:
    async with served(servers, list(FAMILIES)) as found:
        yield found


@asynccontextmanager
async def served(servers: Servers, names: Sequence[str]) -> AsyncIterator[Served]:
    """Open the servers of some families, and an app whose table has a model for each."""
    async with AsyncExitStack() as stack:
        book, table = Book(), {}
        for name in names:
            server = await stack.enter_async_context(StrictServer(FAMILIES[name], book))
            entry = {"base_url": server.base_url, "retries": 0, "params": {"tools": TOOLS}}
            table[name] = {"kind": "compatible", **entry, **ENTRIES.get(name, {})}
        app = await asyncio.to_thread(servers.start, "quartapp", CHAT_MODELS=json.dumps(table))
        yield Served(f"http://127.0.0.1:{app.port}", book)


async def converse(ask: Ask, name: str, models: Sequence[str]) -> None:
    """Ask five questions, run their tools, and assert that each answer arrives."""
    messages: list[Any] = []
    for number, model in enumerate(models):
        messages.append({"role": "user", "content": f"{name} {number}"})
        while True:
            turn = await ask(model, messages)
            messages.append(turn)
            turn = turn if isinstance(turn, dict) else turn.model_dump()
            calls = turn.get("tool_calls") or []
            if not calls:
                break
            messages += [_result(call["id"]) for call in calls]
        assert turn["content"] == LAST_ANSWER


def _result(id: str) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": f"sunny for {id}"}


# -- openai-python


def whole(client: openai.AsyncOpenAI) -> Ask:
    async def ask(model: str, messages: list[Any]) -> Any:
        return (await client.chat.completions.create(model=model, messages=messages)).choices[0].message

    return ask


def with_helper(client: openai.AsyncOpenAI) -> Ask:
    async def ask(model: str, messages: list[Any]) -> Any:
        async with client.chat.completions.stream(model=model, messages=messages) as stream:
            async for _ in stream:
                pass
            return stream.current_completion_snapshot.choices[0].message

    return ask


def by_hand(client: openai.AsyncOpenAI) -> Ask:
    """Return a client that joins the chunks by itself: texts are joined, lists get more entries, calls are numbered."""

    async def ask(model: str, messages: list[Any]) -> Any:
        turn: Json = {"role": "assistant", "content": "", "tool_calls": []}
        async for chunk in await client.chat.completions.create(model=model, messages=messages, stream=True):
            for choice in chunk.choices:
                _join(turn, choice.delta.model_dump(exclude_unset=True))
        return turn

    return ask


def _join(turn: Json, delta: Json) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for fragment in value:
                _join_call(turn["tool_calls"], fragment)
        elif name in ("content", "reasoning_content", "reasoning"):
            turn[name] = turn.get(name, "") + (value or "")
        elif isinstance(value, list):
            turn.setdefault(name, []).extend(value)
        elif value is not None:
            turn[name] = value


def _join_call(calls: list[Json], fragment: Json) -> None:
    if fragment["index"] == len(calls):
        calls.append(fragment)
        return
    call = calls[fragment["index"]]
    kind = call["type"]
    for name, text in fragment[kind].items():
        call[kind][name] += text or ""


PYTHON = {each.__name__: each for each in (whole, with_helper, by_hand)}


# -- records


async def _records_turn(session: aiohttp.ClientSession, accept: str, model: str, messages: list[Any]) -> Json:
    body = {"model": model, "messages": messages}
    return turn_of(await read_records(session, body, accept))


# -- the conversations


async def check(served: Served, client: str, models: Sequence[str], name: str) -> None:
    """Converse with a client of Python or of records, under a `name` that no other conversation has."""
    try:
        if client in PYTHON:
            base_url = f"{served.origin}/v1"
            async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as opened:
                await converse(PYTHON[client](opened), name, models)
        else:
            async with aiohttp.ClientSession(served.origin) as session:
                await converse(lambda *asked: _records_turn(session, client, *asked), name, models)
    finally:
        assert served.book.faults == []
    assert len(served.book.steps[name]) == STEPS


CLIENTS = [*PYTHON, "application/x-ndjson", "text/event-stream", "application/json"]


@pytest.mark.sampled
@pytest.mark.parametrize("models", MODELS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_state_comes_back_in_each_of_five_turns(client: str, models: str, servers_of_table: Served) -> None:
    servers_of_table.book.faults.clear()
    await check(servers_of_table, client, MODELS[models], f"{client}-{models}")


@pytest.mark.sampled("family")
@pytest.mark.parametrize("family", ["gemini", "openrouter", "litellm", "responses"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_state_comes_back_without_marks(client: str, family: str, servers: Servers) -> None:
    async with served(servers, [family]) as found:
        await check(found, client, MODELS[family], f"{client}-{family}")


@pytest.mark.parametrize("tables", [["mixed"], pytest.param([*FAMILIES, "back"], marks=pytest.mark.soak)])
@pytest.mark.parametrize("client", ["ai5", "ai6", "ai7", "chat.js"])
async def test_a_javascript_client_sends_state_back_in_each_of_five_turns(
    client: str, tables: list[str], servers_of_table: Served, needs: Callable[[str], str]
) -> None:
    servers_of_table.book.faults.clear()
    names = {f"{client}-{name}": MODELS[name] for name in tables}
    told = await _node(needs("node"), client, servers_of_table.origin, names)
    assert servers_of_table.book.faults == []
    assert {line["name"]: line.get("error") for line in told} == dict.fromkeys(names)
    assert {name: len(servers_of_table.book.steps[name]) for name in names} == dict.fromkeys(names, STEPS)
    assert [line["texts"] for line in told] == [[LAST_ANSWER] * QUESTIONS] * len(names)
    if client.startswith("ai"):
        assert [line["roles"] for line in told] == [["user", "assistant"] * QUESTIONS] * len(names)
        assert [line["steps"] for line in told] == [[3] * QUESTIONS] * len(names)


async def _node(program: str, client: str, origin: str, names: Mapping[str, Sequence[str]]) -> list[Json]:
    pipe = asyncio.subprocess.PIPE
    command = [program, "conversations.mjs", client, origin, json.dumps(names)]
    process = await asyncio.create_subprocess_exec(*command, cwd=NODE, stdout=pipe, stderr=pipe)
    output, faults = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert (process.returncode, faults.decode()) == (0, "")
    return [json.loads(line) for line in output.decode().splitlines()]
