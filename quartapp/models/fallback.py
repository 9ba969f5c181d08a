"""Asking again, and asking others: what is done where a model fails before its first event.

After that a failure is the answer's own: a second answer would be paid for twice, and would not go on where the first
one stopped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType

import msgspec

from quartapp.answer.deadlines import Clock
from quartapp.core.errors import ChatError
from quartapp.core.events import Attempt, Batch, Batches, Usage
from quartapp.protocols.common.messages import ChatRequest
from quartapp.upstreams.kinds import UpstreamModel

#: What may be over in a moment, or may not befall another server. Any other error is about the request, or about how
#: the model was set up, which an answer of another model would only hide.
TRANSIENT = frozenset(
    {"upstream_error", "upstream_busy", "upstream_overloaded", "upstream_timeout", "upstream_truncated"}
)

#: Errors worth a fallback: those, and an account without credit, because the fallback may have another account.
LEADS_ON = TRANSIENT | {"upstream_unpaid"}

FIRST_WAIT_S = 0.25


class Candidate(msgspec.Struct, frozen=True):
    """A model that may be asked, and again `retries` times; each time it has so long, connecting included.

    `timeouts` are those of the limits (limits.Limits) that are its own.
    """

    name: str
    model: UpstreamModel
    retries: int = 0
    first_event_timeout_s: float | None = None
    timeouts: Mapping[str, float] = {}


class FallbackModel:
    """A model that is asked again when it fails, and then its stand-ins, until an answer begins.

    The first of `candidates` is the model that was asked for, the others stand in for it, in their order. No wait is
    longer than `max_wait_s`. Time is that of `clock`, or else of the running loop; `jitter` gives numbers in [0, 1).
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        max_wait_s: float,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._candidates = candidates
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._jitter = jitter

    async def stream(self, request: ChatRequest, /) -> Batches:
        """The first answer that begins, after a batch for each attempt that failed.

        An attempt is closed before the next begins, and with the generator; one that does not let itself be cancelled
        is waited for. Raises the last ChatError of the model that was asked for if none begins, and whatever an answer
        fails with once it has begun.
        """
        clock = self._clock or asyncio.get_running_loop()
        turns = _Turns(self._candidates, self._max_wait_s, self._jitter)
        while not turns.are_over:
            model, opening = turns.candidate.model, _Opening(turns.candidate, clock)
            try:
                model.check(request)
                async with aclosing(model.stream(request)) as batches:
                    while not opening.is_over:
                        yield await opening.read(batches)
                    turns.errors.clear()  # they hold all that failed, and an answer may last long
                    async for batch in batches:
                        yield batch
                return
            except ChatError as error:
                if opening.is_over:
                    raise
                yield Batch(0, attempt=turns.failed(error))
            await _sleep(turns.wait_s, clock)
        raise turns.errors.pop()


class _Turns:
    """Who is asked after whom: one model as often as it may be, then the next.

    It is the turn of `candidate`, after a wait of `wait_s`, until they `are_over`; then the last of `errors` is told.
    """

    def __init__(self, candidates: Sequence[Candidate], max_wait_s: float, jitter: Callable[[], float]) -> None:
        self._asked, *self._stand_ins = candidates
        self._max_wait_s = max_wait_s
        self._jitter = jitter
        self._retried = 0
        self.candidate = self._asked
        self.wait_s = 0.0
        self.are_over = False
        self.errors: list[ChatError] = []

    def failed(self, error: ChatError) -> Attempt:
        """Goes on to the next turn, now that this one has failed with `error`."""
        failed, self.wait_s = self.candidate, self._wait_s(error)
        if failed is self._asked:
            self.errors[:] = [error]
        if self._retried < failed.retries and error.code in TRANSIENT and self.wait_s <= self._max_wait_s:
            self._retried += 1
            return Attempt(failed.name, error, failed.name)
        self._retried, self.wait_s = 0, 0.0
        if not self._stand_ins or (failed is self._asked and error.code not in LEADS_ON):
            self.are_over = True
            return Attempt(failed.name, error, None)
        self.candidate = self._stand_ins.pop(0)
        return Attempt(failed.name, error, self.candidate.name, self.candidate.timeouts)

    def _wait_s(self, error: ChatError) -> float:
        """As long as the server asked for, or twice as long each time; up to half of that by chance.

        Half of it always passes: most models are asked again once, and at once that would be in vain. The rest keeps
        answers that failed together from coming back together.
        """
        if error.retry_after_s is not None:
            return float(error.retry_after_s)
        most_s = min(FIRST_WAIT_S * 2.0**self._retried, self._max_wait_s)
        return most_s * (1 + self._jitter()) / 2


class _Opening:
    """One attempt up to its first event."""

    def __init__(self, candidate: Candidate, clock: Clock) -> None:
        self._clock = clock
        timeout_s = candidate.first_event_timeout_s
        self._ends_at = None if timeout_s is None else clock.time() + timeout_s
        self._usage: Usage | None = None
        self.is_over = False

    async def read(self, batches: Batches) -> Batch:
        """The next batch. Of one without an event only the size is left: what else it says counts once there is one.

        Raises ChatError: upstream_timeout, upstream_truncated, and whatever the attempt fails with.
        """
        batch = await self._next(batches)
        self.is_over = bool(batch.pieces) or batch.finish_reason is not None
        if batch.ended and not self.is_over:
            raise ChatError("upstream_truncated")
        self._usage = batch.usage or self._usage
        if not self.is_over:
            return Batch(batch.size)
        batch.usage = self._usage
        return batch

    async def _next(self, batches: Batches) -> Batch:
        try:
            if self._ends_at is None:
                return await anext(batches)
            with _Timeout(self._ends_at, self._clock):
                return await anext(batches)
        except StopAsyncIteration:
            raise ChatError("upstream_truncated") from None


class _Timeout:
    """Cancels what is awaited inside when it is `ends_at` on `clock`; that raises ChatError: upstream_timeout.

    As `asyncio.timeout` does it, which knows the loop's own time alone. Not to be held across a `yield`: the task would
    be cancelled in somebody else's code.
    """

    def __init__(self, ends_at: float, clock: Clock) -> None:
        self._ends_at = ends_at
        self._clock = clock
        self._has_expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("no task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = self._clock.call_at(self._ends_at, self._expire)

    def __exit__(self, kind: object, error: BaseException | None, where: TracebackType | None) -> None:
        self._timer.cancel()
        is_ours_alone = self._has_expired and self._task.uncancel() <= self._cancelling
        if is_ours_alone and isinstance(error, asyncio.CancelledError | Exception):
            raise ChatError("upstream_timeout") from None

    def _expire(self) -> None:
        if self._task.cancelling() == self._cancelling:  # else it is ending already, and not to be disturbed in that
            self._has_expired = True
            self._task.cancel()


async def _sleep(seconds: float, clock: Clock) -> None:
    if seconds <= 0:
        return
    woken = asyncio.Event()
    timer = clock.call_at(clock.time() + seconds, woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()
