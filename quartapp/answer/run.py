"""One answer, from its first event to its end, and the one owner of all it holds.

One task pumps the upstream into a bounded queue; the reader takes out of it whatever has come in the meantime; one
timer serves every limit and the keep-alive. Cancelling the pump closes the upstream, and every way out ends in `close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from msgspec.structs import replace

from quartapp.answer.deadlines import Clock, Deadline, DeadlineTimer
from quartapp.answer.limits import Limits
from quartapp.answer.queue import EventQueue
from quartapp.answer.report import Outcome
from quartapp.core.errors import ChatError
from quartapp.core.events import Attempt, Batch, Batches, Done, Event, Failed, Ping, Start

# After the finish_reason, usage and the end are waited for so long; a drop within is still a whole answer.
TAIL_S = 2.0


class Answer:
    """An async iterator of event lists, one list a wake-up of its reader; the last event is Done or Failed.

    `begin` starts it. `close` ends it from any state, any number of times, without waiting. The task that makes the
    answer is taken for its reader: when that task ends, however it does, the answer is closed, and if it takes
    nothing for `write_timeout_s` it is cancelled.
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
        on_close: Callable[[Answer], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._limits = limits
        self._clock: Clock = clock or asyncio.get_running_loop()
        self._on_close = on_close

        now = self._clock.time()
        self._read_at = self._handed_at = now
        self._gate_at: float | None = None
        self._tail_until: float | None = None

        self._outcome = Outcome(id, model, labels or {}, now, with_message=limits.log_upstream_messages)
        self._queue = EventQueue(limits.max_buffered_bytes)
        self._timer = DeadlineTimer(self._clock, self._deadlines)
        self._failed_attempt: ChatError | None = None
        self._taken_back: str | None = None
        self._end: Done | Failed | None = None
        self._opened = self._closed = False

        self._pump_task: asyncio.Task[None] | None = None
        self._reader_task = asyncio.current_task()
        if self._reader_task is not None:
            self._reader_task.add_done_callback(lambda _: self.close())

    # -- the reader's side

    async def begin(self, status_timeout_s: float | None = None) -> None:
        """Waits for the model's first event, or for `status_timeout_s` (None: as long as the limits allow).

        Raises the ChatError the answer failed with before that; no byte has been promised to anyone then.
        """
        self._gate_at = None if status_timeout_s is None else self._outcome.started + status_timeout_s
        self._pump_task = asyncio.get_running_loop().create_task(self._pump())
        self._timer.set()
        await self._queue.wait_for_event()
        if self._outcome.error is not None and not self._opened:
            self._outcome.ending = self._outcome.error.code
            self.close()
            raise self._outcome.error
        self._handed_at = self._clock.time()

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> list[Event]:
        if not self._queue:
            if self._end is not None or self._closed:
                raise StopAsyncIteration
            await self._queue.wait_for_event()
        events = self._queue.take()
        self._handed_at = self._clock.time()
        if events[-1] is self._end:
            self._outcome.ending = self._outcome.error.code if self._outcome.error else "done"
        return events

    @property
    def error(self) -> ChatError | None:
        """What the answer failed with."""
        return self._outcome.error

    def fail(self, error: ChatError) -> None:
        """Ends the answer, unless it has ended: with `error`, or as whole if its finish_reason has come before that.

        The reader is told with the next events it takes.
        """
        if self._end is not None:
            return
        self._stop_pump()
        if self._outcome.finish_reason is not None:
            self._end = Done(self._outcome.finish_reason, self._outcome.usage, self._outcome.extra)
        else:
            self._outcome.error = error
            self._end = Failed(error.code, error.message, self._outcome.id, error.retry_after_s)
        self._queue.add([self._end])

    def shut_down(self) -> None:
        """Ends the answer as its server stops: `fail` with `shutting_down`."""
        self.fail(ChatError("shutting_down", retry_after_s=1))

    def close(self) -> None:
        """Lets go of everything: the upstream is closed, the place among the open answers is free, the line logged."""
        if self._closed:
            return
        self._closed = True
        self._reader_task = None
        if self._outcome.ending == "done" and not self._pump_has_ended():
            self._timer.set()  # for the rest of the tail: an upstream read to its end keeps its connection
        else:
            self._stop_pump()
            self._timer.stop()
        self._on_close(self)
        self._outcome.log(self._clock.time())

    async def wait_closed(self) -> None:
        """Waits until the upstream is closed too; `close` or `fail` comes first."""
        if self._pump_task is not None:
            await asyncio.wait([self._pump_task])

    # -- the pump: from the upstream to the queue

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
            self.fail(error)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a model raises, SystemExit too, ends its answer alone
            failure = ChatError("internal_error")
            failure.__cause__ = error
            self.fail(failure)
        finally:
            if self._closed:
                self._timer.stop()
            else:  # a model that cancels itself leaves nothing behind it, unless the answer has ended already
                self.fail(ChatError("internal_error"))

    def _take(self, batch: Batch) -> None:
        self._read_at = self._clock.time()
        if self._end is not None:
            return  # only read on to the end
        self._outcome.add(batch)
        if batch.attempt is not None:
            self._go_on_after(batch.attempt)
        if self._outcome.upstream_bytes > self._limits.max_answer_bytes:
            raise ChatError("upstream_error")
        if batch.resumes:
            self._take_back()
        if batch.pieces:
            self._open(self._read_at)
            self._queue.add(batch.pieces, batch.size)
        if batch.finish_reason is not None:
            self._finish(batch.finish_reason)
        if batch.ended:
            self._conclude()

    def _go_on_after(self, attempt: Attempt) -> None:
        if attempt.timeouts:
            self._limits = replace(self._limits, **attempt.timeouts)
            self._timer.set()
        if attempt.model == self._outcome.model:
            self._failed_attempt = attempt.error

    def _open(self, first_event_at: float | None) -> None:
        """The answer opens for its reader with the model's first event, or without one once the gate has passed."""
        if self._outcome.first_event_at is None:
            self._outcome.first_event_at = first_event_at
        if first_event_at is not None:
            self._failed_attempt = None
        if not self._opened:
            self._opened = True
            self._queue.add([Start(self._outcome.id, self._outcome.model)])

    def _finish(self, reason: str) -> None:
        if self._outcome.finish_reason is None:
            self._open(self._read_at)
            self._tail_until = self._read_at + TAIL_S
            self._timer.set()
        self._outcome.finish_reason = reason

    def _take_back(self) -> None:
        """Text has come after the finish_reason: there may be more, and no limit may pass off a part as the whole."""
        if self._outcome.finish_reason is not None:
            self._taken_back, self._outcome.finish_reason = self._outcome.finish_reason, None
            self._tail_until = None

    def _conclude(self) -> None:
        """The upstream has nothing more to say: a finish_reason that was taken back was one after all."""
        if self._outcome.finish_reason is None and self._taken_back is not None:
            self._finish(self._taken_back)  # with the limit of the tail
        self.fail(ChatError("upstream_truncated"))

    def _pump_has_ended(self) -> bool:
        return self._pump_task is None or self._pump_task.done()

    def _stop_pump(self) -> None:
        if self._pump_task is not None and self._pump_task is not asyncio.current_task():
            self._pump_task.cancel()

    # -- the limits

    def _deadlines(self, now: float) -> Iterator[Deadline]:
        """When which limit may fall due.

        One that is not running counts from now: it cannot fall due earlier, however soon it starts. So nothing that
        a token does has to touch the timer, which goes off a few times an answer.
        """
        limits, outcome, reader_waits = self._limits, self._outcome, self._queue.consumer_waits
        if not self._closed:
            yield (now if reader_waits else self._handed_at) + limits.write_timeout_s, self._give_up_reader
        if self._end is None and not self._closed:
            is_read = outcome.first_event_at is not None and not self._queue.producer_waits
            yield (self._read_at if is_read else now) + limits.idle_timeout_s, self._time_out
            is_idle = self._opened and reader_waits and not self._queue
            yield (self._handed_at if is_idle else now) + limits.keep_alive_s, self._ping
            yield outcome.started + limits.answer_timeout_s, partial(self.fail, ChatError("deadline_exceeded"))
            if outcome.first_event_at is None:
                yield outcome.started + limits.first_event_timeout_s, self._time_out
            if self._gate_at is not None and not self._opened:
                yield self._gate_at, self._ping
        if self._tail_until is not None and not self._pump_has_ended():
            yield self._tail_until, self._end_tail

    def _time_out(self) -> None:
        """A model that was asked again, or has stand-ins, has not been silent: what it failed with is told."""
        self.fail(self._failed_attempt or ChatError("upstream_timeout"))

    def _ping(self) -> None:
        if self._end is not None:
            return  # it ended at the same turn of the timer
        self._open(None)
        self._queue.add([Ping()])

    def _end_tail(self) -> None:
        self._tail_until = None
        self.fail(ChatError("upstream_truncated"))
        self._stop_pump()

    def _give_up_reader(self) -> None:
        reader = self._reader_task
        self._outcome.ending = "reader_stalled"
        self.close()
        if reader is not None:
            reader.cancel()
