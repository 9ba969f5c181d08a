"""The chat with a real server that generates tokens: `transformers serve`, with a model whose answers are known.

Its streams have no `[DONE]`, usage in the chunk with the finish_reason, and another name of the model than the
requested one. Its Responses API marks an answer as complete that the token limit has truncated. It answers one question
at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.real.servers import Running, free_port, installed, running
from tests.real.tiny_model import write_model
from tests.support.endpoints import NDJSON, Client, Reply, serving

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

# PyTorch's release is named because pip would take a newer one, with gigabytes for graphics cards.
REQUIREMENTS = ("transformers[serving]==5.23.0", "torch==2.13.0")

V1 = "/ai/v1/chat/completions"
SSE = {"Accept": "text/event-stream"}

#: A message, and its complete answer.
LETTER, LETTERS = "a", "bcdefghijklmnopqrstuvwxyzü"
#: A message whose answer has no end but the limit of tokens.
DIGIT = "0"

#: Less than an endless answer takes, by minutes.
SOON_S = 30

EACH_API = pytest.mark.parametrize("model", ["tiny", "by-responses"])


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], AbstractContextManager[Running]]:
    """Start a server with the model `tiny`."""
    program = installed("transformers", *REQUIREMENTS)

    def start() -> AbstractContextManager[Running]:
        folder = tmp_path_factory.mktemp("transformers")
        write_model(folder / "tiny")
        port = free_port()
        command = [program, "serve", "tiny", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
        return running(command, folder, f"http://127.0.0.1:{port}", "/health", {"HF_HUB_OFFLINE": "1"})

    return start


@pytest.fixture(scope="module")
def server(serve: Callable[[], AbstractContextManager[Running]]) -> Iterator[Running]:
    with serve() as server:
        yield server


def models_of(server: Running) -> dict[str, Any]:
    """Open a chat with the server's model, offered in several ways, and with absent servers and models."""
    tiny = {"kind": "compatible", "base_url": f"{server.origin}/v1", "model": "tiny", "retries": 0}
    nowhere = tiny | {"base_url": f"http://127.0.0.1:{free_port()}/v1"}
    return {
        "tiny": tiny,
        "by-responses": tiny | {"kind": "responses"},
        "capped": tiny | {"max_output_tokens": 7},
        "renamed": tiny | {"output_limit": "max_completion_tokens"},
        "unknown": tiny | {"model": "elsewhere"},
        "nowhere": nowhere,
        "stood-in-for": nowhere | {"retries": 1, "fallbacks": ["tiny"]},
    }


@pytest.fixture
async def chat(server: Running) -> AsyncIterator[Client]:
    async with serving(CHAT_MODELS=models_of(server)) as client:
        yield client


@pytest.fixture
def v1(chat: Client) -> Client:
    return Client(chat.app, V1)


