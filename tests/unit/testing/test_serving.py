"""The mock model as a real server: answers, faults and requests of OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from quartapp.testing import MockModel, ModelServer

MESSAGES: list[Any] = [{"role": "user", "content": "Write"}]


@pytest.fixture
def model() -> MockModel:
    return MockModel()


@pytest.fixture
def client(model: MockModel) -> Iterator[openai.OpenAI]:
    with (
        ModelServer(model.app) as server,
        openai.OpenAI(base_url=server.base_url, api_key="sk-canary", max_retries=0) as client,
    ):
        yield client


def test_answers_are_taken_by_a_client_of_openai(model: MockModel, client: openai.OpenAI) -> None:
    model.answer("Buy ", "tea.")
    completion = client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)
    assert completion.choices[0].message.content == "Buy tea."
    model.answer("Buy ", "more ", "tea.")
    chunks = client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    assert [chunk.choices[0].delta.content for chunk in chunks][1:-1] == ["Buy ", "more ", "tea."]
    assert client.chat.completions.create(model="gpt-5.4", messages=MESSAGES).choices[0].message.content == "Write"
    assert [request.text for request in model.requests] == ["Write"] * 3
    assert "canary" not in repr([vars(request) for request in model.requests])


def test_a_truncated_answer_is_an_error_of_the_client(model: MockModel, client: openai.OpenAI) -> None:
    model.fault("drop", "Buy ", "more ")
    chunks = client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError):
        list(chunks)
    model.fail("upstream_busy")
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)


def test_a_fault_of_streams_needs_a_stream(model: MockModel, client: openai.OpenAI) -> None:
    model.fault("drop", "Buy ")
    with pytest.raises(openai.BadRequestError, match="fault-drop:1 is a fault of streams"):
        client.chat.completions.create(model="gpt-5.4", messages=MESSAGES)


def test_a_stalled_answer_does_not_delay_the_end(model: MockModel) -> None:
    with ModelServer(model.app) as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="unused", max_retries=0)
        model.fault("stall", "Buy ")
        chunks = client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, stream=True)
        assert next(chunks).choices[0].delta.content == ""
        assert next(chunks).choices[0].delta.content == "Buy "
        assert repr(server) == f"<ModelServer at {server.base_url}>"
    with pytest.raises(openai.APIError):
        list(chunks)
    client.close()


def test_servers_have_ports_of_their_own() -> None:
    with ModelServer(MockModel().app) as one, ModelServer(MockModel().app) as other:
        assert one.base_url != other.base_url
