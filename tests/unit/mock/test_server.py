"""The application of the mock model: its routes, disconnects, and the official client through a real server."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from openai import APIError, AsyncOpenAI, NotFoundError, RateLimitError

from quartapp.mock import CATALOGUE, ASGIApp, create_mock
from quartapp.mock.player import Message, Send
from quartapp.mock.server import MAX_BODY_BYTES, Receive, Scope
from tests.support.mock_model import CHAT_PATH, WEATHER, Exchange, ask, chat_body, request


@pytest.mark.parametrize("path", ["/chat/completions", CHAT_PATH, "/openai/deployments/x/chat/completions"])
async def test_any_prefix_will_do(path: str) -> None:
    assert (await request("POST", path, chat_body("mock"))).status == 200


async def test_the_models_are_listed_with_what_they_do() -> None:
    reply = await request("GET", "/v1/models", b"")
    assert reply.json["object"] == "list"
    assert {card["id"]: card["description"] for card in reply.json["data"]} == CATALOGUE


@pytest.mark.parametrize("name", ["mock", "fault-drop:7"])
async def test_a_model_is_shown_by_its_requested_name(name: str) -> None:
    assert (await request("GET", f"/v1/models/{name}", b"")).json["id"] == name


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/gpt-5", 404),
        ("GET", "/", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", CHAT_PATH, 405),
        ("DELETE", "/v1/models/mock", 405),
    ],
)
async def test_any_other_route_is_an_error_in_the_form_of_openai(method: str, path: str, status: int) -> None:
    reply = await request(method, path, b"")
    assert reply.status == status
    assert set(reply.json["error"]) == {"message", "type", "param", "code"}
    assert reply.headers["x-request-id"]


async def test_a_wrong_method_gets_the_allowed_one() -> None:
    assert (await request("GET", CHAT_PATH, b"")).headers["allow"] == "POST"


async def test_an_unknown_model_is_not_found() -> None:
    reply = await ask("fault-drop:-1")
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


async def test_a_body_may_come_in_pieces() -> None:
    body = chat_body("mock", "count to 2")
    reply = await request("POST", CHAT_PATH, *(body[at : at + 7] for at in range(0, len(body), 7)))
    assert reply.json["choices"][0]["message"]["content"] == "1 2"


async def test_a_body_over_the_limit_is_refused_before_its_end() -> None:
    app = create_mock(0)
    exchange = Exchange(app, "POST", CHAT_PATH, b" " * (MAX_BODY_BYTES + 1), b" ", b"not read")
    assert (await exchange.sent.get())["status"] == 413
    await exchange.task


@pytest.mark.parametrize("pace", [-1.0, float("nan"), float("inf")])
def test_an_invalid_pace_is_refused(pace: float) -> None:
    with pytest.raises(ValueError, match="tokens_per_s"):
        create_mock(tokens_per_s=pace)


@pytest.mark.parametrize("name", ["fault-slow-first-byte", "fault-pauses:3600", "fault-comments", "mock"])
async def test_a_disconnect_ends_the_call_at_once_and_leaves_no_task(name: str) -> None:
    before = asyncio.all_tasks()
    exchange = Exchange(create_mock(0.001), "POST", CHAT_PATH, chat_body(name, stream=True))
    if name != "fault-slow-first-byte":
        await exchange.sent.get()
    exchange.disconnect()
    await exchange.task
    assert asyncio.all_tasks() == before


async def test_a_cancelled_call_of_the_app_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body("fault-stall", stream=True))
    await exchange.read_until(b'" 3"')
    exchange.task.cancel()
    await asyncio.wait([exchange.task])
    assert asyncio.all_tasks() == before


async def test_a_disconnect_before_the_end_of_the_body_gets_no_response() -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH)
    exchange.disconnect()
    await exchange.task
    assert exchange.sent.empty()


async def test_it_starts_and_stops_with_its_server() -> None:
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    sent: asyncio.Queue[Message] = asyncio.Queue()
    inbox.put_nowait({"type": "lifespan.startup"})
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await create_mock()({"type": "lifespan"}, inbox.get, sent.put)
    assert [sent.get_nowait()["type"] for _ in range(2)] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_refused() -> None:
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    with pytest.raises(ValueError, match="websocket"):
        await create_mock()({"type": "websocket"}, inbox.get, inbox.put)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Run Hypercorn in this loop, on a free port of the loopback interface, and yield the port."""
    stop = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    stop = asyncio.Event()
    server = asyncio.ensure_future(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    try:
        yield port
    finally:
        stop.set()
        await server


@pytest.fixture(name="port")
async def _port() -> AsyncIterator[int]:
    async with serving(create_mock(tokens_per_s=0)) as port:
        yield port


@pytest.fixture(name="client")
async def _client(port: int) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_the_official_client_reads_a_streamed_answer(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="mock",
        messages=[{"role": "user", "content": "count to 5"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "1 2 3 4 5"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


async def test_the_official_client_reads_a_completion(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="mock", messages=[{"role": "user", "content": "count to 5"}]
    )
    assert completion.choices[0].message.content == "1 2 3 4 5"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 5


async def test_the_official_client_assembles_a_tool_call(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="mock-tool-call",
        messages=[{"role": "user", "content": "Paris"}],
        tools=[WEATHER],  # type: ignore[list-item]
    ) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.tool_calls
    call = completion.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] == "Paris"


async def test_the_official_client_lists_and_finds_the_models(client: AsyncOpenAI) -> None:
    assert {model.id async for model in client.models.list()} == set(CATALOGUE)
    assert (await client.models.retrieve("fault-drop:3")).id == "fault-drop:3"
    with pytest.raises(NotFoundError):
        await client.models.retrieve("gpt-5")


async def test_the_official_client_understands_the_errors(client: AsyncOpenAI) -> None:
    with pytest.raises(RateLimitError) as refused:
        await client.chat.completions.create(model="fault-status:429", messages=[{"role": "user", "content": "x"}])
    assert refused.value.response.headers["retry-after"] == "7"
    stream = await client.chat.completions.create(
        model="fault-error-object", messages=[{"role": "user", "content": "x"}], stream=True
    )
    with pytest.raises(APIError, match="upstream-secret") as broken:
        [chunk async for chunk in stream]
    assert broken.value.code == "boom"


async def open_chat(port: int, model: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = chat_body(model, stream=True)
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    return reader, writer


async def raw_answer(port: int, model: str) -> bytes:
    """Return all bytes of the connection, until the server closes it."""
    reader, writer = await open_chat(port, model)
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


async def test_a_dropped_connection_lacks_the_last_chunk(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    dropped = await raw_answer(port, "fault-drop:2")
    assert dropped.startswith(b"HTTP/1.1 200")
    assert re.search(rb'" 2"[^\r]*\r\n$', dropped)
    assert not dropped.endswith(b"0\r\n\r\n")
    assert capfd.readouterr().err == ""


async def test_a_clean_end_without_a_finish_has_the_last_chunk(port: int) -> None:
    assert (await raw_answer(port, "fault-no-finish:2")).endswith(b"\r\n0\r\n\r\n")


async def test_a_closed_connection_ends_the_answer() -> None:
    app, ended = create_mock(tokens_per_s=0), asyncio.Event()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "http":
            ended.set()

    async with serving(watched) as port:
        reader, writer = await open_chat(port, "fault-stall")
        await reader.readuntil(b'" 3"')
        writer.close()
        await writer.wait_closed()
        await ended.wait()
