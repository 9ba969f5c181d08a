"""Clients of a chat in a test: each asks over the test client of the app, and returns only complete answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, overload

from quart import Quart
from quart.testing import QuartClient

from quartapp.blueprint import running_chats
from quartapp.testing.answers import AnswerError, ChatAnswer, JsonRecord, complete_answer
from quartapp.testing.formats import ClientFormat, Question, check_format, joined, refusal_of

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from quart.typing import TestClientProtocol

_ABORTED: Final = "the server aborted the connection"


class _ChatClient:
    """The part of both clients that makes requests and reads responses."""

    def __init__(self, client: Any, url_prefix: str, format: str, headers: Mapping[str, str]) -> None:
        self.client = client
        self._format: ClientFormat = check_format(format)
        self._url = url_prefix + self._format.path
        self._given = headers

    def _body(self, question: Question, model: str | None, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._format.body(question), **({} if model is None else {"model": model}), **fields}

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        return {"Accept": self._format.accept, **self._given, **(headers or {})}

    def _answer(self, response: Any, body: str, *, is_aborted: bool) -> ChatAnswer:
        """Return the complete answer of a response. Raises AnswerError, TruncatedAnswerError."""
        if response.status_code != 200:
            code, message = refusal_of(body)
            raise AnswerError(message, ChatAnswer(response), code)
        records: list[JsonRecord] = self._format.read(body)
        if self._format.accept == "text/plain" and not is_aborted:
            records.append({"type": "done", "finish_reason": "stop"})
        end = f"{self._format.end}: {_ABORTED}" if is_aborted else self._format.end
        return complete_answer(response, records, missing=end)


class FlaskChatClient(_ChatClient):
    """A client of a chat over the test client of a Flask app. `chat_client` returns it."""

    def ask(
        self,
        question: Question,
        *,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> ChatAnswer:
        """Return the complete answer to a question, or to messages with `role` and `content`.

        `model` is the name of a model that the chat offers. `fields` are other fields of the request's JSON, for
        example `temperature`.

        Raises AnswerError with the status of a refusal or the code of an error, and TruncatedAnswerError, one of those
        errors, with the text of an answer that began and is not complete.
        """
        body = self._body(question, model, fields)
        response = self.client.post(self._url, json=body, headers=self._headers(headers))
        chunks: list[bytes] = []
        is_aborted = False
        try:
            chunks.extend(response.iter_encoded())  # those before an exception are kept
        except ConnectionError:  # where a server closes the connection
            is_aborted = True
        finally:
            response.close()
        response.set_data(b"".join(chunks))
        return self._answer(response, joined(chunks), is_aborted=is_aborted)


class QuartChatClient(_ChatClient):
    """A client of a chat over the test client of a Quart app. `chat_client` returns it.

    If the app is not running, each question starts it and stops it afterwards, which waits for `on_answer`. In an
    `async with` block it is started once.
    """

    def __init__(self, client: Any, url_prefix: str, format: str, headers: Mapping[str, str]) -> None:
        super().__init__(client, url_prefix, format, headers)
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._running.enter_async_context(_started(self.client.app))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        await self._running.aclose()

    async def ask(
        self,
        question: Question,
        *,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> ChatAnswer:
        """Return the complete answer to a question, as `FlaskChatClient.ask` does, with the same errors."""
        body = json.dumps(self._body(question, model, fields)).encode()
        sent = {**self._headers(headers), "Content-Type": "application/json", "Content-Length": str(len(body))}
        async with _started(self.client.app):
            response, is_aborted = await self._exchange(body, sent)
            data = await response.get_data(as_text=False)
            for chat in running_chats(self.client.app).values():
                await chat.hooks_done()
        return self._answer(response, joined([data]), is_aborted=is_aborted)

    async def _exchange(self, body: bytes, headers: Mapping[str, str]) -> tuple[Any, bool]:
        """Return the response, and whether the app aborted it."""
        connection = self.client.request(self._url, method="POST", headers=dict(headers))
        app = connection.app = _ObservedApp(connection.app)
        try:
            async with connection:
                await connection.send(body)
                await connection.send_complete()
        except asyncio.CancelledError:  # a server closes the connection at it
            task = asyncio.current_task()
            if task is None or task.cancelling():  # the test itself was cancelled
                raise
        return await connection.as_response(), not app.has_ended


class _ObservedApp:
    """An app that remembers the end of its response, because the connection of Quart's test client does not."""

    def __init__(self, app: Quart) -> None:
        self._app = app
        self.response_class = app.response_class
        self.has_ended = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def observed_send(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.has_ended = True
            await send(message)

        await self._app(scope, receive, observed_send)


@asynccontextmanager
async def _started(app: Quart) -> AsyncIterator[None]:
    """Run `app` within the block, unless it runs in this event loop already."""
    loop = asyncio.get_running_loop()
    if any(chat.is_open and chat.loop is loop for chat in running_chats(app).values()):
        yield
    else:
        async with app.test_app():
            yield


@overload
def chat_client(
    client: FlaskClient, url_prefix: str = "/chat", format: str = "ndjson", headers: Mapping[str, str] | None = None
) -> FlaskChatClient: ...


@overload
def chat_client(
    client: TestClientProtocol,
    url_prefix: str = "/chat",
    format: str = "ndjson",
    headers: Mapping[str, str] | None = None,
) -> QuartChatClient: ...


def chat_client(
    client: Any, url_prefix: str = "/chat", format: str = "ndjson", headers: Mapping[str, str] | None = None
) -> FlaskChatClient | QuartChatClient:
    """Return a client of the chat below `url_prefix`, over the test client of a Flask or a Quart app.

    Its `ask` returns complete answers only, and is awaited for a Quart app. `format` is `text`, `ndjson`, `sse`,
    `json`, `openai` (`/v1`, streamed), `openai_json` or `ai_sdk` (the requests of `useChat`). `headers` are sent with
    each question, for example for a login. Cookies are those of `client`.

    Raises ValueError for another format.

    >>> client = chat_client(Quart("project").test_client(), "/ai", "sse")
    """
    made = QuartChatClient if isinstance(client, QuartClient) else FlaskChatClient
    return made(client, url_prefix, format, headers or {})
