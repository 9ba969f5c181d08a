"""Fresh projects of Flask and Quart with tests of their own, which run in a process with the installed plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.serving import FOREIGN

# The app is made at import, and its settings name models of servers whose keys do not exist.
_PROJECT: Final = """\
from {library} import {App}

from quartapp import Chat

app = {App}(__name__)
MODELS = {{
    "fast": {{"kind": "openai", "model": "gpt-5.4-mini", "key_env": "KEY_OF_NOBODY"}},
    "deep": {{"kind": "responses", "key_env": "KEY_OF_NOBODY"}},
}}
chat = Chat(app, url_prefix="/ai", models=MODELS)
"""

PROJECT: Final[Mapping[str, str]] = {
    "flask": _PROJECT.format(library="flask", App="Flask"),
    "quart": _PROJECT.format(library="quart", App="Quart"),
}

_FLASK_TESTS: Final = """\
from project import app
from quartapp.testing import chat_client


def ask(format="ndjson", **fields):
    return chat_client(app.test_client(), "/ai", format).ask("Write a slogan", **fields).text


def test_complete(chat_model):
    chat_model.answer("Buy ", "more ", "tea.")
    assert ask() == "Buy more tea."
    assert chat_model.requests[-1].text == "Write a slogan"


def test_complete_too(chat_model):
    chat_model.answer("Buy ", "tea.")
    assert ask("ai_sdk", model="deep") == "Buy tea."


def test_server(chat_model, chat_model_server):
    assert chat_model_server.base_url.startswith("http://127.0.0.1:")


def test_truncated(chat_model):
    chat_model.fault("drop", "Buy ", "more ")
    ask()


def test_truncated_text(chat_model):
    chat_model.fault("drop", "Buy ", "more ")
    ask("text")
"""

_QUART_TESTS: Final = """\
import asyncio
import functools

import pytest
from project import app
from quartapp.testing import chat_client


def strict(test):
    return pytest.mark.asyncio(test)


def auto(test):
    return test


def sync(test):
    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


async def ask(format="ndjson", **fields):
    answer = await chat_client(app.test_client(), "/ai", format).ask("Write a slogan", **fields)
    return answer.text


@MODE
async def test_complete(chat_model):
    chat_model.answer("Buy ", "more ", "tea.")
    assert await ask() == "Buy more tea."
    assert chat_model.requests[-1].text == "Write a slogan"


@MODE
async def test_complete_too(chat_model):
    chat_model.answer("Buy ", "tea.")
    assert await ask("ai_sdk", model="deep") == "Buy tea."


@MODE
async def test_server(chat_model, chat_model_server):
    assert chat_model_server.base_url.startswith("http://127.0.0.1:")


@MODE
async def test_truncated(chat_model):
    chat_model.fault("drop", "Buy ", "more ")
    await ask()


@MODE
async def test_truncated_text(chat_model):
    chat_model.fault("drop", "Buy ", "more ")
    await ask("text")
"""

TESTS: Final[Mapping[str, str]] = {"flask": _FLASK_TESTS, "quart": _QUART_TESTS}

#: The modes of pytest-asyncio, and no pytest-asyncio at all, with the options of pytest. The names are decorators.
ASYNCIO: Final[Mapping[str, tuple[str, ...]]] = {
    "sync": ("-p", "no:asyncio"),
    "strict": ("-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"),
    "auto": ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
}


def run_tests(folder: Path, installed: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in `folder`, with the distribution in the folder `installed` and without variables of the chat."""
    environment = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
    return subprocess.run(
        # langsmith's plugin warns at its import.
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:langsmith_plugin", *options],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(installed), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
