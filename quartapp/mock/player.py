"""The steps of a script, which is everything that the server does for one request, and their player.

A script is an iterator of steps that never waits. So a fault is a function from script to script, and only the player
uses the clock and the network.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from enum import Enum, auto
from typing import Any, Literal, TypeAlias, TypeGuard
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from .tokens import Json

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
Kind: TypeAlias = Literal["role", "token", "finish", "usage", "done", "other"]

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_WRITES_PER_YIELD = 32

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(body: Json) -> bytes:
    # Only a lone surrogate has no UTF-8, and Python's escape for it, \ud83d, happens to be JSON's.
    return _encode(body).encode("utf-8", "backslashreplace")


class Head(Struct, frozen=True):
    """The status line and the headers."""

    status: int
    headers: Headers


class Event(Struct, frozen=True):
    """One server-sent event, not encoded yet, so that a fault can change it."""

    kind: Kind
    body: Json

    def encode(self) -> bytes:
        return b"data: %b\n\n" % (b"[DONE]" if self.kind == "done" else encode(self.body))

    def but(self, **fields: object) -> Event:
        """Return the event with some fields of its body replaced."""
        return replace(self, body={**self.body, **fields})


class Pause(Struct, frozen=True):
    """A time without output. The pace restarts after it."""

    duration_s: float


class Mark(Enum):
    """A step without data."""

    BEAT = auto()
    """Wait until the next token is due."""
    STALL = auto()
    """Send nothing more until the client disconnects."""
    DROP = auto()
    """Abort the connection."""
    END = auto()
    """End the body cleanly, and ignore the steps that follow."""


Step: TypeAlias = Head | Event | bytes | Pause | Mark
"""Bytes are sent unchanged, in one write."""

Script: TypeAlias = Iterator[Step]

DONE = Event("done", {})


def is_event(step: Step, *kinds: Kind) -> TypeGuard[Event]:
    return isinstance(step, Event) and step.kind in kinds


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
    pace = Pace(tokens_per_s, asyncio.get_running_loop().time())
    write_count = 0
    for step in script:
        if step is Mark.END:
            break
        match step:
            case Event() | bytes():
                data = step.encode() if isinstance(step, Event) else step
                await send({"type": "http.response.body", "body": data, "more_body": True})
                # If the `send` of a server never waits, an endless body would block the event loop.
                write_count += 1
                if write_count % _WRITES_PER_YIELD == 0:
                    await asyncio.sleep(0)
            case Head(status, headers):
                request_id = (b"x-request-id", b"req_%b" % uuid4().hex.encode())
                await send({"type": "http.response.start", "status": status, "headers": [*headers, request_id]})
            case Pause() | Mark():
                await _wait(step, pace)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait(step: Pause | Mark, pace: Pace) -> None:
    loop = asyncio.get_running_loop()
    match step:
        case Pause(duration_s):
            await asyncio.sleep(duration_s)
            pace.restart(loop.time())
        case Mark.BEAT:
            if (wait_s := pace.wait_s(loop.time())) > 0:
                await asyncio.sleep(wait_s)
        case Mark.STALL:
            await loop.create_future()
        case Mark.DROP:
            raise asyncio.CancelledError
