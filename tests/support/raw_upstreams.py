"""A model's server on bare sockets that misbehaves as the last user message asks: `reset:2 …` resets after two tokens.

It does on the wire what no HTTP server can be brought to do, and tells when the app closed its connection.
"""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.support.upstream_scripts import SCRIPTS, Exchange


class RawUpstream:
    """The server, on a loopback port and a thread of its own, while it is entered."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raw upstream", daemon=True)
        self._server: asyncio.Server | None = None
        self._arrivals: dict[str, Future[Exchange]] = {}
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def exchange(self, tag: str) -> Exchange:
        """The first request with that tag, waited for."""
        async with asyncio.timeout(10):
            return await asyncio.wrap_future(self._arrival(tag))

    def requests(self, tag: str) -> int:
        """How many requests have come with that tag."""
        return self._counts.get(tag, 0)

    def _arrival(self, tag: str) -> Future[Exchange]:
        return self._arrivals.setdefault(tag, Future())

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection; nothing follows it, so what ends the reading is the end of the connection."""
        exchange = await self._read_request(reader, writer)
        name, _, count = exchange.prompt.split()[0].partition(":")
        acting = asyncio.ensure_future(SCRIPTS[name](exchange, int(count or 0)))
        try:
            with suppress(ConnectionError):
                await reader.read(1)
        finally:
            exchange.closed.set_result(None)
            acting.cancel()
            writer.transport.abort()
            await asyncio.gather(acting, return_exceptions=True)

    async def _read_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        exchange = Exchange(headers, body, writer, asyncio.get_running_loop())
        self._counts[exchange.tag] = self.requests(exchange.tag) + 1
        if not self._arrival(exchange.tag).done():
            self._arrival(exchange.tag).set_result(exchange)
        return exchange
