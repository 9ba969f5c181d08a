"""The body of a WSGI request, with a time limit, because WSGI servers have none for a read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import flask

from quartapp.flask.environ import connection_of

NO_LIMIT: Final = 2**62


class RequestBody:
    """The body of the current request. `is_late` is true once a read has taken longer than `timeout_s` seconds."""

    def __init__(self, environ: Mapping[str, Any], loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.is_late = False
        self._environ = environ
        self._loop = loop
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._read = _source(flask.request)

    def read(self, size: int) -> bytes:
        """Return the next bytes, empty at the end. Call it in the thread of the server.

        Raises an exception of the server if the client disconnects or sends an invalid chunk.
        """
        self._in_loop(self._start_timer)
        try:
            return self._read(size)
        finally:
            self._in_loop(self._stop_timer)

    def end(self) -> None:
        """End a read that is late. The app refuses the request by its own limit, and gets no more of the body.

        Only the receiving side of the connection is closed, so the client still gets the response.
        """
        connection = connection_of(self._environ)
        if connection is not None:
            self.is_late = True
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RD)

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(self._timeout_s, self.end)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _in_loop(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # at the end of the process the loop may be closed
            self._loop.call_soon_threadsafe(function)


def _source(request: flask.Request) -> Callable[[int], bytes]:
    """Return a function that reads the next bytes of the body, also if a hook of the project has read it before."""
    if "_cached_data" in vars(request):
        data = [request.get_data()]
        return lambda _: data.pop() if data else b""
    request.max_content_length = NO_LIMIT  # the chat reads less, and has an error of its own for a larger body
    stream = request.stream
    return getattr(stream, "read1", stream.read)
