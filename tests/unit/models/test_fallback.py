"""Retries and fallbacks: the models that are called, the waits between them, and the release of failed attempts.

The tests advance the clock."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp import ChatRequest
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.errors import ChatError, Code
from quartapp.core.events import Attempt, Batch, Batches, Delta, Usage
from quartapp.models.fallback import Candidate, FallbackModel
from quartapp.upstreams.model import OpenStream
from tests.support.clock import FakeClock
from tests.support.scheduling import wait_all_tasks_blocked

REQUEST = ChatRequest([{"role": "user", "content": "hello"}])
TRANSIENT = ("upstream_error", "upstream_busy", "upstream_overloaded", "upstream_timeout", "upstream_truncated")
LASTING = tuple(code for code in KINDS if code not in (*TRANSIENT, "upstream_unpaid"))
MAX_WAIT_S = 5.0
TICK_S = 2.0**-20  # times on the clock stay exact

# Steps of a model in addition to a batch and an error.
HANG = object()  # sends nothing until it is cancelled
RETURN_WHEN_CANCELLED = object()
FAIL_WHEN_CANCELLED = object()

ANSWER = [Batch(10, [Delta("hello")]), Batch(1, finish_reason="stop")]
COMMENT = Batch(7)


def busy(retry_after_s: int | None = None, code: Code = "upstream_busy") -> ChatError:
    return ChatError(code, retry_after_s=retry_after_s)


class Scripted:
    """A model that follows its first script in the first call, and so on. `journal` has a word for each opening and
    each closing, in a list that several models may share."""

    def __init__(
        self, name: str, journal: list[str], *scripts: Sequence[Any], refuses: ChatError | None = None
    ) -> None:
        self.name = name
        self.journal = journal
        self.has_answered = asyncio.Event()
        self.built = 0
        self._scripts = list(scripts)
        self._refuses = refuses

    @property
    def calls(self) -> int:
        return self.journal.count(f"{self.name} opened")

    def build(self, request: ChatRequest, /) -> OpenStream:
        assert request is REQUEST
        if self._refuses is not None:
            raise self._refuses
        self.built += 1
        return self.stream

    async def stream(self) -> Batches:
        self.journal.append(f"{self.name} opened")
        try:
            for step in self._scripts.pop(0):
                if isinstance(step, Batch):
                    yield Batch(step.size, step.pieces, step.finish_reason, step.usage, step.ended)
                else:
                    await self._do(step)
        finally:
            self.journal.append(f"{self.name} closed")

    async def _do(self, step: Any) -> None:
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, asyncio.Event):
            await step.wait()
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if step is HANG:
                raise
            if step is FAIL_WHEN_CANCELLED:
                raise ChatError("upstream_refused") from None


class Bench:
    """Models that are fallbacks of each other in order, and the outcome of a request to them."""

    def __init__(self, *, jitter: float = 0.0) -> None:
        self.clock = FakeClock()
        self.journal: list[str] = []
        self.models: list[Scripted] = []
        self.batches: list[Batch] = []
        self._candidates: list[Candidate] = []
        self._jitter = jitter

    def add(
        self,
        *scripts: Sequence[Any],
        retries: int = 0,
        first_event_timeout_s: float | None = None,
        refuses: ChatError | None = None,
    ) -> Scripted:
        name = "abcdefgh"[len(self.models)]
        model = Scripted(name, self.journal, *scripts, refuses=refuses)
        self.models.append(model)
        self._candidates.append(Candidate(name, model, retries, first_event_timeout_s))
        return model

    def stream(self) -> Batches:
        attempts = FallbackModel(self._candidates, max_wait_s=MAX_WAIT_S, clock=self.clock, jitter=lambda: self._jitter)
        return attempts.build(REQUEST)()

    async def read(self) -> list[Batch]:
        """Return all batches, as an answer consumes them."""
        async with aclosing(self.stream()) as batches:
            async for batch in batches:
                self.batches.append(batch)
        return self.batches

    @property
    def attempts(self) -> list[tuple[str, str, str | None]]:
        """Return the failed attempts with their codes and the model that followed each."""
        found = [batch.attempt for batch in self.batches if batch.attempt is not None]
        return [(attempt.model, attempt.error.code, attempt.next) for attempt in found]

    @property
    def calls(self) -> dict[str, int]:
        return {model.name: model.calls for model in self.models}

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await wait_all_tasks_blocked()

    async def run(self, max_timers: int = 100) -> list[Batch]:
        """Return all batches. Advance the clock whenever every task waits for it."""
        reading = asyncio.ensure_future(self.read())
        for _ in range(max_timers):
            await wait_all_tasks_blocked()
            if reading.done():
                break
            self.clock.advance(self.clock.until_next_s)
        assert self.clock.pending == 0
        return reading.result()

    async def ending(self) -> str:
        """Return the outcome: "answers", or the code of the error."""
        try:
            return "answers" if answered(await self.run()) else "says nothing"
        except ChatError as error:
            return error.code

    def assert_all_closed(self) -> None:
        """Assert that each attempt was closed before the next began, and that none is open."""
        names = [word.split()[0] for word in self.journal[::2]]
        assert self.journal == [word for name in names for word in (f"{name} opened", f"{name} closed")]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def answered(batches: list[Batch]) -> bool:
    return [batch.pieces for batch in batches if batch.pieces] == [[Delta("hello")]]


# -- the model that is called


async def test_a_model_that_answers_is_called_once_and_nothing_is_added(bench: Bench) -> None:
    bench.add(ANSWER, retries=3)
    bench.add(ANSWER)
    assert await bench.run() == ANSWER
    assert bench.calls == {"a": 1, "b": 0}
    assert bench.clock.now == 1000


@pytest.mark.parametrize("code", TRANSIENT)
async def test_a_transient_error_is_retried_and_then_goes_to_the_fallbacks_in_order(bench: Bench, code: Code) -> None:
    bench.add([ChatError(code)], [ChatError(code)], [ChatError(code)], retries=2)
    bench.add([ChatError(code)], [ChatError(code)], retries=1)
    bench.add(ANSWER, retries=2)
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.calls == {"a": 3, "b": 2, "c": 1, "d": 0}
    bench.assert_all_closed()
    assert bench.attempts == [
        ("a", code, "a"), ("a", code, "a"), ("a", code, "b"), ("b", code, "b"), ("b", code, "c"),
    ]  # fmt: skip


@pytest.mark.parametrize("code", LASTING)
async def test_any_other_error_of_the_requested_model_is_reported_at_once(bench: Bench, code: Code) -> None:
    error = ChatError(code)
    bench.add([COMMENT, error], retries=2)
    bench.add(ANSWER)
    with pytest.raises(ChatError) as caught:
        await bench.run()
    assert caught.value is error
    assert bench.calls == {"a": 1, "b": 0}
    assert bench.attempts == [("a", code, None)]
    bench.assert_all_closed()


@pytest.mark.parametrize("code", LASTING)
async def test_any_other_error_of_a_fallback_starts_the_next(bench: Bench, code: Code) -> None:
    bench.add([busy()])
    bench.add([ChatError(code)], retries=2)
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.calls == {"a": 1, "b": 1, "c": 1}
    assert bench.attempts == [("a", "upstream_busy", "b"), ("b", code, "c")]


@pytest.mark.parametrize("code", LASTING)
async def test_an_error_that_is_not_transient_ends_the_retries(bench: Bench, code: Code) -> None:
    bench.add([busy()], [ChatError(code)], ANSWER, retries=2)
    bench.add(ANSWER)
    with pytest.raises(ChatError, match=code):
        await bench.run()
    assert bench.calls == {"a": 2, "b": 0}


async def test_when_all_have_failed_the_last_error_of_the_requested_model_is_reported(bench: Bench) -> None:
    last = busy(retry_after_s=9)
    bench.add([ChatError("upstream_error")], [last], retries=1)
    bench.add([ChatError("upstream_overloaded", retry_after_s=3)], [ChatError("upstream_overloaded")], retries=1)
    bench.add([ChatError("upstream_refused")])
    with pytest.raises(ChatError) as caught:
        await bench.run()
    assert caught.value is last
    assert bench.calls == {"a": 2, "b": 2, "c": 1}
    assert bench.attempts[-1] == ("c", "upstream_refused", None)
    bench.assert_all_closed()


async def test_an_account_without_credit_is_not_retried_but_its_fallbacks_are_called(bench: Bench) -> None:
    bench.add([ChatError("upstream_unpaid")], ANSWER, retries=2)
    bench.add([ChatError("upstream_unpaid")], ANSWER, retries=2)
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.calls == {"a": 1, "b": 1, "c": 1}
    assert bench.clock.now == 1000


async def test_a_fallback_that_refuses_the_request_is_skipped(bench: Bench) -> None:
    bench.add([busy()])
    bench.add(ANSWER, refuses=ChatError("invalid_request", path="n"))
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.calls == {"a": 1, "b": 0, "c": 1}
    assert bench.attempts[-1] == ("b", "invalid_request", "c")


async def test_a_request_that_the_first_model_refuses_is_refused_before_the_answer_begins(bench: Bench) -> None:
    bench.add(ANSWER, refuses=ChatError("invalid_request", path="messages.0"))
    bench.add(ANSWER)
    with pytest.raises(ChatError, match="invalid_request"):
        bench.stream()
    assert bench.calls == {"a": 0, "b": 0}


async def test_a_request_is_built_once_for_all_attempts_of_a_model(bench: Bench) -> None:
    bench.add([busy(0)], [busy(0)], [busy(0)], retries=2)
    bench.add([busy(0)], ANSWER, retries=1)
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.calls == {"a": 3, "b": 2, "c": 0}
    assert [model.built for model in bench.models] == [1, 1, 0]


async def test_an_exception_that_is_not_a_chat_error_is_not_retried(bench: Bench) -> None:
    bench.add([ZeroDivisionError()], retries=2)
    bench.add(ANSWER)
    with pytest.raises(ZeroDivisionError):
        await bench.run()
    assert bench.calls == {"a": 1, "b": 0}
    bench.assert_all_closed()


# -- waits


async def assert_called_after(bench: Bench, model: Scripted, seconds: float) -> None:
    """Assert that the model is called once more after exactly `seconds`, and not before."""
    calls = model.calls
    await bench.advance(seconds - TICK_S)
    assert model.calls == calls
    await bench.advance(TICK_S)
    assert model.calls == calls + 1


@pytest.mark.parametrize(
    ("jitter", "waits"),
    [(0.0, [0.125, 0.25, 0.5, 1, 2, 2.5, 2.5]), (0.5, [0.1875, 0.375]), (1.0, [0.25, 0.5, 1, 2, 4, 5, 5])],
)
async def test_each_wait_doubles_up_to_the_longest_and_half_of_it_is_random(jitter: float, waits: list[float]) -> None:
    bench = Bench(jitter=jitter)
    model = bench.add(*[[ChatError("upstream_error")]] * len(waits), ANSWER, retries=len(waits))
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    for wait_s in waits:
        await assert_called_after(bench, model, wait_s)
    assert answered(await reading)


@pytest.mark.parametrize("retry_after_s", [1, 4, 5])
async def test_a_retry_waits_for_retry_after(bench: Bench, retry_after_s: int) -> None:
    model = bench.add([busy(retry_after_s)], ANSWER, retries=1)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    await assert_called_after(bench, model, retry_after_s)
    assert answered(await reading)


async def test_a_server_without_retry_after_is_retried_at_once(bench: Bench) -> None:
    bench.add([busy(0)], ANSWER, retries=1)
    assert answered(await bench.run())
    assert bench.clock.now == 1000


async def test_a_model_with_too_long_a_retry_after_is_not_retried_and_its_fallback_starts_at_once(
    bench: Bench,
) -> None:
    bench.add([busy(6)], ANSWER, retries=3)
    bench.add([busy(6)], ANSWER, retries=3)
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.calls == {"a": 1, "b": 1, "c": 1}
    assert bench.clock.now == 1000


async def test_without_a_fallback_the_client_gets_retry_after_at_once(bench: Bench) -> None:
    bench.add([busy(6)], ANSWER, retries=3)
    with pytest.raises(ChatError) as caught:
        await bench.run()
    assert (caught.value.retry_after_s, bench.clock.now) == (6, 1000)


async def test_a_fallback_starts_without_a_wait_and_with_its_own_backoff(bench: Bench) -> None:
    bench.add([busy(3)], [busy(3)], retries=1)
    model = bench.add([busy()], ANSWER, retries=1)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    await bench.advance(3)
    assert bench.calls == {"a": 2, "b": 1}
    await assert_called_after(bench, model, 0.125)
    assert answered(await reading)


# -- before the first event


@pytest.mark.parametrize("empty", [[], [COMMENT], [COMMENT, Batch(9, ended=True)], [Batch(9, ended=True), HANG]])
async def test_an_answer_without_an_event_is_truncated_and_may_be_retried(bench: Bench, empty: list[Any]) -> None:
    bench.add(empty, empty, retries=1)
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.attempts == [("a", "upstream_truncated", "a"), ("a", "upstream_truncated", "b")]
    bench.assert_all_closed()


async def test_batches_without_an_event_are_passed_on_and_are_never_an_end(bench: Bench) -> None:
    bench.add([COMMENT, Batch(9, ended=True)])
    bench.add([COMMENT, *ANSWER])
    batches = await bench.run()
    assert [batch.size for batch in batches] == [7, 0, 7, 10, 1]
    assert not any(batch.ended for batch in batches)


async def test_usage_before_the_first_event_counts_if_an_event_follows(bench: Bench) -> None:
    bench.add([Batch(5, usage=Usage(1, 1, 2)), busy()])
    bench.add([Batch(5, usage=Usage(2, 2, 4)), *ANSWER])
    batches = await bench.run()
    assert [batch.usage for batch in batches] == [None, None, None, Usage(2, 2, 4), None]


async def test_usage_with_the_first_event_counts_before_an_earlier_one(bench: Bench) -> None:
    bench.add([Batch(5, usage=Usage(2, 2, 4)), Batch(9, [Delta("hello")], "stop", Usage(3, 3, 6))])
    assert (await bench.run())[-1].usage == Usage(3, 3, 6)


# -- after the first event

BEGINNINGS = [[Batch(1, [Delta("x")])], [COMMENT, Batch(1, finish_reason="stop")], [Batch(1, [Delta("x")], ended=True)]]


@pytest.mark.parametrize("begins", BEGINNINGS)
@pytest.mark.parametrize("code", KINDS)
async def test_after_its_first_event_a_failure_is_the_answers(bench: Bench, begins: list[Batch], code: Code) -> None:
    error = ChatError(code)
    bench.add([*begins, error], ANSWER, retries=1)
    bench.add(ANSWER)
    with pytest.raises(ChatError) as caught:
        await bench.run()
    assert caught.value is error
    assert bench.calls == {"a": 1, "b": 0}
    assert bench.attempts == []
    bench.assert_all_closed()


@pytest.mark.parametrize("begins", BEGINNINGS)
async def test_after_the_first_event_batches_are_unchanged(bench: Bench, begins: list[Batch]) -> None:
    batches = [*begins, COMMENT, Batch(3, usage=Usage(1, 2, 3)), Batch(2, ended=True), COMMENT]
    bench.add(batches, ANSWER, retries=1, first_event_timeout_s=1)
    assert await bench.run() == batches


async def test_after_the_first_event_the_attempt_has_no_time_limit(bench: Bench) -> None:
    goes_on = asyncio.Event()
    bench.add([ANSWER[0], goes_on, ANSWER[1]], first_event_timeout_s=1)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    assert bench.clock.pending == 0
    await bench.advance(1000)
    goes_on.set()
    assert await reading == ANSWER


# -- the time for a first event


async def test_an_attempt_without_an_event_in_time_is_closed_and_the_next_starts(bench: Bench) -> None:
    bench.add([HANG], [HANG], retries=1, first_event_timeout_s=2)
    bench.add([HANG], first_event_timeout_s=3)
    bench.add(ANSWER)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    await bench.advance(2 - TICK_S)
    assert bench.calls == {"a": 1, "b": 0, "c": 0}
    await bench.advance(TICK_S)
    await bench.advance(0.125)
    assert bench.calls == {"a": 2, "b": 0, "c": 0}
    await bench.advance(2)
    assert bench.calls == {"a": 2, "b": 1, "c": 0}
    await bench.advance(3)
    assert answered(await reading)
    assert bench.attempts == [
        ("a", "upstream_timeout", "a"), ("a", "upstream_timeout", "b"), ("b", "upstream_timeout", "c"),
    ]  # fmt: skip
    assert bench.clock.pending == 0
    bench.assert_all_closed()


async def test_bytes_without_an_event_do_not_give_an_attempt_more_time(bench: Bench) -> None:
    comments = [asyncio.Event() for _ in range(3)]
    bench.add([step for comment in comments for step in (comment, COMMENT)] + [HANG], first_event_timeout_s=4)
    bench.add(ANSWER)
    reading = asyncio.ensure_future(bench.read())
    for comment in comments:
        await wait_all_tasks_blocked()
        await bench.advance(1)
        comment.set()
    await wait_all_tasks_blocked()
    await bench.advance(1 - TICK_S)
    assert bench.calls == {"a": 1, "b": 0}
    await bench.advance(TICK_S)
    assert answered(await reading)


async def test_nothing_is_cancelled_while_the_consumer_is_busy(bench: Bench) -> None:
    bench.add([COMMENT, COMMENT, HANG], first_event_timeout_s=1)
    async with aclosing(bench.stream()) as batches:
        assert (await anext(batches)).size == COMMENT.size
        assert bench.clock.pending == 0
        await bench.advance(100)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_without_a_limit_an_attempt_has_all_the_time_of_the_answer(bench: Bench) -> None:
    bench.add([HANG])
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    assert bench.clock.pending == 0
    await cancelled(reading)
    bench.assert_all_closed()


async def test_the_clock_is_the_running_loop_unless_another_is_given() -> None:
    journal: list[str] = []
    candidates = [
        Candidate("a", Scripted("a", journal, [HANG], [busy()]), retries=1, first_event_timeout_s=0.001),
        Candidate("b", Scripted("b", journal, ANSWER)),
    ]
    batches = [batch async for batch in FallbackModel(candidates, max_wait_s=0.001).build(REQUEST)()]
    assert answered(batches)
    assert journal == ["a opened", "a closed"] * 2 + ["b opened", "b closed"]


# -- races and endings


async def cancelled(reading: asyncio.Task[Any]) -> None:
    """Cancel the task, and assert that it ends as cancelled."""
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()


@pytest.mark.parametrize("first", ["the limit", "the answer's end"])
async def test_an_answer_that_ends_at_the_time_limit_of_its_attempt_ends(bench: Bench, first: str) -> None:
    bench.add([HANG], retries=1, first_event_timeout_s=1)
    bench.add(ANSWER)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    acts: list[Callable[[], object]] = [lambda: bench.clock.advance(1), reading.cancel]
    for act in acts if first == "the limit" else reversed(acts):
        act()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert bench.calls == {"a": 1, "b": 0}
    assert bench.clock.pending == 0
    bench.assert_all_closed()


async def test_an_event_that_came_in_time_is_not_lost_to_the_limit(bench: Bench) -> None:
    is_due = asyncio.Event()
    bench.add([is_due, *ANSWER], first_event_timeout_s=1)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    is_due.set()
    await wait_all_tasks_blocked()
    await bench.advance(1)
    assert await reading == ANSWER


async def test_an_event_at_the_time_limit_is_dropped_and_never_joined_with_another_answer(
    bench: Bench,
) -> None:
    is_due = asyncio.Event()
    bench.add([is_due, Batch(10, [Delta("too late")])], first_event_timeout_s=1)
    bench.add(ANSWER)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    is_due.set()
    bench.clock.advance(1)
    assert answered(await reading)
    assert bench.attempts == [("a", "upstream_timeout", "b")]
    bench.assert_all_closed()


async def test_an_attempt_that_is_being_closed_is_not_disturbed_by_its_limit(bench: Bench) -> None:
    closing, released = asyncio.Event(), asyncio.Event()

    class Tidy(Scripted):
        async def stream(self) -> Batches:
            try:
                await asyncio.Event().wait()
                yield COMMENT
            finally:
                closing.set()
                await released.wait()
                self.journal.append("tidied up")

    attempts = FallbackModel([Candidate("a", Tidy("a", bench.journal), 0, 1.0)], max_wait_s=1, clock=bench.clock)
    reading = asyncio.ensure_future(anext(attempts.build(REQUEST)()))
    await wait_all_tasks_blocked()
    reading.cancel()
    await closing.wait()
    await bench.advance(1)
    assert not reading.done()
    released.set()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert bench.journal == ["tidied up"]


@pytest.mark.parametrize("does", [RETURN_WHEN_CANCELLED, FAIL_WHEN_CANCELLED])
async def test_an_attempt_may_handle_its_cancellation_in_any_way(bench: Bench, does: object) -> None:
    bench.add([does], first_event_timeout_s=1)
    bench.add(ANSWER)
    assert answered(await bench.run())
    assert bench.attempts == [("a", "upstream_timeout", "b")]
    bench.assert_all_closed()


async def test_an_attempt_that_ignores_cancellation_is_awaited_and_its_event_used(bench: Bench) -> None:
    is_due = asyncio.Event()
    bench.add([RETURN_WHEN_CANCELLED, is_due, *ANSWER], first_event_timeout_s=1)
    bench.add(ANSWER)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    await bench.advance(1000)
    assert bench.calls == {"a": 1, "b": 0}
    is_due.set()
    assert await reading == ANSWER
    assert reading.cancelling() == 0


async def test_an_answer_that_ends_in_a_wait_starts_no_other_attempt(bench: Bench) -> None:
    bench.add([busy(3)], ANSWER, retries=1)
    bench.add(ANSWER)
    reading = asyncio.ensure_future(bench.read())
    await wait_all_tasks_blocked()
    assert bench.clock.pending == 1
    await cancelled(reading)
    assert bench.clock.pending == 0
    await bench.advance(100)
    assert bench.calls == {"a": 1, "b": 0}


async def test_an_answer_that_ends_between_two_attempts_starts_no_other(bench: Bench) -> None:
    bench.add([busy(3)], ANSWER, retries=1)
    async with aclosing(bench.stream()) as batches:
        batch = await anext(batches)
        assert isinstance(batch.attempt, Attempt)
        bench.assert_all_closed()
    await bench.advance(100)
    assert bench.calls == {"a": 1}
    assert bench.clock.pending == 0


@pytest.mark.parametrize("script", [[COMMENT, HANG], [*ANSWER, HANG]])
async def test_a_closed_answer_closes_its_attempt(bench: Bench, script: list[Any]) -> None:
    bench.add([busy()])
    bench.add(script, first_event_timeout_s=1)
    async with aclosing(bench.stream()) as batches:
        assert (await anext(batches)).attempt is not None
        await anext(batches)
        assert bench.journal[-1] == "b opened"
    bench.assert_all_closed()
    assert bench.clock.pending == 0


async def test_failed_attempts_are_released_once_an_answer_begins(bench: Bench) -> None:
    bench.add([busy()])
    bench.add([busy()])
    bench.add(ANSWER)
    failed: list[weakref.ref[ChatError]] = []
    async with aclosing(bench.stream()) as batches:
        async for batch in batches:
            if batch.attempt is None:
                break
            failed.append(weakref.ref(batch.attempt.error))
        await anext(batches)
        gc.collect()
        assert [reference() for reference in failed] == [None, None]


# -- any plan


OUTCOMES = st.sampled_from(["answers", "hangs", "ends", *TRANSIENT, "upstream_refused", "content_filtered"])
PLANS = st.lists(st.tuples(st.integers(0, 3), st.lists(OUTCOMES, min_size=4, max_size=4)), min_size=1, max_size=4)


def script(outcome: str) -> list[Any]:
    scripts: dict[str, list[Any]] = {"answers": ANSWER, "hangs": [HANG], "ends": [COMMENT]}
    return scripts.get(outcome) or [COMMENT, ChatError(cast(Code, outcome))]


def code_of(outcome: str) -> str:
    return {"hangs": "upstream_timeout", "ends": "upstream_truncated"}.get(outcome, outcome)


def expected(plan: list[tuple[int, list[str]]]) -> list[tuple[str, str]]:
    """Return the expected attempts in order with their outcomes, by the rules."""
    turns: list[tuple[str, str]] = []
    for name, (retries, outcomes) in zip("abcd", plan, strict=False):
        for outcome in outcomes[: retries + 1]:
            turns.append((name, code_of(outcome)))
            if code_of(outcome) not in TRANSIENT:
                break
        _, last = turns[-1]
        if last == "answers" or (name == "a" and last not in TRANSIENT):
            break
    return turns


@given(PLANS)
async def test_in_any_case_a_model_answers_or_the_first_models_error_is_reported(
    plan: list[tuple[int, list[str]]],
) -> None:
    bench = Bench()
    for retries, outcomes in plan:
        bench.add(*map(script, outcomes), retries=retries, first_event_timeout_s=1)
    turns = expected(plan)
    ending = turns[-1][1]
    assert await bench.ending() == (
        ending if ending == "answers" else [code for name, code in turns if name == "a"][-1]
    )
    names = [name for name, _ in turns]
    assert bench.journal[::2] == [f"{name} opened" for name in names]
    following = [*names[1:], None]
    assert bench.attempts == [
        (*turn, after) for turn, after in zip(turns, following, strict=True) if turn[1] != "answers"
    ]
    bench.assert_all_closed()
