"""Apps of Flask and Quart for the tests of the testing tools, and questions to them over their test clients."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import flask
from quart import Quart

from quartapp import Chat
from quartapp.testing import ChatAnswer, chat_client

Host = Literal["flask", "quart"]

#: Models of real servers, none of which a test can reach, and a key that only the first one needs.
SERVERS: dict[str, dict[str, Any]] = {
    "fast": {"kind": "openai", "model": "gpt-5.4-mini"},
    "deep": {"kind": "responses", "model": "gpt-5.4"},
    "azure": {"kind": "azure", "base_url": "https://example.openai.azure.com", "model": "deployed"},
    "local": {"kind": "compatible", "base_url": "http://127.0.0.1:9/v1"},
    "own": {"kind": "mock"},
}


def make_app(host: Host, **settings: Any) -> flask.Flask | Quart:
    """Return an app with a chat below /ai, by default with the models of SERVERS."""
    app = flask.Flask("project") if host == "flask" else Quart("project")
    Chat(app, url_prefix="/ai", **(settings or {"models": SERVERS}))
    return app


def ask(app: flask.Flask | Quart, question: Any = "Write", format: str = "ndjson", **fields: Any) -> ChatAnswer:
    """Return the answer to a question. A Quart app is started for it."""
    if isinstance(app, Quart):
        return asyncio.run(chat_client(app.test_client(), "/ai", format).ask(question, **fields))
    return chat_client(app.test_client(), "/ai", format).ask(question, **fields)
