"""A clock that stands still until it is wound."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class FakeTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """`advance` winds it on, and calls what falls due on the way at its own time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not timer.is_cancelled:
                timer.callback()
        self.now = end

    @property
    def pending(self) -> int:
        """Timers that are still to go off."""
        return sum(not timer.is_cancelled for _, _, timer in self._timers)

    @property
    def until_next_s(self) -> float:
        """How long it is to the next timer that is to go off; 0 if there is none."""
        return min((when for when, _, timer in self._timers if not timer.is_cancelled), default=self.now) - self.now
