"""The pytest plugin of quartapp. It imports the package only for a test that uses one of its fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from quartapp.testing import MockModel, ModelServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "chat_model_strict",
        "fail a test if chat_model gets a request without a queued answer, or keeps an answer (default: false)",
        type="bool",
        default=False,
    )


@pytest.fixture
def chat_model(request: pytest.FixtureRequest) -> Iterator[MockModel]:
    """The model of every chat of quartapp in the test, whatever the settings name, without a key and a network.
    `chat_model.answer("Buy ", "tea.")` queues an answer. `fault("drop", after=2)` and `fail("upstream_busy")` queue
    failures. `requests` are the received requests. Without a queued answer it echoes the question, unless
    `chat_model.strict = True`.
    """
    from quartapp.testing import MockModel

    with MockModel(strict=request.config.getini("chat_model_strict")).installed() as model:
        yield model
    model.check()


@pytest.fixture
def chat_model_server(chat_model: MockModel) -> Iterator[ModelServer]:
    """A real server of the `chat_model` of the test, for clients that call OpenAI's API themselves.
    `chat_model_server.base_url` is its address. It takes the answers from the queue of `chat_model`, whose `requests`
    are those of the server too.
    """
    from quartapp.testing import ModelServer

    with ModelServer(chat_model.app) as server:
        yield server
