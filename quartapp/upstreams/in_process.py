"""An HTTP transport that ends in an ASGI app of this process, and streams both ways.

It lets the mock model be asked through the official client like any other server, with no port. httpx2 has an
ASGITransport, but that one collects the whole body before it returns a response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx2

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class InProcessTransport(httpx2.AsyncBaseTransport):
    """Sends each request to `app`. A response left early cancels the app's call; a call that ends before its
    response does is a connection broken off (httpx2.ReadError)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = _Call(self._app, request, await request.aread())
        try:
            status, headers = await call.start()
        except BaseException:
            await call.aclose()
            raise
        return httpx2.Response(status, headers=headers, stream=call, request=request)


class _Call(httpx2.AsyncByteStream):
    """One call of the app: its task, and the single message it may be ahead of the reader."""

    def __init__(self, app: ASGIApp, request: httpx2.Request, body: bytes) -> None:
        self._body: bytes | None = body
        self._left = asyncio.Event()
        self._failure: Exception | None = None
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=1)
        self._task = asyncio.ensure_future(self._run(app, _scope(request)))

    async def start(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Status and headers of the response."""
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

    async def _next(self) -> Message:
        message = await self._messages.get()
        if message is None:
            raise httpx2.ReadError("the app ended before its response did") from self._failure
        return message

    async def _run(self, app: ASGIApp, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._messages.put)
        except asyncio.CancelledError:
            pass  # the app broke the connection off, or its reader left
        except Exception as error:  # noqa: BLE001 - a server's crash reaches its client as a broken connection
            self._failure = error
        if not self._left.is_set():
            await self._messages.put(None)

    async def _receive(self) -> Message:
        if self._body is None:
            await self._left.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _scope(request: httpx2.Request) -> Message:
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