def question(message: str, model: str = "tiny", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": message}], **fields}


def digits(count: int) -> str:
    return ("1234567890" * count)[:count]


async def answered(client: Client, document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the text of an answer in NDJSON, and its last record."""
    reply = await client.ask(document, **NDJSON)
    assert reply.status == 200, reply.body
    _, *deltas, end = reply.records
    return "".join(delta["text"] for delta in deltas), end


async def test_the_models_are_listed(chat: Client, server: Running) -> None:
    reply = await chat.send(path="/ai/v1/models", method="GET")
    assert [model["id"] for model in reply.json["data"]] == list(models_of(server))


# -- to the end


@EACH_API
async def test_an_answer_is_complete_as_text(chat: Client, model: str) -> None:
    reply = await chat.ask(question(LETTER, model))
    assert (reply.status, reply.body.decode()) == (200, LETTERS)


def _records(reply: Reply) -> list[Any]:
    return reply.records if reply.headers["Content-Type"].startswith("application/x-ndjson") else reply.data


@EACH_API
@pytest.mark.parametrize("accept", [NDJSON, SSE], ids=["ndjson", "sse"])
async def test_an_answer_is_complete_in_records_with_its_usage(
    chat: Client, accept: dict[str, str], model: str
) -> None:
    start, *deltas, done = _records(await chat.ask(question(LETTER, model), **accept))
    assert (start["type"], start["model"]) == ("start", model)
    assert len(deltas) > 1
    assert "".join(delta["text"] for delta in deltas) == LETTERS
    assert (done["type"], done["finish_reason"]) == ("done", "stop")
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (1, len(LETTERS.encode()) + 1)


async def test_an_answer_is_complete_in_one_object(chat: Client) -> None:
    reply = await Client(chat.app, "/ai/api/chat").ask(question(LETTER))
    assert (reply.json["text"], reply.json["finish_reason"]) == (LETTERS, "stop")


async def test_the_chunks_of_v1_are_the_servers_own_under_the_models_name(v1: Client) -> None:
    reply = await v1.ask(question(LETTER, stream=True, stream_options={"include_usage": True}))
    choices = [choice for chunk in reply.data for choice in chunk["choices"]]
    [usage] = [chunk["usage"] for chunk in reply.data if chunk.get("usage")]
    assert reply.is_done
    assert {chunk["model"] for chunk in reply.data} == {"tiny"}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == LETTERS
    assert [choice["finish_reason"] for choice in choices if choice.get("finish_reason")] == ["stop"]
    assert usage["prompt_tokens"] == 1


@EACH_API
async def test_a_completion_that_is_not_streamed_is_one_object(v1: Client, model: str) -> None:
    reply = await v1.ask(question(LETTER, model))
    [choice] = reply.json["choices"]
    assert (choice["message"]["content"], choice["finish_reason"], reply.json["model"]) == (LETTERS, "stop", model)
    assert reply.json["usage"]["prompt_tokens"] == 1


# -- limits


@pytest.mark.parametrize(("model", "cap"), [("tiny", 5), ("renamed", 5), ("capped", 7), ("capped", 5)])
async def test_a_token_limit_is_obeyed(chat: Client, model: str, cap: int) -> None:
    params = {} if (model, cap) == ("capped", 7) else {"max_tokens": cap}
    text, done = await answered(chat, question(DIGIT, model, **params))
    assert (text, done["finish_reason"], done["usage"]["output_tokens"]) == (digits(cap), "length", cap)


async def test_a_token_limit_is_obeyed_by_its_newer_name(v1: Client) -> None:
    reply = await v1.ask(question(DIGIT, max_completion_tokens=5))
    [choice] = reply.json["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (digits(5), "length")


# -- disconnects


@EACH_API
async def test_the_server_stops_after_a_disconnect_and_answers_the_next_client(chat: Client, model: str) -> None:
    async with chat.asking(question(DIGIT, model, max_tokens=30_000), **NDJSON) as connection:
        await connection.receive()
        next_answer = asyncio.ensure_future(answered(chat, question(DIGIT, max_tokens=3)))
        for _ in range(20):
            await connection.receive()
        assert not next_answer.done(), "the server answers several at once, so this test sees nothing"
        await connection.disconnect()
    text, done = await asyncio.wait_for(next_answer, SOON_S)
    assert (text, done["type"]) == (digits(3), "done")


# -- what is not there


async def test_a_model_that_is_not_offered_is_not_requested(chat: Client) -> None:
    reply = await chat.ask(question(LETTER, "elsewhere"))
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


async def test_a_model_that_the_server_does_not_know_is_refused_without_its_message(chat: Client) -> None:
    reply = await chat.ask(question(LETTER, "unknown"))
    assert (reply.status, reply.error["code"]) == (502, "upstream_refused")
    assert b"elsewhere" not in reply.body


async def test_an_absent_server_is_reported(chat: Client) -> None:
    reply = await chat.ask(question(LETTER, "nowhere"))
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")


async def test_a_fallback_answers_for_an_absent_server(chat: Client) -> None:
    text, done = await answered(chat, question(LETTER, "stood-in-for"))
    assert (text, done["finish_reason"]) == (LETTERS, "stop")


async def test_a_server_that_dies_midway_is_reported(serve: Callable[[], AbstractContextManager[Running]]) -> None:
    with serve() as server:
        async with (
            serving(CHAT_MODELS=models_of(server)) as chat,
            chat.asking(question(DIGIT, max_tokens=30_000), **NDJSON) as connection,
        ):
            body = await connection.receive() + await connection.receive()
            server.process.kill()
            while data := await connection.receive():
                body += data
            end = Reply(200, {}, body).records[-1]
    assert (end["type"], end["code"]) in [("error", "upstream_error"), ("error", "upstream_truncated")]
