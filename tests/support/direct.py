"""Requests to an ASGI app without a server in between, with the exact end of each body."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Self

from quart import Quart

from tests.support.serving import CANARY_PROMPT, eventually
from tests.support.wire_formats import Format

Message = MutableMapping[str, Any]


class Question:
    """A question in one format, sent when the `async with` starts, and the response so far."""

    def __init__(self, app: Quart, format: Format, model: str | None = None, prompt: str = CANARY_PROMPT) -> None:
        head, _, body = format.request(prompt, model, ()).partition(b"\r\n\r\n")
        request, *lines = head.decode().split("\r\n")
        method, target, _ = request.split(" ")
        path, _, query = target.partition("?")
        self.format = format
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in map(_split, lines)],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

    async def __aenter__(self) -> Self:
        self._call = asyncio.ensure_future(self._app(self._scope, self._inbox.get, self._receive))  # type: ignore[arg-type]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        self.leave()
        await asyncio.wait([self._call])

    def leave(self) -> None:
        """Send the message of a server whose client has disconnected."""
        self._inbox.put_nowait({"type": "http.disconnect"})

    def cancel(self) -> None:
        """Cancel the call, as a server that stops does."""
        self._call.cancel()

    async def read(self) -> Self:
        """Read to the end, complete or not."""
        await asyncio.wait([self._call])
        return self

    async def read_until(self, text: bytes) -> None:
        await eventually(lambda: text in self.body)

    @property
    def ending(self) -> str | None:
        """Return the ending that a client of the format reads: DONE, the code of an error, or "aborted"."""
        if self.status != 200:
            return self.format.refused(self.body)
        if not self.is_whole:
            return "aborted"
        return self.format.ending(self.body) if self.format.has_records or not self.format.is_streamed else "done"

    async def _receive(self, message: Message) -> None:
        """Handle a message of the app as a server does."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            self.is_whole = not message.get("more_body", False)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value
