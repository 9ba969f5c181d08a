"""The client's side of an answer: the events to send, the status timeout, the keep-alive and the write timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from quartapp.answer.deadlines import Clock, Deadline, DeadlineTimer
from quartapp.answer.limits import Limits
from quartapp.answer.queue import EventQueue
from quartapp.answer.report import AnswerReport, log_report
from quartapp.answer.run import Run, State
from quartapp.core.errors import ChatError
from quartapp.core.events import Batches, Event, Ping


class Answer:
    """An async iterator of lists of events. The last event is Done or Failed.

    When it is closed, each of `observers` gets its report, exactly once.
    `begin` starts the run. `close` ends it from any state, any number of times, without waiting.
    The task that creates the answer is its client's task. When that task ends, the answer is closed. If it takes no
    events for `write_timeout_s`, it is cancelled.
    """

    def __init__(
        self,
        source: Callable[[], Batches],
        *,
        id: str,
        model: str,
        limits: Limits,
        clock: Clock | None = None,
        labels: Mapping[str, Any] | None = None,
        observers: Sequence[Callable[[AnswerReport], None]] = (),
    ) -> None:
        self._limits = limits
        self._clock: Clock = clock or asyncio.get_running_loop()
        self._labels = labels or {}
        self._observers = observers
        self._queue = EventQueue(limits.max_buffered_bytes)
        self._timer = DeadlineTimer(self._clock, self._deadlines)
        self._run = Run(
            source, id=id, model=model, limits=limits, clock=self._clock, queue=self._queue, timer=self._timer
        )
        self._taken_at = self._run.started_at
        self._status_due_at: float | None = None
        self._ending = "client_disconnected"
        self._is_closed = False
        self._client_task = asyncio.current_task()
        if self._client_task is not None:
            self._client_task.add_done_callback(lambda _: self.close())

    async def begin(self, status_timeout_s: float | None = None) -> None:
        """Start the run and wait for its first event, at most `status_timeout_s` if that is not None.

        Raises the ChatError of a run that ends before its first event. The client has no status then.
        """
        self._status_due_at = None if status_timeout_s is None else self._run.started_at + status_timeout_s
        self._run.start()
        self._timer.set()
        await self._queue.wait_for_event()
        if self._run.is_refused and self._run.error is not None:
            self._ending = self._run.error.code
            self.close()
            raise self._run.error
        self._taken_at = self._clock.time()

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> list[Event]:
        run = self._run
        if not self._queue:
            if run.state is State.ENDED:
                raise StopAsyncIteration
            await self._queue.wait_for_event()
        events = self._queue.take()
        self._taken_at = self._clock.time()
        if run.state is State.ENDED:
            self._ending = "done" if run.error is None else run.error.code
        return events

    @property
    def error(self) -> ChatError | None:
        """Return the error that ended the answer."""
        return self._run.error

    def end(self, error: ChatError) -> None:
        """End the answer, unless it has ended: with Done if its finish reason is known, otherwise with `error`.

        The client gets the end with the next events that it takes.
        """
        self._run.end(error)

    def shut_down(self) -> None:
        """End the answer with `shutting_down`, because its server stops."""
        self._run.end(ChatError("shutting_down", retry_after_s=1))

    def close(self) -> None:
        """Close the upstream, call the observers with the report, and write the line of the log.

        If the client has taken Done, the upstream's stream is read to its end first, within the rest of the tail.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._client_task = None
        if self._ending != "done":
            self._run.cancel()
        self._timer.set()
        report = self._run.report(self._ending, self._labels)
        for observe in self._observers:  # before the log, because a filter of the host app may raise
            observe(report)
        log_report(report, with_message=self._limits.log_upstream_messages)

    async def wait_closed(self) -> None:
        """Wait until the upstream is closed. `close` or `end` must have been called."""
        await self._run.wait_closed()

    def _deadlines(self, now: float) -> list[Deadline]:
        """Return the times at which a limit of the upstream or of the client may be exceeded."""
        found, state = self._run.deadlines(now), self._run.state
        if not self._is_closed:
            waits = self._queue.consumer_waits
            found.append(((now if waits else self._taken_at) + self._limits.write_timeout_s, self._cancel_client))
            if state is not State.ENDED:
                is_idle = waits and not self._queue and state is not State.WAITING
                found.append(((self._taken_at if is_idle else now) + self._limits.keep_alive_s, self._ping))
            if state is State.WAITING and self._status_due_at is not None:
                found.append((self._status_due_at, self._ping))
        return found

    def _ping(self) -> None:
        if self._run.state is not State.ENDED:  # a limit of the upstream may have been exceeded at the same time
            self._run.open()
            self._queue.add([Ping()])

    def _cancel_client(self) -> None:
        client_task = self._client_task
        self._ending = "client_stalled"
        self.close()
        if client_task is not None:
            client_task.cancel()
