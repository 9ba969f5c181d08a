"""One timer for many deadlines, on a clock that a test can advance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Protocol

#: A time of the clock, in seconds, and the function to call then.
Deadline = tuple[float, Callable[[], None]]

_TIME = itemgetter(0)


class Timer(Protocol):
    """A scheduled call, as `Clock.call_at` returns it."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an event loop that an answer needs to measure and wait for time."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class DeadlineTimer:
    """One timer for the earliest of many deadlines.

    It calls `deadlines(now)` again each time it fires or is set. So a deadline may move without a call to the timer.
    """

    def __init__(self, clock: Clock, deadlines: Callable[[float], Sequence[Deadline]]) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._timer: Timer | None = None

    def set(self) -> None:
        """Schedule the earliest deadline; if there is none, cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadlines = self._deadlines(self._clock.time())
        if deadlines:
            self._timer = self._clock.call_at(min(deadlines, key=_TIME)[0], self._fire)

    def _fire(self) -> None:
        now = self._clock.time()
        for when, act in self._deadlines(now):
            if when <= now:
                act()
        self.set()
