"""One timer for many deadlines, on a clock that a test can wind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

Deadline = tuple[float, Callable[[], None]]


class Timer(Protocol):
    """What `Clock.call_at` gives."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What an answer needs of time; an event loop is one."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class DeadlineTimer:
    """Calls what falls due of `deadlines(now)`, which is asked anew each time the alarm goes off or is set."""

    def __init__(self, clock: Clock, deadlines: Callable[[float], Iterable[Deadline]]) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._timer: Timer | None = None

    def set(self) -> None:
        """Sets the alarm to the first deadline, if there is one."""
        self.stop()
        when = min((when for when, _ in self._deadlines(self._clock.time())), default=None)
        if when is not None:
            self._timer = self._clock.call_at(when, self._fire)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        now = self._clock.time()
        for when, act in list(self._deadlines(now)):
            if when <= now:
                act()
        self.set()
