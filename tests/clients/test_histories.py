"""Answers that end in each way at each event: their clients bring them back as they have put them together.

A model's server answers the first question of a conversation up to some event, and refuses the second one unless the
conversation is as servers demand: each call with its result, and the state of each call as it was sent.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.support.answers_of_records import read_records, turn_of
from tests.support.endpoints import chunk
from tests.support.loopback import Exchange, Loopback, head, reply
from tests.support.serving import ROOT, Server, Servers, upstream_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = ROOT / "tests" / "node"
JS_CLIENTS = ("openai", "ai5", "ai6", "ai7")
FOLLOW_UP = "And now?"
LIMIT_S = 50

Json = dict[str, Any]


def _call(index: int, **fields: Any) -> Json:
    return {"tool_calls": [{"index": index, **fields}]}


def _signed(text: str) -> Json:
    return {"extra_content": {"google": {"thought_signature": text}}}


ARGUMENTS = '{"city":"Bern"}'
#: What the server sends, an event each: a call whose state comes behind it, and a custom one with state at its start.
DELTAS: tuple[Json, ...] = (
    {"role": "assistant", "content": ""},
    {"reasoning_content": "They want"},
    {"reasoning_content": " the weather."},
    {"content": "Let me"},
    {"content": " look."},
    _call(0, id="c1", type="function", function={"name": "weather", "arguments": ""}),
    _call(0, function={"arguments": ARGUMENTS[:6]}),
    _call(0, function={"arguments": ARGUMENTS[6:]}),
    _call(1, id="c2", type="custom", custom={"name": "run", "input": ""}, **_signed("c2lnbmVkIDI=")),
    _call(1, custom={"input": "ls"}),
    _call(0, **_signed("c2lnbmVkIDE=")),
)
#: The calls as the server wants them back.
CALLS = [
    {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": ARGUMENTS},
        **_signed("c2lnbmVkIDE="),
    },
    {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "ls"}, **_signed("c2lnbmVkIDI=")},
]
EVENTS = [*map(chunk, DELTAS), chunk({}, "tool_calls"), chunk(choices=[], usage=None)]

INCOMPLETE = [(ending, index) for ending in ("truncated", "failed") for index in range(len(DELTAS) + 1)]


class ModelServer(Loopback):
    """Answers `ending index`, and any question behind an answer if nothing is wrong with the conversation."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.faults: list[str] = []

    async def _answer(self, exchange: Exchange) -> None:
        messages = exchange.request.json["messages"]
        question = next(message["content"] for message in messages if message["role"] == "user").split()
        if len(messages) == 1:
            ending, index = question[0], int(question[1])
            sent = EVENTS if ending == "complete" else EVENTS[:index]
            lines = [json.dumps(event) for event in sent]
            lines += {"complete": ["[DONE]"], "failed": ['{"error": {"message": "no"}}']}.get(ending, [])
            await exchange.send(head() + "".join(f"data: {line}\n\n" for line in lines).encode())
            exchange.close()
            return
        fault = fault_in(messages, is_answered="answered" in question)
        if fault is not None:
            self.faults.append(f"{' '.join(question)}: {fault}: {json.dumps(messages)}")
            await reply(400, b'{"error": {"message": "no such conversation"}}')(exchange)
            return
        chunks = [chunk({"content": "fine"}), chunk({}, "stop")]
        body = "".join(f"data: {json.dumps(each)}\n\n" for each in chunks) + "data: [DONE]\n\n"
        await reply(body=body.encode())(exchange)


_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id", "extra_content"})


def fault_in(messages: list[Json], *, is_answered: bool) -> str | None:
    """Return the fault that a strict server finds in a conversation. The calls of an answered one are unchanged."""
    due: list[str] = []
    for message in messages:
        if message.keys() - _FIELDS or "content" not in message:
            return "fields"
        if message["role"] == "tool":
            if message["tool_call_id"] not in due:
                return "a result without a call"
            due.remove(message["tool_call_id"])
        elif due:
            return "a call without a result"
        if message["role"] == "assistant":
            if not (message["content"] or message.get("tool_calls")):
                return "an answer that says nothing"
            due = [call["id"] for call in message.get("tool_calls", ())]
    if due:
        return "a call without a result"
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    same = [_read(call) for call in calls] == ([_read(call) for call in CALLS] if is_answered else [])
    return None if same else "other calls than were sent"


