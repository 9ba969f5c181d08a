"""What the server does for a request, step by step.

A script is a plain iterator of steps. It never waits for anything itself, so a fault is a function from script to
script, and only the player knows of time and of the network.
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
    """One server-sent event, still open to alteration."""

    kind: Kind
    body: Json

    def encode(self) -> bytes:
        return b"data: %b\n\n" % (b"[DONE]" if self.kind == "done" else encode(self.body))

    def but(self, **fields: object) -> Event:
        """The same with some fields of its body replaced."""
        return replace(self, body={**self.body, **fields})


class Pause(Struct, frozen=True):
    """Nothing happens for so long, and the pace starts afresh after it."""

    duration_s: float


class Mark(Enum):
    BEAT = auto()
    """Wait until the next token is due."""
    STALL = auto()
    """Nothing happens any more until the client leaves."""
    DROP = auto()
    """The connection is broken off."""
    END = auto()
    """The body ends cleanly; what follows is not performed."""


Step: TypeAlias = Head | Event | bytes | Pause | Mark
"""Bytes are written as they are, in one write."""

Script: TypeAlias = Iterator[Step]

DONE = Event("done", {})


def is_event(step: Step, *kinds: Kind) -> bool:
    return isinstance(step, Event) and step.kind in kinds
