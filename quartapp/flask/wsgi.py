"""A request of a WSGI server as a call of the chat's ASGI app, which runs in another thread.

The thread of the server runs the hooks, reads the body and returns the response. Its `close` cancels the call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from queue import Empty
from typing import Any, Final, NamedTuple

import flask
from quart import Quart

from quartapp.flask.body import RequestBody
from quartapp.flask.environ import abort_error, disconnect_check, limit_sends, scope_of, wsgi_headers
from quartapp.flask.host import REQUEST_THREAD, Job, RequestThread
from quartapp.flask.loop import BackgroundLoop
from quartapp.running import RunningChat

log = logging.getLogger("quartapp")

#: Bytes of one read of the body, of one piece of the response, and of the response that wait for a slow client.
PIECE_BYTES = 2**16

#: Seconds between two looks at the connection. A client that only ends its own side can still be written to.
LOOK_S = 0.1

#: The status that logs show for a client that disconnected before its response. nginx uses it too.
CLIENT_CLOSED: Final = 499


class ResponseStart(NamedTuple):
    """The start of the response."""

    status: int
    headers: list[tuple[str, str]]


class ResponseEnd(NamedTuple):
    """The end of the call. The response `is_complete` if the app sent its end."""

    is_complete: bool


class ResponseBody:
    """The body of a response, an iterator of bytes. When it is closed or dropped, its exchange is closed."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._exchange.read()

    def close(self) -> None:
        self._exchange.close()

    __del__ = close


class Exchange(RequestThread):
    """One request and its response."""

    def __init__(self, app: Quart, chat: RunningChat, background: BackgroundLoop, environ: Mapping[str, Any]) -> None:
        super().__init__()
        self._app = app
        self._chat = chat
        self._loop = background.loop
        self._environ = environ
        self._is_gone = disconnect_check(environ)
        self._next: Any = None
        self._looked_at = time.monotonic()
        self._is_closed = False
        # The state below belongs to the event loop.
        self._read_job: Job | None = None
        self._has_body = True
        self._is_complete = False
        self._unread = 0
        self._has_room = asyncio.Event()
        self._left = asyncio.Event()
        self.enter()
        self._body = RequestBody(environ, self._loop, chat.settings.body_timeout_s)
        background.submit(self._call())

    # -- in the thread of the server

    def respond(self) -> flask.Response:
        """Return the response after its start. If the client has disconnected, its body closes the connection."""
        message, body = self._take(), ResponseBody(self)
        if not isinstance(message, ResponseStart):
            self._next = message
            return flask.Response(body, CLIENT_CLOSED, direct_passthrough=True)
        response = flask.Response(body, message.status, direct_passthrough=True)
        response.headers.clear()
        response.headers.extend(message.headers)
        return response

    def read(self) -> bytes:
        """Return the pieces of the response that have arrived, and wait for the first one. Raises StopIteration.

        If the app has ended early, raises an exception at which the server closes the connection without the end of
        the body.
        """
        message = self._take() if self._next is None else self._next
        self._next = None if isinstance(message, bytes) else message  # an end is an end for each later read
        if isinstance(message, ResponseEnd) and message.is_complete:
            raise StopIteration
        if not isinstance(message, bytes):
            self.close()
            raise abort_error(self._environ)
        pieces = [message, *self._waiting()]
        self._tell_loop(self._was_read, sum(map(len, pieces)))
        return b"".join(pieces)

    def close(self) -> None:
        """Let the app see a disconnect, unless it has ended."""
        if not self._is_closed:
            self._is_closed = True
            limit_sends(self._environ, 0)  # the limit of the system, for the next request of the connection
            self._tell_loop(self._leave)

    def _take(self) -> Any:
        """Return the next part of the response, after the jobs that come before it.

        It is an incomplete end if the client has disconnected, or the loop is closed because the process ends.
        """
        while True:
            try:
                message = self.jobs.get(timeout=LOOK_S)
            except Empty:
                message = None
            if message is None or time.monotonic() > self._looked_at + LOOK_S:
                self._looked_at = time.monotonic()
                if (self._is_gone() and not self._body.is_late) or self._loop.is_closed():
                    return ResponseEnd(is_complete=False)
            if isinstance(message, Job):
                message.run()
            elif message is not None:
                return message

    def _waiting(self) -> Iterator[bytes]:
        """Yield the pieces that have arrived. A message of another type is left for the next read."""
        while True:
            try:
                message = self.jobs.get_nowait()
            except Empty:
                return
            if isinstance(message, Job):
                message.run()
            elif isinstance(message, bytes):
                yield message
            else:
                self._next = message
                return

    def _tell_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # at the end of the process the loop may be closed
            self._loop.call_soon_threadsafe(function, *arguments)

    # -- in the event loop

    async def _call(self) -> None:
        REQUEST_THREAD.set(self)
        try:
            if not self._left.is_set():
                await self._app(scope_of(self._environ), self._receive, self._send)  # type: ignore[arg-type]
        except asyncio.CancelledError:  # the app aborted the response, the client disconnected, or the loop ends
            if not self._is_complete:  # otherwise the connection is kept for the next request
                self._body.end()
        except Exception:
            log.exception("the chat failed")
        finally:
            if "SERVER_SOFTWARE" not in self._environ:  # a test client, whose test looks at the results of hooks
                await self._chat.hooks_done()
            self.jobs.put(ResponseEnd(self._is_complete))

    async def _receive(self) -> Any:
        if self._has_body and not self._left.is_set():
            self._read_job = Job(self._body.read, (PIECE_BYTES,))
            self.jobs.put(self._read_job)
            try:
                data = await self._read_job.result()
            except Exception:  # noqa: BLE001 - the client has disconnected within the body, or its chunks are invalid
                data = b""
                if not self._body.is_late:
                    self._left.set()
            self._has_body = not self._left.is_set() and bool(data)
            if not self._left.is_set() and not self._body.is_late:
                return {"type": "http.request", "body": data, "more_body": bool(data)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.jobs.put(ResponseStart(message["status"], wsgi_headers(message["headers"])))
            return
        if body := message.get("body", b""):
            await self._send_piece(bytes(body))
        if not message.get("more_body", False):
            self._is_complete = True
            self._leave()  # Quart 0.23 waits for a disconnect after the response

    async def _send_piece(self, piece: bytes) -> None:
        while self._unread > PIECE_BYTES:
            self._has_room.clear()
            await self._has_room.wait()
        self._unread += len(piece)
        self.jobs.put(piece)

    def _was_read(self, size: int) -> None:
        self._unread -= size
        self._has_room.set()

    def _leave(self) -> None:
        """Let the app see a disconnect. It cancels the answer, and with it the jobs that wait for the thread."""
        self._left.set()
        if self._read_job is not None:
            self._read_job.drop()
