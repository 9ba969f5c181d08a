"""The player of scripts: the only module that waits and sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from uuid import uuid4

from .steps import Event, Head, Mark, Pause, Script, Step

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_WRITES_PER_YIELD = 32


class Pace:
    """A clock of tokens. It counts from a deadline, so that small delays do not add up.

    `tokens_per_s` 0 means at once.
    """

    def __init__(self, tokens_per_s: float, now_s: float) -> None:
        self._interval_s = 1 / tokens_per_s if tokens_per_s else 0.0
        self._due_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next token is due; 0 or less if it is overdue."""
        if not self._interval_s:
            return 0.0
        self._due_s += self._interval_s
        return self._due_s - now_s

    def restart(self, now_s: float) -> None:
        """Count from now on, so that the tokens of a pause are not sent at once after it."""
        self._due_s = now_s


async def play(script: Script, send: Send, tokens_per_s: float) -> None:
    """Perform the script. Raises asyncio.CancelledError at `Mark.DROP`.

    Servers then close the connection without the end of the body, and without a traceback.
    """
    player = _ScriptPlayer(send, tokens_per_s)
    for step in script:
        if step is Mark.END:
            break
        await player.perform(step)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class _ScriptPlayer:
    def __init__(self, send: Send, tokens_per_s: float) -> None:
        self._send = send
        self._now_s = asyncio.get_running_loop().time
        self._pace = Pace(tokens_per_s, self._now_s())
        self._writes = 0

    async def perform(self, step: Step) -> None:
        match step:
            case Head():
                await self._send(_start(step))
            case Event():
                await self._write(step.encode())
            case bytes():
                await self._write(step)
            case Pause(duration_s):
                await asyncio.sleep(duration_s)
                self._pace.restart(self._now_s())
            case Mark():
                await self._apply(step)

    async def _apply(self, mark: Mark) -> None:
        match mark:
            case Mark.BEAT:
                if (wait_s := self._pace.wait_s(self._now_s())) > 0:
                    await asyncio.sleep(wait_s)
            case Mark.STALL:
                await asyncio.get_running_loop().create_future()
            case Mark.DROP:
                raise asyncio.CancelledError

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        # If the `send` of a server never waits, an endless body would block the event loop.
        self._writes += 1
        if self._writes % _WRITES_PER_YIELD == 0:
            await asyncio.sleep(0)


def _start(head: Head) -> Message:
    request_id = (b"x-request-id", b"req_%b" % uuid4().hex.encode())
    return {"type": "http.response.start", "status": head.status, "headers": [*head.headers, request_id]}
