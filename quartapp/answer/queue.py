"""A bounded queue of events between the task that reads the upstream and the task that writes to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quartapp.core.events import Event

#: Memory of an event in addition to its bytes: objects, a place in a list, and its encoding.
EVENT_BYTES = 256


class EventQueue:
    """Events in order, for one producer and one consumer.

    The consumer takes all waiting events at once. So many events cost one wake-up.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: list[Event] = []
        self._bytes = 0
        self._consumer: asyncio.Future[None] | None = None
        self._producer: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._events)

    @property
    def consumer_waits(self) -> bool:
        """Return True while the consumer waits for an event: it has sent all that it took."""
        return self._consumer is not None

    @property
    def producer_waits(self) -> bool:
        """Return True while the producer waits for room."""
        return self._producer is not None

    @property
    def is_full(self) -> bool:
        """Return True if the queue holds more than `max_bytes`. `add` works in any case."""
        return self._bytes > self._max_bytes

    def add(self, events: Sequence[Event], size: int = 0) -> None:
        """Append `events`, which came in `size` bytes of the upstream, even if the queue is full.

        Each event counts as EVENT_BYTES more, because small events take more memory than their bytes.
        """
        self._events += events
        self._bytes += size + EVENT_BYTES * len(events)
        _wake(self._consumer)

    async def wait_for_room(self) -> None:
        """Wait while the queue is full."""
        while self.is_full:
            self._producer = asyncio.get_running_loop().create_future()
            try:
                await self._producer
            finally:
                self._producer = None

    async def wait_for_event(self) -> None:
        """Wait until the queue holds an event."""
        while not self._events:
            self._consumer = asyncio.get_running_loop().create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None

    def take(self) -> list[Event]:
        """Remove and return all events."""
        events, self._events = self._events, []
        self._bytes = 0
        _wake(self._producer)
        return events


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
