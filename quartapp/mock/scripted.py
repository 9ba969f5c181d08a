"""Answers that a test gives in place of a model's own, and the requests that they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec import Struct

from .tokens import Answer, Finish, Json

_SECRET = frozenset({"authorization", "api-key", "x-api-key", "proxy-authorization", "cookie"})
"""Headers that hold a key. They are not kept, because a failing test prints what it compares."""


class Request(Struct, frozen=True):
    """A request for an answer. Header names are in lower case, and headers with a key are left out."""

    path: str
    headers: dict[str, str]
    body: Json


class Reply(Struct, frozen=True):
    """An answer that a test gives.

    `model` is one of the mock model's own names, for example `fault-drop:2`: its fault applies to the answer. The
    answer is `deltas`, in the form of chunks, or that model's own if they are None. `usage` replaces the own count.
    """

    model: str = "mock-echo"
    deltas: tuple[Json, ...] | None = None
    finish_reason: str = "stop"
    usage: Json | None = None

    def answer(self) -> Answer:
        yield from self.deltas or ()
        yield Finish(self.finish_reason)


Choose: TypeAlias = Callable[[Request], Reply | None]
"""Takes a request, and returns its answer, or None for that of the model that it names.

It is called once for each request, in the thread of the server.
"""


def request_of(path: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Request:
    named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    shown = {name: value for name, value in named.items() if name not in _SECRET}
    return Request(path, shown, json.loads(body))
