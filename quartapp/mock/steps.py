"""The steps of a script, which is everything that the server does for one request.

A script is an iterator of steps that never waits. So a fault is a function from script to script, and only the player
uses the clock and the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum, auto
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from .tokens import Json

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
Kind: TypeAlias = Literal["role", "token", "finish", "usage", "done", "other"]

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


def is_event(step: Step, *kinds: Kind) -> bool:
    return isinstance(step, Event) and step.kind in kinds
