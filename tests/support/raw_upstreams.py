"""A model's server on a thread of its own, which the last user message directs: `reset:2 …` resets after two tokens.

It sends bytes that no HTTP server sends, and reports when the app closed its connection.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.support.loopback import Exchange, Loopback
from tests.support.upstream_scripts import SCRIPTS, ScriptedExchange


class RawUpstream:
    """The server, as long as the `with` lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raw upstream", daemon=True)
        self._server = Loopback(self._answer)
        self._arrivals: dict[str, Future[ScriptedExchange]] = {}
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._close(kind), self._loop).result(10)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def base_url(self) -> str:
        return self._server.base_url

    async def exchange(self, tag: str) -> ScriptedExchange:
        """Wait for the first request with that tag."""
        async with asyncio.timeout(10):
            return await asyncio.wrap_future(self._arrival(tag))

    def requests(self, tag: str) -> int:
        """Return the number of requests with that tag."""
        return self._counts.get(tag, 0)

    def _arrival(self, tag: str) -> Future[ScriptedExchange]:
        return self._arrivals.setdefault(tag, Future())

    async def _close(self, kind: type[BaseException] | None) -> None:
        try:
            await self._server.__aexit__(kind, None, None)
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)

    async def _answer(self, received: Exchange) -> None:
        """Answer one request a connection. The client sends nothing after it, so a read ends with the connection."""
        exchange = ScriptedExchange(received.request, received.reader, received.writer)
        self._add(exchange)
        name, _, count = exchange.prompt.split()[0].partition(":")
        script = asyncio.ensure_future(SCRIPTS[name](exchange, int(count or 0)))
        try:
            with suppress(ConnectionError):
                await exchange.reader.read(1)
        finally:
            exchange.closed.set_result(None)
            script.cancel()
            exchange.writer.transport.abort()
            await asyncio.gather(script, return_exceptions=True)

    def _add(self, exchange: ScriptedExchange) -> None:
        self._counts[exchange.tag] = self.requests(exchange.tag) + 1
        if not self._arrival(exchange.tag).done():
            self._arrival(exchange.tag).set_result(exchange)
