"""What has come and has not been taken yet: a bounded place between the task that reads the upstream and the one that
writes to the reader."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quartapp.core.events import Event

#: What an event costs in memory beside its bytes: objects, a place in a list, and its encoding.
EVENT_BYTES = 256


class Mailbox:
    """Events in order, for one giver and one taker. Events that are taken together cost the taker one wake-up."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: list[Event] = []
        self._bytes = 0
        self._taker: asyncio.Future[None] | None = None
        self._giver: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._events)

    @property
    def taker_waits(self) -> bool:
        """Whether the taker waits for an event: it has sent what it took before."""
        return self._taker is not None

    @property
    def giver_waits(self) -> bool:
        """Whether the giver waits for room."""
        return self._giver is not None

    @property
    def is_full(self) -> bool:
        """Whether more than `max_bytes` wait to be taken; `add` works all the same."""
        return self._bytes > self._max_bytes

    def add(self, events: Sequence[Event], size: int = 0) -> None:
        """Puts `events` in, for which `size` bytes were read, however full it is. Each counts EVENT_BYTES more."""
        self._events += events
        self._bytes += size + EVENT_BYTES * len(events)
        _wake(self._taker)

    async def wait_for_room(self) -> None:
        """Waits while it is full."""
        while self.is_full:
            self._giver = asyncio.get_running_loop().create_future()
            try:
                await self._giver
            finally:
                self._giver = None

    async def wait_for_event(self) -> None:
        """Waits until there is something to take."""
        while not self._events:
            self._taker = asyncio.get_running_loop().create_future()
            try:
                await self._taker
            finally:
                self._taker = None

    def take(self) -> list[Event]:
        """All there is, which leaves it empty."""
        events, self._events = self._events, []
        self._bytes = 0
        _wake(self._giver)
        return events


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
