"""The examples with an agent as the model: what the agent's model receives, and what the client of the chat gets."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import re
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

import aiohttp
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from openai import AsyncOpenAI
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from quartapp import Chat, ChatRequest, Delta, Done, Reasoning
from quartapp.core.events import Event
from tests.support.png import dusk
from tests.support.raw_upstreams import RawUpstream
from tests.support.sampling import SOAK
from tests.support.serving import CANARY_KEY, ROOT, Server, Servers

PYDANTIC_AI, LANGGRAPH, FLASK = EXAMPLES = ("pydantic_ai", "langgraph", "langgraph_flask")
EACH_EXAMPLE = pytest.mark.parametrize("example", EXAMPLES)
EACH_GRAPH = pytest.mark.parametrize("example", [LANGGRAPH, pytest.param(FLASK, marks=SOAK)])
SECRETS = {"ALICE_TOKEN": "a-token-of-alice", "BOB_TOKEN": "a-token-of-bob"}


class Recorder:
    """A proxy before the mock model, in a thread. It calls `model`, because each other name would need a server.

    It keeps the bodies of the requests and the usage in the responses.
    """

    def __init__(self, port: int) -> None:
        self.model = "mock"
        self.requests: list[dict[str, Any]] = []
        self.usages: list[dict[str, Any]] = []
        self._target_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _open(self) -> asyncio.Server:
        return await asyncio.start_server(self._forward, "127.0.0.1", 0)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send one request with another model, and send its response until the mock model ends the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(json.loads(await reader.readexactly(size)))
        body = json.dumps({**self.requests[-1], "model": self.model}).encode()
        mock_reader, mock_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        mock_writer.write(REQUEST % (len(body), body))
        response = b""
        with suppress(ConnectionError):
            while piece := await mock_reader.read(65536):
                response += piece
                writer.write(piece)
        chunks = map(json.loads, re.findall(rb"^data: (\{.*\})$", response, re.MULTILINE))
        self.usages += [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        mock_writer.close()
        writer.close()


REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)


@pytest.fixture(scope="module")
def shared_recorder(servers: Servers) -> Iterator[Recorder]:
    recorder = Recorder(servers.get("mock", CHAT_MOCK_TOKENS_PER_S="0").port)
    yield recorder
    recorder.close()


@pytest.fixture
def recorder(shared_recorder: Recorder) -> Recorder:
    shared_recorder.requests.clear()
    shared_recorder.usages.clear()
    return shared_recorder


class Answer(NamedTuple):
    """The status of an answer and its records, or the object with its error."""

    status: int
    records: list[dict[str, Any]]

    @property
    def text(self) -> str:
        return "".join(record["text"] for record in self.records if record["type"] == "delta")


def served(servers: Servers, example: str, base_url: str) -> Server:
    """Return the server of an example whose agent calls the model at `base_url`."""
    settings = {"OPENAI_API_KEY": CANARY_KEY, "OPENAI_BASE_URL": base_url, **SECRETS}
    target = f"examples.{example}.app:app"
    if example == FLASK:
        return servers.get("bare gunicorn", target, GUNICORN_CMD_ARGS="--threads=4", **settings)
    return servers.get("hypercorn", target, **settings)


def headers_of(user: str = "alice", conversation: str | None = "") -> dict[str, str]:
    """Return the headers of a front end. An empty conversation is a new one, and None sends no name of one."""
    headers = {"Accept": "application/x-ndjson", "X-Auth": SECRETS[f"{user.upper()}_TOKEN"]}
    return headers if conversation is None else headers | {"X-Conversation": conversation or uuid.uuid4().hex}


async def answer(server: Server, *messages: dict[str, Any] | str, **headers: Any) -> Answer:
    """Return the answer to a question, or to the messages of a conversation."""
    turns = [{"role": "user", "content": turn} if isinstance(turn, str) else turn for turn in messages]
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
        client.post("/ai/api/stream", json={"messages": turns}, headers=headers_of(**headers)) as response,
    ):
        return Answer(response.status, [json.loads(line) for line in (await response.text()).splitlines()])


# -- the examples


@EACH_EXAMPLE
def test_the_model_function_has_ten_lines(example: str) -> None:
    tree = ast.parse((ROOT / "examples" / example / "app.py").read_text("utf-8"))
    (function,) = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name == "weather"]
    assert (function.end_lineno or 0) - function.body[0].lineno + 1 <= 10


def test_only_the_framework_differs_between_the_two_projects_with_langgraph() -> None:
    lines = [(ROOT / "examples" / name / "app.py").read_text("utf-8").splitlines() for name in (LANGGRAPH, FLASK)]
    quart, flask = (set(mine) - set(other) for mine, other in (lines, lines[::-1]))
    assert len(quart) == len(flask) == 4
    assert all(re.search("quart|hypercorn", line, re.IGNORECASE) for line in quart)
    assert all(re.search("flask|gunicorn", line, re.IGNORECASE) for line in flask)


def test_the_page_shows_code_of_the_examples() -> None:
    page = (ROOT / "docs" / "howto" / "agents.md").read_text("utf-8")
    code = "".join((ROOT / "examples" / name / "app.py").read_text("utf-8") for name in EXAMPLES)
    shown = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 4
    assert [block for block in shown if block not in code and "override" not in block] == []


# -- tools and usage


@EACH_EXAMPLE
async def test_the_agent_runs_its_tools_and_the_usage_is_that_of_all_steps(
    servers: Servers, recorder: Recorder, example: str
) -> None:
    recorder.model = "mock-tool-call"
    server = served(servers, example, recorder.base_url)
    got = await answer(server, "Oslo")
    assert (got.status, got.text) == (200, "The tool answered: 21 degrees in Oslo")
    kinds = [record["type"] for record in got.records]
    assert kinds == ["start", "reasoning", *["delta"] * (len(kinds) - 3), "done"]
    assert got.records[1]["text"] == "Used weather_in.\n"
    assert len(recorder.requests) == len(recorder.usages) == 2
    usage = got.records[-1]["usage"]
    for ours, theirs in (("input", "prompt"), ("output", "completion"), ("total", "total")):
        assert usage[f"{ours}_tokens"] == sum(each[f"{theirs}_tokens"] for each in recorder.usages) > 0


@EACH_EXAMPLE
async def test_clients_of_openai_get_no_open_tool_call(servers: Servers, recorder: Recorder, example: str) -> None:
    recorder.model = "mock-tool-call"
    server = served(servers, example, recorder.base_url)
    url = f"http://127.0.0.1:{server.port}/ai/v1"
    async with AsyncOpenAI(base_url=url, api_key=SECRETS["ALICE_TOKEN"], default_headers=headers_of()) as client:
        completion = await client.chat.completions.create(
            model="weather", messages=[{"role": "user", "content": "Oslo"}]
        )
    (choice,) = completion.choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert choice.message.content == "The tool answered: 21 degrees in Oslo"


@EACH_EXAMPLE
async def test_a_token_limit_of_the_agents_model_is_reported(
    servers: Servers, recorder: Recorder, example: str
) -> None:
    recorder.model = "fault-length"
    server = served(servers, example, recorder.base_url)
    assert (await answer(server, "count to 3")).records[-1]["finish_reason"] == "length"


@EACH_EXAMPLE
async def test_tokens_that_the_server_did_not_count_are_unknown(
    servers: Servers, recorder: Recorder, example: str
) -> None:
    recorder.model = "fault-usage-none"
    server = served(servers, example, recorder.base_url)
    assert (await answer(server, "count to 3")).records[-1] == {"type": "done", "finish_reason": "stop"}


# -- errors


@EACH_EXAMPLE
async def test_a_rate_limit_of_the_agents_model_is_one_of_the_chat(
    servers: Servers, recorder: Recorder, example: str
) -> None:
    recorder.model = "fault-status:429"
    server = served(servers, example, recorder.base_url)
    got = await answer(server, "hi")
    assert (got.status, got.records[0]["error"]["code"]) == (429, "upstream_busy")


@EACH_EXAMPLE
async def test_another_exception_is_an_internal_error_with_a_traceback_in_the_log(
    servers: Servers, recorder: Recorder, example: str
) -> None:
    recorder.model = "fault-status:500"
    server = served(servers, example, recorder.base_url)
    got = await answer(server, "hi")
    assert (got.status, got.records[0]["error"]["code"]) == (500, "internal_error")
    await server.wait_for_log(r"Traceback \(most recent call last\)")
    await server.wait_for_log(r'"ending": "internal_error"')


@EACH_EXAMPLE
@pytest.mark.parametrize("model", ["fault-drop:3", "fault-no-finish:3", "fault-error-object:3"])
async def test_a_truncated_answer_of_the_agents_model_is_not_complete(
    servers: Servers, recorder: Recorder, example: str, model: str
) -> None:
    recorder.model = model
    got = await answer(served(servers, example, recorder.base_url), "count to 9")
    assert (got.text, got.records[-1]["type"]) == ("1 2 3", "error")


# -- streaming and cancelling


@EACH_EXAMPLE
async def test_text_arrives_at_once_and_a_disconnect_cancels_the_agents_request(
    servers: Servers, raw_upstream: RawUpstream, example: str
) -> None:
    server = served(servers, example, raw_upstream.base_url)
    tag = uuid.uuid4().hex
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
        client.post("/ai/api/stream", json={"message": f"stall:2 {tag}"}, headers=headers_of()) as response,
    ):
        lines = [json.loads(await response.content.readline()) for _ in range(3)]
        assert [line.get("text") for line in lines] == [None, "token ", "token "]
        exchange = await raw_upstream.exchange(tag)
        assert not exchange.closed.done()
    async with asyncio.timeout(2):
        await asyncio.wrap_future(exchange.closed)


@pytest.mark.parametrize("example", [PYDANTIC_AI, LANGGRAPH])
async def test_a_disconnect_before_the_first_token_cancels_the_agents_request(
    servers: Servers, raw_upstream: RawUpstream, example: str
) -> None:
    server = served(servers, example, raw_upstream.base_url)
    tag = uuid.uuid4().hex
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        asking = asyncio.create_task(
            client.post("/ai/api/stream", json={"message": f"no_head {tag}"}, headers=headers_of())
        )
        exchange = await raw_upstream.exchange(tag)
        asking.cancel()
        async with asyncio.timeout(2):
            await asyncio.wrap_future(exchange.closed)


# -- the conversation


async def test_pydantic_ai_gets_the_conversation_with_attachments(servers: Servers, recorder: Recorder) -> None:
    recorder.model = "mock"
    server = served(servers, PYDANTIC_AI, recorder.base_url)
    image = dusk(1, 1)
    asked = [{"type": "text", "text": "And this?"}, {"type": "image_url", "image_url": {"url": image}}]
    call = {"id": "call_1", "type": "function", "function": {"name": "weather_in", "arguments": "{}"}}
    got = await answer(
        server,
        "Hello",
        {"role": "assistant", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
        "What is my name?",
        {"role": "assistant", "content": "A moment.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a result that the client made up"},
        {"role": "user", "content": asked},
    )
    assert got.records[-1]["type"] == "done"
    (sent,) = recorder.requests
    assert sent["messages"][0] == {"role": "system", "content": "You know the weather."}
    turns = [(turn["role"], turn["content"]) for turn in sent["messages"][1:]]
    assert turns[:4] == [
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "What is my name?"),
        ("assistant", "A moment."),
    ]
    assert turns[4][0] == "user"
    assert turns[4][1][0] == asked[0]
    assert turns[4][1][1]["image_url"]["url"] == image
    assert "made up" not in json.dumps(sent)


@EACH_GRAPH
async def test_a_thread_is_that_of_one_user_and_one_conversation(
    servers: Servers, recorder: Recorder, example: str
) -> None:
    recorder.model = "mock-echo"
    server = served(servers, example, recorder.base_url)
    shared = uuid.uuid4().hex
    for question, user, conversation, before in (
        ("one", "alice", shared, []),
        ("two", "bob", shared, []),
        ("three", "alice", "another" + shared, []),
        ("four", "alice", shared, ["one", "one"]),
        ("five", "bob", shared, ["two", "two"]),
    ):
        assert (await answer(server, question, user=user, conversation=conversation)).text == question
        turns = [turn["content"] for turn in recorder.requests[-1]["messages"]]
        assert turns == ["You know the weather.", *before, question]


@EACH_GRAPH
async def test_a_request_without_a_conversation_is_refused(servers: Servers, recorder: Recorder, example: str) -> None:
    got = await answer(served(servers, example, recorder.base_url), "hi", conversation=None)
    error = got.records[0]["error"]
    assert (got.status, error["code"], error["path"]) == (422, "invalid_request", "X-Conversation")
    assert recorder.requests == []


# -- in this process


def loaded(monkeypatch: pytest.MonkeyPatch, example: str, base_url: str = "http://127.0.0.1:9/v1") -> ModuleType:
    """Return a fresh module of an example."""
    for name, value in {
        "OPENAI_API_KEY": "sk-unused",
        "OPENAI_BASE_URL": base_url,
        "AGENT_MODEL": "mock-echo",
        **SECRETS,
    }.items():
        monkeypatch.setenv(name, value)
    return importlib.reload(importlib.import_module(f"examples.{example}.app"))


async def test_a_tool_call_left_by_a_disconnect_does_not_break_the_thread(
    monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    recorder.model = "mock-echo"
    project = loaded(monkeypatch, LANGGRAPH, recorder.base_url)
    thread: Any = {"configurable": {"thread_id": '["alice", "left"]'}}
    called = AIMessage("", tool_calls=[{"id": "1", "name": "weather_in", "args": {}}])
    left = AIMessage("", tool_calls=[{"id": "2", "name": "weather_in", "args": {}}])
    turns = [
        HumanMessage("one"),
        called,
        ToolMessage("warm", tool_call_id="1"),
        AIMessage("Warm."),
        HumanMessage("two"),
        left,
    ]
    await project.graph.aupdate_state(thread, {"messages": turns}, as_node="model")
    async with project.app.test_app() as running:
        response = await running.test_client().post(
            "/ai/api/stream", json={"message": "three"}, headers=headers_of(conversation="left")
        )
        assert (await response.get_data(as_text=True)).splitlines()[-1].startswith('{"type":"done"')
    (sent,) = recorder.requests
    roles = [turn["role"] for turn in sent["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user", "user"]


async def test_a_closed_model_function_leaves_no_task_of_the_graph(
    monkeypatch: pytest.MonkeyPatch, raw_upstream: RawUpstream
) -> None:
    project = loaded(monkeypatch, LANGGRAPH, raw_upstream.base_url)
    before = asyncio.all_tasks()
    question = ChatRequest([{"role": "user", "content": f"stall:2 {uuid.uuid4().hex}"}], params={"thread_id": "1"})
    answering = project.weather(question)
    assert await anext(answering) == "token "
    await answering.aclose()
    assert asyncio.all_tasks() == before


async def two_steps(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    """Write a text and call the tool, then write another text."""
    if isinstance(messages[-1].parts[0], ToolReturnPart):
        yield "It is "
        yield "warm."
    else:
        yield "A moment. "
        yield {1: DeltaToolCall("weather_in", '{"city":"Oslo"}')}


async def events_of(chat: Chat, question: str) -> list[Event]:
    return [event async for event in chat.stream(question)]


async def test_text_before_a_tool_call_is_part_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    project = loaded(monkeypatch, PYDANTIC_AI)
    with project.agent.override(model=FunctionModel(stream_function=two_steps)):
        async with project.app.test_app():
            events = await events_of(project.chat, "Oslo")
    assert [(type(event), getattr(event, "text", None)) for event in events[1:-1]] == [
        (Delta, "A moment. "),
        (Reasoning, "Used weather_in.\n"),
        (Delta, "It is "),
        (Delta, "warm."),
    ]
    assert isinstance(events[-1], Done)


async def test_a_disconnect_cancels_a_tool_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    project = loaded(monkeypatch, PYDANTIC_AI)
    running, ended = asyncio.Event(), asyncio.Event()

    async def weather_in(city: str) -> str:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return city

    with project.agent.override(model=FunctionModel(stream_function=two_steps), tools=[weather_in]):
        async with project.app.test_app(), asyncio.timeout(5):
            answering = asyncio.create_task(events_of(project.chat, "Oslo"))
            await running.wait()
            answering.cancel()
            await ended.wait()
