"""One answer, from its first event to its end, and the one owner of all it holds.

One task pumps the upstream into a bounded mailbox; the reader takes out of it whatever has come in the meantime; one
timer serves every limit and the keep-alive. Cancelling the pump closes the upstream, and every way out ends in `close`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

import msgspec

from quartapp.errors import ChatError, describe
from quartapp.events import Batch, Batches, Done, Event, Failed, Ping, Start, Usage

log = logging.getLogger("quartapp.answer")

# After the finish_reason, usage and the end are waited for so long; a drop within is still a whole answer.
TAIL_S = 2.0


class Limits(msgspec.Struct, frozen=True):
    """The bounds of one answer; the settings of the same names say more."""

    first_event_timeout_s: float
    idle_timeout_s: float
    answer_timeout_s: float
    write_timeout_s: float
    keep_alive_s: float
    max_buffered_bytes: int
    max_answer_bytes: int
    log_upstream_messages: bool = False


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """What an answer needs of time; an event loop is one, a test passes its own."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer: ...


class Answer:
    """An async iterator of event lists, one list per wake-up of the reader; the last event is Done or Failed.

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
        self._id = id
        self._model = model
        self._limits = limits
        self._clock: Clock = clock or asyncio.get_running_loop()
        self._labels = labels or {}
        self._on_close = on_close

        self._mailbox: list[Event] = []
        self._mailbox_bytes = 0
        self._read_bytes = 0
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._end: Done | Failed | None = None
        self._error: ChatError | None = None
        self._ending = "reader_left"
        self._begun = self._closed = False

        self._started = self._read_at = self._handed_at = self._clock.time()
        self._gate_at: float | None = None
        self._first_event_at: float | None = None
        self._finished_at: float | None = None
        self._timer: Timer | None = None

        self._reader_waits: asyncio.Future[None] | None = None
        self._pump_waits: asyncio.Future[None] | None = None
        self._pump_task: asyncio.Task[None] | None = None
        self._reader_task = asyncio.current_task()
        if self._reader_task is not None:
            self._reader_task.add_done_callback(self._reader_ended)

    # -- the reader's side

    async def begin(self, gate_s: float | None = None) -> None:
        """Waits for the model's first event, or for `gate_s` (None: as long as the limits allow).

        Raises the ChatError the answer failed with before that; no byte has been promised to anyone then.
        """
        self._gate_at = None if gate_s is None else self._started + gate_s
        self._pump_task = asyncio.get_running_loop().create_task(self._pump())
        self._arm()
        while not self._mailbox:
            await self._wait_for_event()
        if self._error is not None and self._first_event_at is None:
            self._ending = self._error.code
            self.close()
            raise self._error
        self._mailbox.insert(0, Start(self._id, self._model))
        self._handed_at = self._clock.time()
        self._begun = True

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> list[Event]:
        while not self._mailbox:
            if self._end is not None or self._closed:
                raise StopAsyncIteration
            await self._wait_for_event()
        events, self._mailbox = self._mailbox, []
        self._mailbox_bytes = 0
        _wake(self._pump_waits)
        self._handed_at = self._clock.time()
        if events[-1] is self._end:
            self._ending = self._error.code if self._error else "done"
        return events

    def fail(self, error: ChatError) -> None:
        """Ends the answer as not whole, unless it has ended; the reader is told with the next events it takes."""
        if self._end is None:
            self._error = error
            self._stop_pump()
            self._conclude(Failed(error.code, error.message, self._id, error.retry_after_s))

    def close(self) -> None:
        """Lets go of everything: the upstream is closed, its slot is free, the answer's line is logged."""
        if self._closed:
            return
        self._closed = True
        if self._reader_task is not None:
            self._reader_task.remove_done_callback(self._reader_ended)
            self._reader_task = None
        if self._ending == "done" and not self._pump_has_ended():
            self._arm()  # the rest of the tail: an upstream read to its end can be asked again on the same connection
        else:
            self._stop_pump()
            self._stop_timer()
        self._log()
        self._on_close(self)

    async def wait_closed(self) -> None:
        """Waits until the upstream is closed too; `close` or `fail` comes first."""
        if self._pump_task is not None:
            await asyncio.wait([self._pump_task])

    async def _wait_for_event(self) -> None:
        self._reader_waits = asyncio.get_running_loop().create_future()
        try:
            await self._reader_waits
        finally:
            self._reader_waits = None

    def _reader_ended(self, _: object) -> None:
        self.close()

    # -- the pump: from the upstream to the mailbox

    async def _pump(self) -> None:
        try:
            async with aclosing(self._source()) as batches:
                async for batch in batches:
                    await self._take(batch)
            self._upstream_ended(ChatError("upstream_truncated"))
        except ChatError as error:
            self._upstream_ended(error)
        except Exception as error:  # noqa: BLE001 - whatever a model raises ends its answer, and nothing else
            failure = ChatError("internal_error")
            failure.__cause__ = error
            self._upstream_ended(failure)
        finally:
            if self._closed:
                self._stop_timer()

    async def _take(self, batch: Batch) -> None:
        self._read_at = self._clock.time()
        self._read_bytes += batch.size
        if self._read_bytes > self._limits.max_answer_bytes:
            raise ChatError("upstream_error")
        if self._end is not None:
            return  # only read on to the end
        if batch.usage is not None:
            self._usage = batch.usage
        if batch.pieces:
            if self._first_event_at is None:
                self._first_event_at = self._read_at
            self._mailbox += batch.pieces
        if batch.finish_reason is not None:
            self._finish(batch.finish_reason)
        if batch.ended:
            self._upstream_ended(ChatError("upstream_truncated"))
        if self._mailbox:
            _wake(self._reader_waits)
            await self._wait_for_room(batch.size)

    async def _wait_for_room(self, size: int) -> None:
        self._mailbox_bytes += size
        while self._mailbox_bytes > self._limits.max_buffered_bytes and self._end is None:
            self._pump_waits = asyncio.get_running_loop().create_future()
            try:
                await self._pump_waits
            finally:
                self._pump_waits = None
            self._read_at = self._clock.time()

    def _finish(self, reason: str) -> None:
        self._finish_reason = reason
        if self._finished_at is None:
            self._finished_at = self._read_at
            self._first_event_at = self._first_event_at or self._read_at
            self._arm()

    def _upstream_ended(self, error: ChatError) -> None:
        """The upstream has nothing more to say: the answer is whole if its finish_reason came, and failed if not."""
        if self._finish_reason is None:
            self.fail(error)
        elif self._end is None:
            self._conclude(Done(self._finish_reason, self._usage))

    def _conclude(self, end: Done | Failed) -> None:
        self._end = end
        self._mailbox.append(end)
        _wake(self._reader_waits)

    def _pump_has_ended(self) -> bool:
        return self._pump_task is None or self._pump_task.done()

    def _stop_pump(self) -> None:
        if self._pump_task is not None and self._pump_task is not asyncio.current_task():
            self._pump_task.cancel()

    # -- the timer

    def _arm(self) -> None:
        self._stop_timer()
        now = self._clock.time()
        when = min((when for when, _ in self._deadlines(now)), default=None)
        if when is not None:
            self._timer = self._clock.call_at(when, self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now = self._clock.time()
        for when, act in list(self._deadlines(now)):
            if when <= now:
                act()
        self._arm()

    def _deadlines(self, now: float) -> Iterator[tuple[float, Callable[[], None]]]:
        """When which limit may fall due.

        One that is not running counts from now: it cannot fall due earlier, however soon it starts. So nothing that
        a token does has to touch the timer, which wakes up a few times an answer.
        """
        limits, reader_waits = self._limits, self._reader_waits is not None
        if not self._closed:
            yield (now if reader_waits else self._handed_at) + limits.write_timeout_s, self._give_up_reader
        if self._end is None and not self._closed:
            yield self._started + limits.answer_timeout_s, partial(self._time_out, "deadline_exceeded")
            yield self._silent_until(now), partial(self._time_out, "upstream_timeout")
            if self._begun:
                yield (self._handed_at if reader_waits else now) + limits.keep_alive_s, self._ping
            elif self._gate_at is not None and not self._mailbox:
                yield self._gate_at, self._ping
        if self._finished_at is not None and not self._pump_has_ended():
            yield self._finished_at + TAIL_S, self._end_tail

    def _silent_until(self, now: float) -> float:
        if self._first_event_at is None:
            return self._started + self._limits.first_event_timeout_s
        return (now if self._pump_waits is not None else self._read_at) + self._limits.idle_timeout_s

    def _time_out(self, code: str) -> None:
        self.fail(ChatError(code))

    def _ping(self) -> None:
        self._mailbox.append(Ping())
        _wake(self._reader_waits)

    def _end_tail(self) -> None:
        self._upstream_ended(ChatError("upstream_truncated"))
        self._stop_pump()

    def _give_up_reader(self) -> None:
        reader = self._reader_task
        self._ending = "reader_stalled"
        self.close()
        if reader is not None:
            reader.cancel()

    # -- the answer's line in the log

    def _log(self) -> None:
        line: dict[str, Any] = {"id": self._id, **self._labels, "model": self._model, "ending": self._ending}
        if self._finish_reason is not None:
            line["finish_reason"] = self._finish_reason
        if self._usage is not None:
            line |= {"input_tokens": self._usage.input_tokens, "output_tokens": self._usage.output_tokens}
        if self._first_event_at is not None:
            line["first_event_ms"] = round((self._first_event_at - self._started) * 1000)
        line |= {"total_ms": round((self._clock.time() - self._started) * 1000), "upstream_bytes": self._read_bytes}
        if self._error is not None:
            line |= describe(self._error, with_message=self._limits.log_upstream_messages)
        level = logging.INFO if self._ending in ("done", "reader_left") else logging.WARNING
        log.log(level, "answer %s", json.dumps(line), extra={"answer": line})


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
