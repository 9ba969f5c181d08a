"""A client of a host app with the chat below /ai, through Quart's test client, and fake upstreams for it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from quart import Quart

from quartapp import ChatRequest, Model, chat_blueprint
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.events import Batch, Batches
from quartapp.hooks import Authenticate
from tests.support.loopback import Exchange, Loopback, head

PROMPT = "count to 3 canary-prompt"
FAST = {"CHAT_MOCK_TOKENS_PER_S": 0}
NDJSON = {"Accept": "application/x-ndjson"}
STREAM = "/ai/api/stream"
ID = re.compile(r"[0-9a-f]{32}")


class Reply:
    """A response read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def records(self) -> list[Any]:
        *lines, rest = self.body.split(b"\n")
        assert rest == b""
        return [json.loads(line) for line in lines]

    @property
    def events(self) -> list[dict[str, str]]:
        """Return the fields of each server-sent event without comments; `data` is one line in all our formats."""
        *blocks, rest = self.body.decode().split("\n\n")
        assert rest == ""
        lines = [[line for line in block.split("\n") if not line.startswith(":")] for block in blocks]
        return [dict(line.split(": ", 1) for line in block) for block in lines if block]

    @property
    def data(self) -> list[Any]:
        """Return the data of server-sent events, without `[DONE]`, which may only be the last."""
        data = [event["data"] for event in self.events]
        assert "[DONE]" not in data[:-1]
        return [json.loads(line) for line in data if line != "[DONE]"]

    @property
    def is_done(self) -> bool:
        return self.body.endswith(b"data: [DONE]\n\n")

    @property
    def error(self) -> Any:
        """Return the error of an error response, after a check of the parts that all of them share."""
        error = self.json["error"]
        assert self.headers["Content-Type"] == "application/json"
        assert self.headers["X-Content-Type-Options"] == "nosniff"
        assert self.headers["Cache-Control"] == "no-store"
        assert self.headers["X-Request-ID"] == error["id"]
        assert ID.fullmatch(error["id"])
        assert (self.status, error["message"]) == KINDS[error["code"]]
        assert error.keys() <= {"code", "message", "id", "path", "retry_after_s"}
        return error


class Client:
    """A client of a host app, or of an app that is the chat itself."""

    def __init__(self, app: Quart, path: str = STREAM) -> None:
        self.app = app
        self.path = path

    async def ask(self, document: Any = None, **headers: str) -> Reply:
        document = {"message": PROMPT} if document is None else document
        return await self.send(json.dumps(document).encode(), headers={"Content-Type": "application/json", **headers})

    async def send(
        self,
        body: bytes = b"",
        *,
        path: str | None = None,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        response = await self.test.open(path or self.path, method=method, data=body, headers=dict(headers or {}))
        return Reply(response.status_code, response.headers, bytes(await response.get_data(as_text=False)))

    async def get(self, query: Any = None, **headers: str) -> Reply:
        """Send a GET as a script of the app's own page does, with `query` if it is given."""
        headers = {"Sec-Fetch-Dest": "empty", **headers}
        encoded = urlencode({"message": PROMPT} if query is None else query, doseq=True)
        return await self.send(path=f"{self.path}?{encoded}", method="GET", headers=headers)

    @asynccontextmanager
    async def asking(self, document: Any = None, **headers: str) -> AsyncIterator[Any]:
        """Send a question, and yield the connection before anything is read."""
        headers = {"Content-Type": "application/json", **headers}
        async with self.test.request(self.path, method="POST", headers=headers) as connection:
            await connection.send(json.dumps({"message": PROMPT} if document is None else document).encode())
            await connection.send_complete()
            yield connection

    @property
    def test(self) -> Any:
        return self.app.test_client()


@asynccontextmanager
async def serving(
    *,
    authenticate: Authenticate | None = None,
    models: Mapping[str, Model] | None = None,
    host: Quart | None = None,
    path: str = STREAM,
    **given: Any,
) -> AsyncIterator[Client]:
    """A host app with the chat below /ai, as fast as it can, and a client that asks `path` of it."""
    host = host or Quart("host", static_folder=None)
    blueprint = chat_blueprint(settings={**FAST, **given}, models=models, authenticate=authenticate)
    host.register_blueprint(blueprint, url_prefix="/ai")
    async with host.test_app():
        yield Client(host, path)


class Log:
    """What the project logged: one JSON object a line, under the word that it begins with."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog

    @property
    def lines(self) -> list[tuple[str, Any]]:
        ours = [record for record in self._caplog.records if record.name in ("quartapp.request", "quartapp.answer")]
        words = [record.getMessage().partition(" ") for record in ours]
        return [(word, json.loads(document)) for word, _, document in words]

    @property
    def only(self) -> Any:
        [(_, line)] = self.lines
        return line

    @property
    def text(self) -> str:
        return self._caplog.text


class OwnModel:
    """A model of a project's own."""

    def __init__(self, *batches: Batch | Exception) -> None:
        self._batches = batches

    async def stream(self, request: ChatRequest, /) -> Batches:
        for batch in self._batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch


class Silent(Loopback):
    """An upstream that sends its head, and after `release` its body; `left` is set when its client has disconnected."""

    def __init__(self, *body: bytes) -> None:
        super().__init__(self._answer)
        self._body = body
        self.asked, self.release, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def _answer(self, exchange: Exchange) -> None:
        self.asked.set()
        await exchange.send(head())
        leaving = asyncio.ensure_future(exchange.client_leaves())
        released = asyncio.ensure_future(self.release.wait())
        await asyncio.wait([leaving, released], return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            self.left.set()
        else:
            await exchange.send(b"".join(self._body))
            exchange.close()
        for task in (leaving, released):
            task.cancel()
        await asyncio.wait([leaving, released])


def chunk(delta: Any = None, finish_reason: str | None = None, **fields: Any) -> Any:
    """Return a chat completion chunk as an upstream sends it; `fields` may replace its `choices`."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "theirs",
        "choices": [choice],
        **fields,
    }


def event_stream(*chunks: Any, done: bool = True) -> bytes:
    """Return the body of an upstream's answer."""
    encoded = [
        chunk if isinstance(chunk, bytes) else json.dumps(chunk, separators=(",", ":")).encode() for chunk in chunks
    ]
    lines = [b"data: " + data for data in encoded]
    return b"".join(line + b"\n\n" for line in [*lines, *([b"data: [DONE]"] if done else [])])


def offered_by(upstream: Loopback, model: str = "ours") -> dict[str, Any]:
    """Return the settings of a chat whose one model is the server's."""
    return {"OPENAI_BASE_URL": upstream.base_url, "CHAT_MODEL": model}
