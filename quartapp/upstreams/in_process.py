"""An HTTP transport that calls an ASGI app of this process, and streams in both directions.

The official client uses it for the mock model, so that no port is needed. ASGITransport of httpx2 does not fit, because
it collects the body before it returns a response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx2

ASGIMessage = MutableMapping[str, Any]
Send = Callable[[ASGIMessage], Awaitable[None]]
ASGIApp = Callable[[ASGIMessage, Callable[[], Awaitable[ASGIMessage]], Send], Awaitable[None]]


class InProcessTransport(httpx2.AsyncBaseTransport):
    """A transport that sends each request to `app`.

    Closing a response early cancels the app's call. If the call ends before its response is complete, the read raises
    httpx2.ReadError.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = _AppCall(self._app, request, await request.aread())
        try:
            status, headers = await call.start()
        except BaseException:
            await call.aclose()
            raise
        return httpx2.Response(status, headers=headers, stream=call, request=request)


class _AppCall(httpx2.AsyncByteStream):
    """One call of the app: its task, and the one message that it may be ahead of the parser."""

    def __init__(self, app: ASGIApp, request: httpx2.Request, body: bytes) -> None:
        self._body: bytes | None = body
        self._left = asyncio.Event()
        self._failure: Exception | None = None
        self._messages: asyncio.Queue[ASGIMessage | None] = asyncio.Queue(maxsize=1)
        self._task = asyncio.ensure_future(self._run(app, _scope(request)))

    async def start(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Return the status and the headers of the response."""
        message = await self._next()
        return message["status"], list(message["headers"])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._next()
            more = message.get("more_body", False)
            if body := message.get("body"):
                yield body

    async def aclose(self) -> None:
        self._left.set()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _next(self) -> ASGIMessage:
        message = await self._messages.get()
        if message is None:
            raise httpx2.ReadError("the app ended before its response did") from self._failure
        return message

    async def _run(self, app: ASGIApp, scope: ASGIMessage) -> None:
        try:
            await app(scope, self._receive, self._messages.put)
        except asyncio.CancelledError:
            pass  # the app aborted the connection, or the response was closed
        except Exception as error:  # noqa: BLE001 - a client sees a crash of its server as a broken connection
            self._failure = error
        if not self._left.is_set():
            await self._messages.put(None)

    async def _receive(self) -> ASGIMessage:
        if self._body is None:
            await self._left.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _scope(request: httpx2.Request) -> ASGIMessage:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": None,
        "server": None,
    }
