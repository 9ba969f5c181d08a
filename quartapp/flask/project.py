"""The Flask project itself under an ASGI server: its requests have the bodies that a WSGI server gives them."""

from __future__ import annotations

import io
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import flask
from werkzeug.exceptions import ClientDisconnected

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class CompleteEnviron:
    """A WSGI app that adds to the environ what a2wsgi leaves out: stderr, and an input that ends with the body."""

    def __init__(self, app: flask.Flask) -> None:
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


class ProjectExchange:
    """A request to the Flask project and its response."""

    def __init__(self, receive: Receive, send: Send) -> None:
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
