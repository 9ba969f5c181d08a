"""A Flask project and the chat as one ASGI app."""

from __future__ import annotations

import io
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from flask import Flask
from quart import Blueprint, Quart
from werkzeug.exceptions import ClientDisconnected

try:
    from a2wsgi import WSGIMiddleware
except ImportError as error:
    raise ImportError("quartapp.flask needs a2wsgi: pip install 'quartapp[flask]'") from error

from quartapp.app import ChatApp
from quartapp.blueprint import chat_blueprint
from quartapp.settings.settings import Settings
from quartapp.stopping import ignore_cancelled_connections

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def mount(flask_app: Flask, blueprint: Blueprint | None = None, url_prefix: str = "/ai", workers: int = 32) -> Quart:
    """Return an ASGI app that serves the chat below `url_prefix`, and `flask_app` at all other paths.

    The Flask project runs in up to `workers` threads, one for each request. The chat uses none of them. Settings of
    the chat in `flask_app.config` have the same effect as in the config of a Quart app.
    Raises ValueError if `url_prefix` does not start with a slash or ends with one.

    >>> asgi = mount(Flask("project"), url_prefix="/ai")
    """
    if not url_prefix.startswith("/") or url_prefix.endswith("/"):
        raise ValueError("url_prefix starts with a slash and does not end in one, for example /ai")
    chat = ChatApp("quartapp", static_folder=None)
    chat.config.from_mapping({"MAX_CONTENT_LENGTH": None} | dict(Settings.named_in(flask_app.config)))
    chat.register_blueprint(blueprint or chat_blueprint(), url_prefix=url_prefix)
    ignore_cancelled_connections(chat)
    flask = WSGIMiddleware(cast(Any, _CompleteEnviron(flask_app)), workers=workers)
    chat.asgi_app = _Fork(chat.asgi_app, flask, url_prefix)  # type: ignore[method-assign]
    return chat


class _CompleteEnviron:
    """A WSGI app that adds to the environ what a2wsgi leaves out: stderr, and an input that ends with the body."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.errors"] = sys.stderr
        # Without this, Flask treats a body without Content-Length as empty, and reads lines of others byte by byte.
        environ["wsgi.input_terminated"] = True
        environ["wsgi.input"] = io.BufferedReader(_RequestBody(environ["wsgi.input"]))
        return self._app(environ, start_response)


class _RequestBody(io.RawIOBase):
    """The body of a request as a file. A read waits for at most one message of the server."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        room = memoryview(buffer)
        data = self._body.read(1)
        data += self._body.read(min(len(self._body.buffer), len(room) - len(data)))
        room[: len(data)] = data
        return len(data)


class _Exchange:
    """A request to the Flask project and its response."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._has_more = True

    async def receive(self) -> Any:
        """Return the next message.

        Raises ClientDisconnected if the client disconnects, because a truncated body must not look complete.
        """
        message = await self._receive()
        self._has_more = message.get("more_body", False)
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        return message

    async def send(self, message: Any) -> None:
        """Send `message`. Before the end of the response, read the rest of the request's body.

        hypercorn waits forever for a body that nothing reads. It closes a connection whose body is incomplete.
        """
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            while self._has_more:
                self._has_more = (await self._receive()).get("more_body", False)
        await self._send(message)


class _Fork:
    """An ASGI app that sends requests below `prefix`, and the lifespan, to `chat`, and the others to `rest`."""

    def __init__(self, chat: Any, rest: Any, prefix: str) -> None:
        self._chat = chat
        self._rest = rest
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        is_rest = scope["type"] == "http" and path != self._prefix and not path.startswith(self._prefix + "/")
        if not is_rest:
            await self._chat(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self._rest(scope, exchange.receive, exchange.send)
