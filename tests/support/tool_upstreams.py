"""Servers that call tools over several turns, and a host app with tools in Python for their calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from quart import Quart

from quartapp import Chat
from tests.support.endpoints import Client, Reply, chunk, event_stream
from tests.support.loopback import Answer, Exchange, Loopback, reply
from tests.support.wire_formats import Format

Json = dict[str, Any]
Turn = bytes | Answer

#: The usage of each turn.
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


class Turns(Loopback):
    """A server that answers its requests in order with these turns. The last one is repeated."""

    def __init__(self, *turns: Turn) -> None:
        super().__init__(self._answer)
        self.turns = list(turns)

    async def _answer(self, exchange: Exchange) -> None:
        await send(self.turns[min(len(self.requests), len(self.turns)) - 1], exchange)

    @property
    def messages(self) -> list[Json]:
        """Return the messages of the last request."""
        messages: list[Json] = self.requests[-1].json["messages"]
        return messages

    @property
    def results(self) -> dict[str, str]:
        """Return the results in the last request, by the ids of their calls."""
        return {turn["tool_call_id"]: turn["content"] for turn in self.messages if turn["role"] == "tool"}


class Scripts(Loopback):
    """A server for many conversations. The first word of the last question names the turns of its answer."""

    def __init__(self, scripts: Mapping[str, Sequence[Turn]]) -> None:
        super().__init__(self._answer)
        self._scripts = scripts

    async def _answer(self, exchange: Exchange) -> None:
        messages = exchange.request.json["messages"]
        place = max(index for index, turn in enumerate(messages) if turn["role"] == "user")
        number = sum(turn["role"] == "assistant" for turn in messages[place:])
        turns = self._scripts[messages[place]["content"].split()[0]]
        await send(turns[min(number, len(turns) - 1)], exchange)


async def send(turn: Turn, exchange: Exchange) -> None:
    await (reply(body=turn) if isinstance(turn, bytes) else turn)(exchange)


def call(name: str, arguments: Any = None, *, id: str | None = "c0", **state: Any) -> Json:
    """Return a call as a chunk has it. A `str` is sent as the arguments unchanged."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}, **state}


def calling(*calls: Json, text: str = "", reason: str = "tool_calls") -> bytes:
    """Return a turn with a text and calls, numbered in their order."""
    texts = [chunk({"content": text})] if text else []
    numbered = [chunk({"tool_calls": [{"index": index, **each}]}) for index, each in enumerate(calls)]
    return event_stream(*texts, *numbered, chunk({}, reason), chunk(choices=[], usage=USAGE))


def answering(text: str) -> bytes:
    """Return a turn without calls."""
    return event_stream(chunk({"content": text}), chunk({}, "stop"), chunk(choices=[], usage=USAGE))


@asynccontextmanager
async def serving_tools(
    upstream: Loopback, *tools: Callable[..., Any], setup: Callable[[Chat], object] | None = None, **settings: Any
) -> AsyncIterator[Client]:
    """Open a host app with `tools`, whose model is the server's. `setup` gets its chat."""
    host = Quart("host", static_folder=None)
    chat = Chat(host, url_prefix="/ai", openai_base_url=upstream.base_url, model="ours", **settings)
    for tool in tools:
        chat.tool(tool)
    if setup is not None:
        setup(chat)
    async with host.test_app():
        yield Client(host)


async def ask(client: Client, form: Format, **fields: Any) -> Reply:
    """Ask in a format, below /ai. `messages` replace the question."""
    client.path = f"/ai{form.path}"
    question = form.document("hi", "ours") | fields
    if "messages" in fields:
        question.pop("message", None)
    if form.method == "GET":
        return await client.get(question, Accept=form.accept)
    return await client.ask(question, Accept=form.accept)
