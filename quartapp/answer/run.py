"""The upstream's side of an answer: one task reads the model's events into a queue, within the upstream's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from enum import Enum, auto
from typing import Any

from msgspec.structs import replace

from quartapp.answer.deadlines import Clock, Deadline, DeadlineTimer
from quartapp.answer.limits import Limits
from quartapp.answer.queue import EventQueue
from quartapp.answer.report import AnswerReport, FailedAttempts
from quartapp.core.errors import ChatError
from quartapp.core.events import Attempt, Batch, Batches, Done, Failed, Start, Usage, add_usage

#: Seconds for usage and the end of the stream after the finish reason. A drop within them leaves the answer complete.
TAIL_S = 2.0


class State(Enum):
    """The state of a run."""

    WAITING = auto()  # no event is queued, so the client can still get another status than 200
    OPEN = auto()  # Start is queued
    TAIL = auto()  # the finish reason is known; usage may follow
    ENDED = auto()  # Done or Failed is queued, or the run is cancelled


class Run:
    """One answer's stream from its upstream. The queue gets Start, the model's events, and Done or Failed at the end.

    `start` starts the pump, the task that reads the upstream. Cancelling the pump closes the upstream. After Done, the
    pump reads the rest of the stream for up to TAIL_S, because a complete response keeps its connection usable.
    """

    def __init__(
        self,
        source: Callable[[], Batches],
        *,
        id: str,
        model: str,
        limits: Limits,
        clock: Clock,
        queue: EventQueue,
        timer: DeadlineTimer,
    ) -> None:
        self.id = id
        self.state = State.WAITING
        self.started_at = clock.time()
        self.error: ChatError | None = None
        self.is_refused = False

        self._source = source
        self._model = model
        self._limits = limits
        self._clock = clock
        self._queue = queue
        self._timer = timer
        self._pump_task: asyncio.Task[None] | None = None

        self._read_at = self.started_at
        self._silence_s: float | None = None
        self._first_event_at: float | None = None
        self._tail_until: float | None = None
        self._upstream_bytes = 0
        self._finish_reason: str | None = None
        self._withdrawn_reason: str | None = None
        self._usage_of_steps: list[Usage | None] = [None]
        self._extra: dict[str, Any] | None = None

        self._current_model: str | None = model
        self._failed_attempts = FailedAttempts()
        self._own_failure: ChatError | None = None

    def start(self) -> None:
        """Start to read the upstream."""
        self._pump_task = asyncio.get_running_loop().create_task(self._pump())

    def open(self) -> None:
        """Queue Start, unless it has been queued: with the first event, or earlier for a client that needs a status."""
        if self.state is State.WAITING:
            self.state = State.OPEN
            self._queue.add([Start(self.id, self._model)])

    def end(self, error: ChatError) -> None:
        """End the answer, unless it has ended: with Done if its finish reason is known, otherwise with `error`.

        If no event has been queued before, `is_refused` becomes true: the client can still get the error's status.
        """
        if self.state is State.ENDED:
            return
        self._stop_pump()
        if self._finish_reason is not None:
            self._complete(self._finish_reason)
        else:
            self.error, self.is_refused = error, self.state is State.WAITING
            self.state = State.ENDED
            self._queue.add([Failed(error.code, error.message, self.id, error.retry_after_s)])

    def cancel(self) -> None:
        """Close the upstream. No event is queued any more."""
        self.state = State.ENDED
        self._tail_until = None
        self._stop_pump()

    async def wait_closed(self) -> None:
        """Wait until the upstream is closed. `end` or `cancel` must have been called."""
        if self._pump_task is not None:
            await asyncio.wait([self._pump_task])

    def report(self, ending: str, labels: Mapping[str, Any]) -> AnswerReport:
        """Return the report of the run so far."""
        first = self._first_event_at
        return AnswerReport(
            id=self.id,
            model=self._model,
            labels=labels,
            ending=ending,
            total_s=self._clock.time() - self.started_at,
            upstream_bytes=self._upstream_bytes,
            first_event_s=None if first is None else first - self.started_at,
            answered_by=None if first is None else self._current_model,
            finish_reason=self._finish_reason,
            usage=add_usage(self._usage_of_steps),
            steps=len(self._usage_of_steps),
            error=self.error,
            failed_attempts=tuple(self._failed_attempts.entries),
        )

    def deadlines(self, now: float) -> list[Deadline]:
        """Return the times at which a limit of the upstream may be exceeded.

        A limit that is not counting yet counts from `now`, because it cannot be exceeded earlier. So a token never
        has to set the timer. The timer fires a few times an answer.
        """
        found: list[Deadline] = []
        if self._tail_until is not None:
            found.append((self._tail_until, self._end_tail))
        if self.state is not State.ENDED:
            limits, started_at = self._limits, self.started_at
            found.append((started_at + limits.answer_timeout_s, lambda: self.end(ChatError("deadline_exceeded"))))
            has_begun = self._first_event_at is not None or self._silence_s is not None
            if not has_begun:
                found.append((started_at + limits.first_event_timeout_s, self._time_out))
            is_idle = has_begun and not self._queue.producer_waits
            silence_s = limits.idle_timeout_s if self._silence_s is None else self._silence_s
            found.append(((self._read_at if is_idle else now) + silence_s, self._time_out))
        return found

    async def _pump(self) -> None:
        try:
            async with aclosing(self._source()) as batches:
                async for batch in batches:
                    self._take(batch)
                    if self._queue.is_full:
                        await self._queue.wait_for_room()
                        self._read_at = self._clock.time()
            self._conclude()
        except ChatError as error:
            self.end(error)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - any exception of a model, SystemExit too, ends its answer alone
            failure = ChatError("internal_error")
            failure.__cause__ = error
            self.end(failure)
        finally:
            self.end(ChatError("internal_error"))  # for a model that raises CancelledError by itself
            self._tail_until = None
            self._timer.set()

    def _take(self, batch: Batch) -> None:
        self._read_at = self._clock.time()
        if self.state is State.ENDED:
            return
        self._upstream_bytes += batch.size
        self._take_step(batch)
        self._extra = self._extra if batch.extra is None else batch.extra
        if batch.attempt is not None:
            self._take_attempt(batch.attempt)
        if self._upstream_bytes > self._limits.max_answer_bytes:
            raise ChatError("upstream_error")
        if batch.resumes:
            self._withdraw()
        self._take_pieces(batch)
        if batch.finish_reason is not None:
            self._finish(batch.finish_reason)
        if batch.ended:
            self._conclude()

    def _take_step(self, batch: Batch) -> None:
        """Take the fields of a batch that belong to one call of the model: its usage, and its limit of silence."""
        if batch.begins_step:
            self._usage_of_steps.append(None)
        if batch.usage is not None:
            self._usage_of_steps[-1] = batch.usage
        if batch.silence_s != self._silence_s:
            self._silence_s = batch.silence_s
            self._timer.set()

    def _take_pieces(self, batch: Batch) -> None:
        """Queue the events. Held ones open no answer, because the filter can still refuse it with a status."""
        if self._first_event_at is None and (batch.pieces or batch.is_held):
            self._take_first_event()
        if batch.pieces:
            self._own_failure = None
            self.open()
            self._queue.add(batch.pieces, batch.size)

    def _take_attempt(self, attempt: Attempt) -> None:
        self._current_model = attempt.next
        self._failed_attempts.add(attempt, with_message=self._limits.log_upstream_messages)
        if attempt.model == self._model:
            self._own_failure = attempt.error
        if attempt.timeouts:
            self._limits = replace(self._limits, **attempt.timeouts)
            self._timer.set()

    def _take_first_event(self) -> None:
        self._first_event_at = self._read_at
        self._own_failure = None

    def _finish(self, reason: str) -> None:
        if self.state is not State.TAIL:
            if self._first_event_at is None:
                self._take_first_event()
            self.open()
            self.state = State.TAIL
            self._tail_until = self._read_at + TAIL_S
            self._timer.set()
        self._finish_reason = reason

    def _withdraw(self) -> None:
        """Withdraw the finish reason, because text has followed it. Otherwise a limit could end a part with Done."""
        if self.state is State.TAIL:
            self.state = State.OPEN
            self._withdrawn_reason, self._finish_reason = self._finish_reason, None
            self._tail_until = None

    def _conclude(self) -> None:
        """End the answer because the upstream has ended. A withdrawn finish reason is valid after all."""
        if self.state is State.OPEN and self._withdrawn_reason is not None:
            self._finish(self._withdrawn_reason)
        if self._finish_reason is None:
            self.end(ChatError("upstream_truncated"))
        elif self.state is not State.ENDED:
            self._complete(self._finish_reason)

    def _complete(self, finish_reason: str) -> None:
        self.state = State.ENDED
        self._queue.add([Done(finish_reason, add_usage(self._usage_of_steps), self._extra or None)])

    def _stop_pump(self) -> None:
        if self._pump_task is not None and self._pump_task is not asyncio.current_task():
            self._pump_task.cancel()

    def _time_out(self) -> None:
        """End the answer with the failure of the requested model, if it has failed, because it was not silent then."""
        self.end(self._own_failure or ChatError("upstream_timeout"))

    def _end_tail(self) -> None:
        self._tail_until = None
        self._conclude()
        self._stop_pump()
