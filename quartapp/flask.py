"""A Flask project with the chat beside it, as one ASGI app."""

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
    """An ASGI app that answers below `url_prefix` with the chat, and everywhere else with `flask_app`.

    The Flask project runs in up to `workers` threads, one a request; the chat needs none. The names of
    settings in `flask_app.config` count as they do in a Quart project's.
    """
    if not url_prefix.startswith("/") or url_prefix.endswith("/"):
        raise ValueError("url_prefix starts with a slash and does not end in one, for example /ai")
    chat = ChatApp("quartapp", static_folder=None)
    chat.config.from_mapping({"MAX_CONTENT_LENGTH": None} | dict(Settings.named_in(flask_app.config)))
    chat.register_blueprint(blueprint or chat_blueprint(), url_prefix=url_prefix)
    ignore_cancelled_connections(chat)
    flask = WSGIMiddleware(cast(Any, _WithWholeBodies(flask_app)), workers=workers)
    chat.asgi_app = _Fork(chat.asgi_app, flask, url_prefix)  # type: ignore[method-assign]
    return chat


class _WithWholeBodies:
    """Calls `app` with what a2wsgi leaves out of the environ: an input that ends with the body, and stderr."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.errors"] = sys.stderr
        # Without this, Flask takes a body without Content-Length for empty, and reads lines of any other byte by byte.
        environ["wsgi.input_terminated"] = True
        environ["wsgi.input"] = io.BufferedReader(_Body(environ["wsgi.input"]))
        return self._app(environ, start_response)


class _Body(io.RawIOBase):
    """The body of a request as a file; a read waits for one message of the server and no longer."""

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
    """One request to the Flask project and its response."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._has_more = True

    async def receive(self) -> Any:
        """Return the next message. Raises ClientDisconnected, because a lost client must not look like an end."""
        message = await self._receive()
        self._has_more = message.get("more_body", False)
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        return message

    async def send(self, message: Any) -> None:
        """Send `message`; read what the project has left of the body before the response ends.

        hypercorn waits for that body for ever, and would close a connection on which it is still to come.
        """
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            while self._has_more:
                self._has_more = (await self._receive()).get("more_body", False)
        await self._send(message)


class _Fork:
    """Sends a request to `chat` if its path lies below `prefix`, and to `rest` if not; the lifespan is the chat's."""

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
