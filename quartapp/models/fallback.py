"""Retries and fallbacks of a model that fails before its first event.

A failure after its first event ends the answer. A second answer would be billed again, and would not continue the first
one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from types import TracebackType

import msgspec

from quartapp.answer.deadlines import Clock
from quartapp.core.errors import ChatError
from quartapp.core.events import Attempt, Batch, Batches, Usage
from quartapp.core.request import ChatRequest
from quartapp.upstreams.model import OpenStream, UpstreamModel
from quartapp.upstreams.rerouting import has_retries

log = logging.getLogger("quartapp.models")

#: Errors worth a retry or a fallback: transient, or specific to one server. Any other error comes from the request or
#: the setup of the model. The answer of a fallback would hide it. An exception of a model in Python is worth both too.
TRANSIENT = frozenset(
    {"upstream_error", "upstream_busy", "upstream_overloaded", "upstream_timeout", "upstream_truncated"}
)

#: Errors worth a fallback. An unpaid account is among them, because the fallback may have another account.
FALLBACK_CODES = TRANSIENT | {"upstream_unpaid"}

FIRST_WAIT_S = 0.25


class Candidate(msgspec.Struct, frozen=True):
    """A model with its `retries`, and its time limit for the first event of each attempt, connecting included.

    `timeouts` are its own values of limits, by the names in `limits.Limits`.
    """

    name: str
    model: UpstreamModel
    retries: int = 0
    first_event_timeout_s: float | None = None
    timeouts: Mapping[str, float] = {}


class FallbackModel:
    """A model with retries and fallbacks, tried in order until an answer begins.

    The first of `candidates` is the requested model, and the rest are its fallbacks. No wait before a retry is longer
    than `max_wait_s` seconds. `clock` is the running event loop by default. `jitter` returns numbers in [0, 1).
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

    def build(self, request: ChatRequest, /) -> OpenStream:
        """Build the request of the requested model. Raises the ChatError with which it refuses the request.

        A fallback builds its own request when its turn comes. If it refuses the request, that attempt has failed.
        """
        return partial(self._stream, request, self._candidates[0].model.build(request))

    async def _stream(self, request: ChatRequest, open_stream: OpenStream) -> Batches:
        """Yield an empty batch for each failed attempt, then the batches of the first answer that begins.

        Each attempt is closed before the next one starts, and when the generator is closed. If an attempt ignores its
        cancellation, it is awaited.

        If no answer begins, raises the last ChatError of the requested model. Once an answer has begun, its errors are
        raised unchanged.
        """
        clock = self._clock or asyncio.get_running_loop()
        turns = _AttemptPlan(self._candidates, self._max_wait_s, self._jitter)
        candidate = turns.candidate
        while not turns.are_over:
            opening = _Opening(turns.candidate, clock)
            try:
                if candidate is not turns.candidate:
                    candidate = turns.candidate
                    open_stream = candidate.model.build(request)
                async with aclosing(open_stream()) as batches:
                    while not opening.is_over:
                        yield await opening.read(batches)
                    turns.errors.clear()  # their tracebacks hold the failed attempts in memory
                    async for batch in batches:
                        yield batch
                return
            except ChatError as error:
                if opening.is_over:
                    raise
                yield Batch(0, attempt=turns.failed(error))
                if error.is_hosts and not turns.are_over:
                    log.warning("the model %s has failed, and another attempt follows", candidate.name, exc_info=error)
            await _sleep(turns.wait_s, clock)
        raise turns.errors.pop()


class _AttemptPlan:
    """The order of attempts: a model and its retries, then the next fallback.

    `candidate` is tried next, after a wait of `wait_s` seconds. If `are_over`, the last of `errors` is raised.
    """

    def __init__(self, candidates: Sequence[Candidate], max_wait_s: float, jitter: Callable[[], float]) -> None:
        self._primary, *self._fallbacks = candidates
        self._max_wait_s = max_wait_s
        self._jitter = jitter
        self._retried = 0
        self.candidate = self._primary
        self.wait_s = 0.0
        self.are_over = False
        self.errors: list[ChatError] = []

    def failed(self, error: ChatError) -> Attempt:
        """Move to the next attempt, after this one has failed with `error`."""
        failed, self.wait_s = self.candidate, self._wait_s(error)
        if failed is self._primary:
            self.errors[:] = [error]
        is_transient = error.code in TRANSIENT or error.is_hosts
        retries = failed.retries if error.is_hosts or has_retries() else 0
        if self._retried < retries and is_transient and self.wait_s <= self._max_wait_s:
            self._retried += 1
            return Attempt(failed.name, error, failed.name)
        self._retried, self.wait_s = 0, 0.0
        is_worth_a_fallback = is_transient or error.code in FALLBACK_CODES
        if not self._fallbacks or (failed is self._primary and not is_worth_a_fallback):
            self.are_over = True
            return Attempt(failed.name, error, None)
        self.candidate = self._fallbacks.pop(0)
        return Attempt(failed.name, error, self.candidate.name, self.candidate.timeouts)

    def _wait_s(self, error: ChatError) -> float:
        """Return the wait before a retry: the server's own, or one that doubles with each retry.

        Between half of it and all of it is used. At least half, because a retry at once would fail again. A random
        part, because answers that failed together would otherwise be retried together.
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
        """Return the next batch. Only its size is kept if it has no event; its usage waits for the first one.

        Raises ChatError: upstream_timeout, upstream_truncated, or the error of the attempt.
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
    """A context manager that cancels its body at `ends_at` on `clock` and raises ChatError, upstream_timeout.

    It works as `asyncio.timeout`, which takes only the loop's own clock. It must not be held across a `yield`, because
    the cancellation would reach the code that uses the generator.
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
        if self._task.cancelling() == self._cancelling:  # otherwise another cancellation is under way
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
