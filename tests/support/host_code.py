"""Code of a host app that tests call: a route behind one guard, and exceptions that are no Exception."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from quart import Quart, Request, Response, request

from quartapp.core.errors import ChatError


def guarded(guard: Callable[[Request], Awaitable[bytes | str | None]], **config: Any) -> Any:
    """Return a test client of a route that responds with the result of `guard`, or with the code that it raised."""
    app = Quart("host", static_folder=None)
    app.config.from_mapping(config)

    @app.post("/")
    async def route() -> Response:
        try:
            passed = await guard(request)
        except ChatError as error:
            return Response(error.code, error.status)
        return Response(passed if passed is not None else "nobody")

    return app.test_client()


class HostExit(BaseException):
    """An exception of a host app that is no Exception."""


BASE_EXCEPTIONS = [
    SystemExit("canary"),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    HostExit("canary"),
]
