"""Python's clients and curl, with the answers of the chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.conformance import CLIENTS, IMAGE, TOLD_OF_IMAGE, Client, chat_at, each, each_of
from tests.support.python_clients import LIMIT_S, Adapter, Question, Told, adapter_of
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import Server, Servers, eventually, upstream_settings

COUNT = "1 2 3 4 5"
PARTIAL = "1 2 3"

NAMES = (
    "openai-python", "LangChain ChatOpenAI", "llm",
    "requests, NDJSON", "requests, text", "httpx-sse", "curl -N, NDJSON", "curl -N, text",
)  # fmt: skip
RETRYING = NAMES[:3]

Ask = Callable[..., tuple[Server, Told]]
Answers = dict[str, tuple[Server, Told]]


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture
def adapter(client: Client, directory: Path, needs: Callable[[str], str]) -> Adapter:
    if client.name.startswith("curl"):
        needs("curl")
    return adapter_of(client.name, directory)


@pytest.fixture(scope="session")
def answers() -> Answers:
    return {}


@pytest.fixture
def ask(client: Client, adapter: Adapter, servers: Servers, upstream: str, answers: Answers) -> Ask:
    """Return a function that sends one request through the client. It returns the server and the client's result."""

    def run(model: str, **more: Any) -> tuple[Server, Told]:
        label = tag(client, model, *more)
        if label not in answers:
            answers[label] = chat_at(servers, upstream, model), Told()
            adapter.ask(Question(answers[label][0], label, model, **more), answers[label][1])
        return answers[label]

    return run


def tag(client: Client, *words: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in "-".join([client.name, *words]))


async def endings(server: Server, label: str, count: int = 1) -> list[str]:
    """Return the endings of the answers of that tag in the log, once there are `count`."""
    await eventually(lambda: len(server.answer_lines(client_id=label)) >= count)
    return [line["ending"] for line in server.answer_lines(client_id=label)]


@each("streamed", *NAMES)
def test_a_streamed_answer_is_complete(ask: Ask) -> None:
    _, result = ask("mock-count")
    assert (result.text, result.error) == (COUNT, "")


@each("whole", *NAMES)
def test_a_completion_that_is_not_streamed_is_complete(ask: Ask) -> None:
    _, result = ask("mock-count", whole=True)
    assert (result.text, result.error) == (COUNT, "")


@each("usage", *NAMES)
@pytest.mark.parametrize("more", [{}, {"whole": True}], ids=["streamed", "whole"])
def test_the_client_knows_the_usage(more: dict[str, Any], ask: Ask) -> None:
    _, result = ask("mock-count", **more)
    assert result.tokens == 11


@each("tools", *NAMES)
@pytest.mark.parametrize("more", [{}, {"whole": True}], ids=["streamed", "whole"])
def test_the_model_calls_a_function(client: Client, more: dict[str, Any], ask: Ask) -> None:
    _, result = ask("mock-tool-call", with_tools=True, message="Oslo", **more)
    assert len(result.calls) == 1
    assert "Oslo" in result.calls[0]
    answers = client.path == "/v1"  # the other clients leave the call to the program that reads their output
    assert result.text == ("The tool answered: sunny" if answers else "")


@each("image", *NAMES)
@pytest.mark.parametrize("more", [{}, {"whole": True}], ids=["streamed", "whole"])
def test_an_image_reaches_the_model(more: dict[str, Any], ask: Ask) -> None:
    _, result = ask("mock", image=IMAGE, **more)
    assert (result.text, result.error) == (TOLD_OF_IMAGE, "")


@each("429", *NAMES)
async def test_a_busy_model_is_reported_and_retried_only_by_clients_that_retry(client: Client, ask: Ask) -> None:
    server, result = ask("busy")
    assert result.error
    assert KINDS["upstream_busy"].message in result.says
    count = 3 if client.name in RETRYING else 1
    assert await endings(server, tag(client, "busy"), count) == ["upstream_busy"] * count


def test_openai_python_gets_retry_after_of_a_busy_model(servers: Servers, upstream: str) -> None:
    url = f"http://127.0.0.1:{chat_at(servers, upstream, 'mock').port}/v1"
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    with client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="fault-status:429", messages=[{"role": "user", "content": "hello"}])
    assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("rate_limit_exceeded", "7")


@each("500", *NAMES)
async def test_a_failure_that_may_have_been_billed_is_reported_and_not_retried(client: Client, ask: Ask) -> None:
    server, result = ask("fault-status:500")
    assert result.error
    assert KINDS["upstream_error"].message in result.says
    assert await endings(server, tag(client, "fault-status:500")) == ["upstream_error"]


INCOMPLETE = {"error": "fault-error-object", "dropped": "fault-drop", "truncated": "fault-no-finish"}


@each_of(INCOMPLETE, *NAMES)
def test_a_truncated_answer_is_an_error(client: Client, case: str, ask: Ask) -> None:
    _, result = ask(INCOMPLETE[case])
    assert (result.text, result.error) == (PARTIAL, client.cut)
    if not client.name.endswith("text"):
        code = "upstream_truncated" if case == "truncated" else "upstream_error"
        assert KINDS[code].message in result.says


@each("whole", *NAMES)
async def test_a_truncated_completion_is_an_error_and_not_retried(client: Client, ask: Ask) -> None:
    server, result = ask("fault-no-finish", whole=True)
    assert result.text == ""
    assert KINDS["upstream_truncated"].message in result.says
    assert await endings(server, tag(client, "fault-no-finish", "whole")) == ["upstream_truncated"]


@each("left", *NAMES)
async def test_the_upstream_is_closed_when_the_client_disconnects(
    client: Client, adapter: Adapter, servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = servers.get("quartapp", **upstream_settings(raw_upstream.base_url))
    left = tag(client, "left")
    question = Question(server, left, "the-model", f"stall:3 {left}")
    await asyncio.gather(asyncio.to_thread(adapter.leave, question), raw_upstream.exchange(left))
    await asyncio.wait_for(asyncio.wrap_future((await raw_upstream.exchange(left)).closed), LIMIT_S)
    assert await endings(server, left) == ["client_disconnected"]


async def test_openai_python_can_cancel_a_completion(servers: Servers, raw_upstream: RawUpstream) -> None:
    server = servers.get("quartapp", **upstream_settings(raw_upstream.base_url))
    client = CLIENTS["openai-python"]
    left = tag(client, "left whole")
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", default_headers={"X-Request-ID": left}
    ) as asker:
        task = asyncio.ensure_future(
            asker.chat.completions.create(model="the-model", messages=[{"role": "user", "content": f"stall:3 {left}"}])
        )
        exchange = await raw_upstream.exchange(left)
        task.cancel()
        await asyncio.wait_for(asyncio.wrap_future(exchange.closed), LIMIT_S)
    assert await endings(server, left) == ["client_disconnected"]