def _read(call: Json) -> Json:
    """Return the call with decoded arguments, because the AI SDK encodes them again."""
    if "function" not in call:
        return call
    return call | {"function": call["function"] | {"arguments": json.loads(call["function"]["arguments"])}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream_server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def app(servers: Servers, upstream_server: ModelServer) -> Server:
    return servers.start("quartapp", **upstream_settings(upstream_server.base_url) | {"CHAT_RETRIES": "0"})


def results() -> list[Json]:
    return [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in CALLS]


def check(results: Iterable[tuple[str, str]], server: ModelServer, *, at_least: int) -> None:
    """Assert that every conversation was answered; `results` are the cases with the text that their clients read."""
    answers = dict(results)
    assert server.faults == []
    assert {name: text for name, text in answers.items() if text != "fine"} == {}
    assert len(answers) >= at_least


# -- openai-python


async def test_openai_python_can_continue_after_any_answer(app: Server, upstream_server: ModelServer) -> None:
    base_url = f"http://127.0.0.1:{app.port}/v1"
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        count = 0
        async for _ in await client.chat.completions.create(
            model="the-model", messages=[{"role": "user", "content": "complete 0"}], stream=True
        ):
            count += 1
        cases = [*INCOMPLETE, ("complete", count), ("complete answered", count), ("complete whole answered", count)]
        stopped = [("complete stopped", index) for index in range(count)]
        results = [await _openai_turns(client, *case) for case in cases + stopped]
    check(results, upstream_server, at_least=3 * len(DELTAS))


async def _openai_turns(client: openai.AsyncOpenAI, ending: str, index: int) -> tuple[str, str]:
    name = f"{ending.split()[0]} {index} {ending}"
    messages: list[Any] = [{"role": "user", "content": name}]
    if "whole" in ending:
        completion = await client.chat.completions.create(model="the-model", messages=messages)
        messages.append(completion.choices[0].message)
    elif message := await _read_openai(client, messages, index):
        messages.append(message)
    messages += results() if "answered" in ending else []
    messages.append({"role": "user", "content": FOLLOW_UP})
    answer = await client.chat.completions.create(model="the-model", messages=messages)
    return name, answer.choices[0].message.content or ""


async def _read_openai(client: openai.AsyncOpenAI, messages: list[Any], index: int) -> Any:
    """Return the answer in the client's helper after so many chunks."""
    is_stopped = "stopped" in messages[0]["content"]
    try:
        async with client.chat.completions.stream(model="the-model", messages=messages) as stream:
            if is_stopped and not index:
                return None
            chunks = 0
            async for event in stream:
                chunks += event.type == "chunk"
                if is_stopped and chunks == index:
                    break
            return stream.current_completion_snapshot.choices[0].message
    except openai.APIError:
        try:
            return stream.current_completion_snapshot.choices[0].message
        except (AssertionError, UnboundLocalError):
            return None


# -- our own protocols


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream", "application/json"])
async def test_a_client_of_records_can_continue_after_any_answer(
    app: Server, upstream_server: ModelServer, accept: str
) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{app.port}") as session:
        count = len(await read_records(session, {"message": "complete 0"}, accept))
        cases = [*INCOMPLETE, ("complete", count), ("complete answered", count)]
        stopped = [("complete stopped", index) for index in range(count)]
        results = [await _own_turns(session, *case, accept) for case in cases + stopped]
    check(results, upstream_server, at_least=2 * len(DELTAS))


async def _own_turns(session: aiohttp.ClientSession, ending: str, index: int, accept: str) -> tuple[str, str]:
    name = f"{ending.split()[0]} {index} {ending}"
    messages = [{"role": "user", "content": name}]
    records = await read_records(session, {"messages": messages}, accept)
    records = records[:index] if "stopped" in ending else records
    messages += [turn_of(records)] if records else []
    messages += results() if "answered" in ending else []
    messages.append({"role": "user", "content": FOLLOW_UP})
    second = await read_records(session, {"messages": messages}, accept)
    return name, "".join(record.get("text", "") for record in second)


# -- JavaScript's clients


@pytest.mark.parametrize("client", JS_CLIENTS)
async def test_a_javascript_client_can_continue_after_any_answer(
    client: str, app: Server, upstream_server: ModelServer, needs: Callable[[str], str]
) -> None:
    command = [
        needs("node"),
        "histories.mjs",
        client,
        f"http://127.0.0.1:{app.port}",
        json.dumps([len(DELTAS), FOLLOW_UP]),
    ]
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*command, cwd=NODE, stdout=pipe, stderr=pipe)
    output, faults = await asyncio.wait_for(program.communicate(), LIMIT_S)
    assert (program.returncode, faults.decode()) == (0, "")
    lines = [json.loads(line) for line in output.decode().splitlines()]
    check(((line["name"], line["text"]) for line in lines), upstream_server, at_least=3 * len(DELTAS))


async def test_the_server_refuses_what_it_is_for() -> None:
    user: Json = {"role": "user", "content": "hi"}
    turn: Json = {"role": "assistant", "content": "a"}
    calling: Json = {"role": "assistant", "content": None, "tool_calls": CALLS}
    result = results()[0]
    right = [user, calling, *results(), user]
    assert fault_in(right, is_answered=True) is None
    assert fault_in([user, turn, user], is_answered=False) is None
    wrong: list[list[Json]] = [
        [user, calling, user],
        [user, calling, result, user],
        [user, result],
        [user, turn | {"reasoning_content": "a"}],
        [user, turn | {"content": None}],
        [user, {"role": "assistant", "tool_calls": CALLS}, *results()],
    ]
    for messages, is_answered in itertools.product(wrong, (True, False)):
        assert fault_in(messages, is_answered=is_answered) is not None
    assert fault_in(right, is_answered=False) is not None
