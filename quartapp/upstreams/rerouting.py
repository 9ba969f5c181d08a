"""The transport of a test, which gets the requests of all models in place of their servers.

It is a state of the process, because the app under test may exist and run before its test does. Without a test it costs
one look at a list for each request.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
import msgspec

from quartapp.upstreams.in_process import ASGIApp, InProcessTransport

#: The module of the pytest plugin. It is loaded in each test run of a project in which the package is installed.
PLUGIN: Final = "pytest_quartapp"


class Rerouting(msgspec.Struct):
    """The way of all requests in a test. If `has_retries` is false, a failed request is not retried."""

    transport: httpx2.AsyncBaseTransport
    has_retries: bool = False


_reroutings: list[Rerouting] = []


@contextmanager
def rerouted(app: ASGIApp) -> Iterator[Rerouting]:
    """Send the requests of all models of this process to `app`, an OpenAI-compatible server.

    No token is requested, and no socket is opened. Of several routes the last one is used.
    """
    rerouting = Rerouting(InProcessTransport(app))
    _reroutings.append(rerouting)
    try:
        yield rerouting
    finally:
        _reroutings.remove(rerouting)


def is_rerouted() -> bool:
    """Return whether a test gets the requests of all models."""
    return bool(_reroutings)


def has_retries() -> bool:
    """Return whether a request that a server has failed is retried: not in a test, unless the test wants it."""
    return not _reroutings or _reroutings[-1].has_retries


def needs_keys() -> bool:
    """Return whether a model needs its key: not in a test run with the plugin, which may import the app at any time."""
    return not _reroutings and PLUGIN not in sys.modules


class ReroutableTransport(httpx2.AsyncBaseTransport):
    """The transport of a server, or that of a test as long as there is one."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        transport = _reroutings[-1].transport if _reroutings else self._transport
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()
