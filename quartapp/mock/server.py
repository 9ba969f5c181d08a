"""The ASGI application. It runs an answer until its end, or until the client disconnects."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine

from .player import ASGIApp, Receive, Scope, Send, play
from .routes import MAX_BODY_BYTES, respond


def create_mock(tokens_per_s: float = 40.0) -> ASGIApp:
    """Return a new server. `tokens_per_s` 0 means as fast as possible; a negative or infinite one raises ValueError."""
    if not 0 <= tokens_per_s < math.inf:
        raise ValueError("tokens_per_s must be 0 or a positive number")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await _answer(scope, receive, send, tokens_per_s)
            case "lifespan":
                await _lifespan(receive, send)
            case other:
                raise ValueError(f"the mock model does not speak {other}")

    return app


async def _answer(scope: Scope, receive: Receive, send: Send, tokens_per_s: float) -> None:
    body = await _read_body(receive)
    if body is not None:
        script = respond(scope["method"], scope["path"], body)
        await _first_ends(play(script, send, tokens_per_s), _disconnect(receive))


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, or None if the client disconnected before its end. It stops after MAX_BODY_BYTES."""
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue  # the rest of a body that was too large


async def _first_ends(*coroutines: Coroutine[None, None, None]) -> None:
    """Wait until one coroutine ends, then cancel the others. Raises the exception of the first."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
