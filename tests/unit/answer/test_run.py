"""One answer: status timeout, limits, keep-alive and endings, on a clock that the test advances."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any

import msgspec
import pytest

from quartapp.answer.client import Answer
from quartapp.answer.limits import Limits
from quartapp.answer.queue import EVENT_BYTES
from quartapp.answer.report import MAX_FAILED_ATTEMPTS, AnswerReport
from quartapp.answer.run import TAIL_S
from quartapp.core.errors import ChatError, Code, UpstreamFault
from quartapp.core.events import Attempt, Batch, Batches, Delta, Done, Event, Failed, Ping, Start, Usage
from tests.support.clock import FakeClock
from tests.support.loopback import settle

LIMITS = Limits(
    first_event_timeout_s=100,
    idle_timeout_s=50,
    answer_timeout_s=1000,
    write_timeout_s=30,
    keep_alive_s=15,
    max_buffered_bytes=1000 + 3 * EVENT_BYTES,
    max_answer_bytes=10_000,
)

END = object()
STOP = Batch(1, finish_reason="stop")
LAST = Batch(1, ended=True)


FAULT = UpstreamFault(503, "server_error", message="canary")


def text(words: str, size: int = 10) -> Batch:
    return Batch(size, [Delta(words)])


def failed(model: str, after: str | None, code: Code = "upstream_overloaded") -> Batch:
    """Return the batch of a failed attempt. `after` is the model of the next attempt."""
    return Batch(0, attempt=Attempt(model, ChatError(code, fault=FAULT), after))


class Upstream:
    """A source with the batches of the test. `closed` is set once it is closed."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = asyncio.Event()

    def send(self, *batches: Batch | BaseException | object) -> None:
        for batch in batches:
            self._batches.put_nowait(batch)

    @property
    def unread(self) -> int:
        return self._batches.qsize()

    async def stream(self) -> Batches:
        try:
            while (batch := await self._batches.get()) is not END:
                if isinstance(batch, BaseException):
                    raise batch
                yield batch
        finally:
            self.closed.set()


class Bench:
    """An answer, its upstream and its clock."""

    def __init__(self, **limits: float) -> None:
        self.clock = FakeClock()
        self.upstream = Upstream()
        self.reports: list[AnswerReport] = []
        self._limits = msgspec.structs.replace(LIMITS, **limits)

    @cached_property
    def answer(self) -> Answer:
        """Return the answer. The task that reads this first is its client's task."""
        return Answer(
            self.upstream.stream,
            id="id-1",
            model="m",
            limits=self._limits,
            clock=self.clock,
            labels={"who": "ann"},
            observers=[self.reports.append],
        )

    @contextlib.asynccontextmanager
    async def waiting(self) -> AsyncIterator[asyncio.Task[list[Event]]]:
        """Yield a task that waits for the next events."""
        client = asyncio.ensure_future(anext(self.answer))
        await asyncio.sleep(0)
        yield client

    async def rest(self) -> list[Event]:
        events = [event async for batch in self.answer for event in batch]
        self.answer.close()
        return events

    async def first_token_read(self) -> None:
        self.upstream.send(text("one"))
        await self.answer.begin()
        assert await anext(self.answer) == [Start("id-1", "m"), Delta("one")]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_complete_answer_ends_with_done_and_its_usage(bench: Bench) -> None:
    bench.upstream.send(text("one"), text(" two"), STOP, Batch(1, usage=Usage(1, 2, 3)), LAST, END)
    await bench.answer.begin()
    events = await bench.rest()
    assert events == [Start("id-1", "m"), Delta("one"), Delta(" two"), Done("stop", Usage(1, 2, 3))]


async def test_the_usage_of_all_steps_is_added_up(bench: Bench) -> None:
    bench.upstream.send(text("one"), Batch(1, usage=Usage(10, 2, 12, 4)), Batch(0, begins_step=True), text(" two"))
    bench.upstream.send(STOP, Batch(1, usage=Usage(20, 3, 23, reasoning_tokens=1)), LAST, END)
    await bench.answer.begin()
    assert (await bench.rest())[-1] == Done("stop", Usage(30, 5, 35, 4, 1))
    [report] = bench.reports
    assert (report.steps, report.usage) == (2, Usage(30, 5, 35, 4, 1))


@pytest.mark.parametrize("unknown", [0, 1], ids=["first", "last"])
async def test_the_usage_of_an_answer_is_unknown_if_that_of_a_step_is(bench: Bench, unknown: int) -> None:
    steps = [[text("one"), Batch(1, usage=Usage(1, 2, 3))], [text("two"), Batch(1, usage=Usage(4, 5, 9))]]
    steps[unknown].pop()
    bench.upstream.send(*steps[0], Batch(0, begins_step=True), *steps[1], STOP, LAST, END)
    await bench.answer.begin()
    assert (await bench.rest())[-1] == Done("stop", None)


async def test_a_batch_may_allow_a_longer_silence_than_the_idle_limit(bench: Bench) -> None:
    await bench.first_token_read()
    async with bench.waiting() as client:
        bench.upstream.send(Batch(1, [Delta(" two")], silence_s=200))
        assert await client == [Delta(" two")]
    for _ in range(13):
        async with bench.waiting() as client:
            bench.clock.advance(LIMITS.keep_alive_s)
            assert await client == [Ping()]
    async with bench.waiting() as client:
        bench.upstream.send(text(" three"))
        assert await client == [Delta(" three")]
    for _ in range(3):
        async with bench.waiting() as client:
            bench.clock.advance(LIMITS.keep_alive_s)
            assert await client == [Ping()]
    async with bench.waiting() as client:
        bench.clock.advance(LIMITS.idle_timeout_s - 3 * LIMITS.keep_alive_s)
        assert await client == [Failed("upstream_timeout", ChatError("upstream_timeout").message, "id-1")]


async def test_done_has_the_last_state_of_the_server(bench: Bench) -> None:
    bench.upstream.send(text("one"), Batch(1, extra={"a": 1}), Batch(1, extra={"a": 2}), STOP, LAST, END)
    await bench.answer.begin()
    assert (await bench.rest())[-1] == Done("stop", None, {"a": 2})


async def test_an_empty_answer_is_complete(bench: Bench) -> None:
    bench.upstream.send(STOP, LAST, END)
    await bench.answer.begin()
    assert await bench.rest() == [Start("id-1", "m"), Done("stop")]


async def test_an_end_without_a_finish_reason_is_truncated(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(END)
    (failed,) = await bench.rest()
    assert isinstance(failed, Failed)
    assert (failed.code, failed.id) == ("upstream_truncated", "id-1")


async def test_an_end_marker_is_not_a_finish_reason(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(LAST)
    (failed,) = await bench.rest()
    assert isinstance(failed, Failed)
    assert failed.code == "upstream_truncated"


async def test_a_failure_before_the_first_event_is_raised_by_begin(bench: Bench) -> None:
    bench.upstream.send(ChatError("upstream_busy", retry_after_s=7))
    with pytest.raises(ChatError) as caught:
        await bench.answer.begin(status_timeout_s=10)
    assert (caught.value.code, caught.value.retry_after_s) == ("upstream_busy", 7)
    assert len(bench.reports) == 1


async def test_the_observers_get_the_report_although_the_log_raises(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    log = logging.getLogger("quartapp.answer")
    caplog.set_level(logging.INFO, log.name)
    await bench.first_token_read()
    log.addFilter(refuse)
    try:
        with pytest.raises(ZeroDivisionError):
            bench.answer.close()
    finally:
        log.removeFilter(refuse)
    assert [report.ending for report in bench.reports] == ["client_disconnected"]


async def test_an_exception_of_the_source_is_an_internal_error(bench: Bench) -> None:
    bench.upstream.send(ZeroDivisionError("secret"))
    with pytest.raises(ChatError, match="internal_error"):
        await bench.answer.begin()


async def test_a_source_that_cancels_itself_ends_the_answer(bench: Bench) -> None:
    bench.upstream.send(asyncio.CancelledError())
    with pytest.raises(ChatError, match="internal_error"):
        await bench.answer.begin()


async def test_a_failure_after_the_first_event_is_the_last_record(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(ChatError("upstream_error"))
    (failed,) = await bench.rest()
    assert isinstance(failed, Failed)
    assert failed.code == "upstream_error"


@pytest.mark.parametrize("ending", [END, ChatError("upstream_error"), OSError()])
async def test_a_drop_after_the_finish_reason_is_still_done(bench: Bench, ending: object) -> None:
    await bench.first_token_read()
    bench.upstream.send(STOP, ending)
    assert await bench.rest() == [Done("stop")]


async def test_usage_that_does_not_come_ends_the_answer_after_the_tail(bench: Bench) -> None:
    await bench.first_token_read()
    async with bench.waiting() as client:
        bench.upstream.send(text(" two"), STOP)
        assert await client == [Delta(" two")]
    async with bench.waiting() as client:
        bench.clock.advance(TAIL_S)
        assert await client == [Done("stop")]
    await bench.upstream.closed.wait()


async def test_late_text_reopens_the_answer_so_that_a_timeout_truncates_it(
    bench: Bench,
) -> None:
    await bench.first_token_read()
    async with bench.waiting() as client:
        bench.upstream.send(STOP, Batch(10, [Delta(" two")], resumes=True))
        assert await client == [Delta(" two")]
    async with bench.waiting() as client:
        bench.clock.advance(TAIL_S)
        bench.upstream.send(text(" three"))
        assert await client == [Delta(" three")]
    async with bench.waiting() as client:
        bench.clock.advance(LIMITS.idle_timeout_s)
        (end,) = [event for event in await client if not isinstance(event, Ping)]
    assert isinstance(end, Failed)
    assert end.code == "upstream_timeout"


@pytest.mark.parametrize("ending", [LAST, END])
async def test_a_finish_reason_before_late_text_is_valid_once_the_upstream_has_ended(
    bench: Bench, ending: object
) -> None:
    await bench.first_token_read()
    bench.upstream.send(STOP, Batch(10, [Delta(" two")], resumes=True), ending)
    assert await bench.rest() == [Delta(" two"), Done("stop")]


async def test_an_upstream_is_read_to_its_end_after_done_so_that_its_connection_is_reusable(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(STOP, LAST)
    assert await bench.rest() == [Done("stop")]
    assert not bench.upstream.closed.is_set()
    bench.upstream.send(END)
    await bench.answer.wait_closed()
    assert bench.clock.pending == 0


async def test_an_upstream_that_does_not_end_after_done_is_closed_with_the_tail(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(STOP, LAST)
    await bench.rest()
    bench.clock.advance(TAIL_S)
    await bench.upstream.closed.wait()
    assert bench.clock.pending == 0


async def test_an_upstream_that_does_not_end_after_late_text_is_closed_with_the_tail(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(STOP, Batch(10, [Delta(" two")], resumes=True), LAST)
    assert await bench.rest() == [Delta(" two"), Done("stop")]
    bench.clock.advance(TAIL_S)
    await asyncio.wait_for(bench.upstream.closed.wait(), 1)
    assert bench.clock.pending == 0


async def test_the_status_timeout_opens_the_stream_with_a_ping(bench: Bench) -> None:
    beginning = asyncio.ensure_future(bench.answer.begin(status_timeout_s=10))
    await asyncio.sleep(0)
    bench.clock.advance(9.9)
    await asyncio.sleep(0)
    assert not beginning.done()
    bench.clock.advance(0.2)
    await beginning
    assert await anext(bench.answer) == [Start("id-1", "m"), Ping()]


async def test_a_failure_after_the_status_timeout_is_a_record(bench: Bench) -> None:
    beginning = asyncio.ensure_future(bench.answer.begin(status_timeout_s=10))
    await asyncio.sleep(0)
    bench.clock.advance(10)
    await beginning
    bench.upstream.send(ChatError("upstream_busy"))
    *_, failed = await bench.rest()
    assert isinstance(failed, Failed)
    assert failed.code == "upstream_busy"


async def test_a_held_event_is_the_first_event_and_needs_no_status(bench: Bench) -> None:
    bench.upstream.send(Batch(5, is_held=True))
    beginning = asyncio.ensure_future(bench.answer.begin())
    for _ in range(3):  # longer than the limit of the first event, and never as long as that of silence
        await settle()
        bench.clock.advance(LIMITS.idle_timeout_s - 1)
        bench.upstream.send(Batch(5, is_held=True))
    await settle()
    bench.upstream.send(ChatError("brand_unsafe", message="No.", status=422))
    with pytest.raises(ChatError) as caught:
        await beginning
    assert (caught.value.status, bench.reports[0].first_event_s) == (422, 0)


async def test_empty_state_is_no_state(bench: Bench) -> None:
    bench.upstream.send(text("one"), Batch(1, extra={"a": 1}), Batch(1, extra={}), STOP, LAST, END)
    await bench.answer.begin()
    assert (await bench.rest())[-1] == Done("stop")


async def test_without_a_status_timeout_the_status_waits_for_the_first_event_timeout(bench: Bench) -> None:
    beginning = asyncio.ensure_future(bench.answer.begin())
    await asyncio.sleep(0)
    bench.clock.advance(99)
    bench.upstream.send(Batch(20))  # comments are no event
    await asyncio.sleep(0)
    assert not beginning.done()
    bench.clock.advance(1)
    with pytest.raises(ChatError, match="upstream_timeout"):
        await beginning
    await bench.upstream.closed.wait()


async def test_equal_status_and_first_event_timeouts_end_with_an_error_status(bench: Bench) -> None:
    beginning = asyncio.ensure_future(bench.answer.begin(LIMITS.first_event_timeout_s))
    await asyncio.sleep(0)
    bench.clock.advance(LIMITS.first_event_timeout_s)
    with pytest.raises(ChatError, match="upstream_timeout"):
        await beginning


async def test_no_ping_follows_an_end_that_is_due_at_the_same_time() -> None:
    bench = Bench(keep_alive_s=50)
    await bench.first_token_read()
    async with bench.waiting() as client:
        bench.clock.advance(50)
        assert [type(event) for event in await client] == [Failed]


async def test_silence_ends_the_answer(bench: Bench) -> None:
    await bench.first_token_read()
    async with bench.waiting() as client:
        bench.clock.advance(14)
        assert not client.done()
        bench.clock.advance(36)
        events = await client
    assert [type(event) for event in events] == [Ping, Failed]
    assert events[-1].code == "upstream_timeout"  # type: ignore[union-attr]
    await bench.upstream.closed.wait()


async def test_comments_of_the_upstream_are_not_silence(bench: Bench) -> None:
    await bench.first_token_read()
    async with bench.waiting() as client:
        for _ in range(3):
            bench.clock.advance(14)
            bench.upstream.send(Batch(20))
            while bench.upstream.unread:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert await client == [Ping()]
    bench.upstream.send(STOP, END)
    assert await bench.rest() == [Done("stop")]


async def test_an_answer_has_a_time_limit(bench: Bench) -> None:
    await bench.first_token_read()
    events: list[Event] = []
    while bench.clock.now < 1990:
        async with bench.waiting() as client:
            bench.clock.advance(9)
            bench.upstream.send(text("more"))
            events = await client
    assert events == [Delta("more")]
    async with bench.waiting() as client:
        bench.clock.advance(10)
        events = await client
    assert events[-1].code == "deadline_exceeded"  # type: ignore[union-attr]


async def test_an_idle_stream_gets_pings(bench: Bench) -> None:
    await bench.first_token_read()
    for _ in range(3):
        async with bench.waiting() as client:
            bench.clock.advance(15)
            assert await client == [Ping()]


async def test_a_client_that_reads_nothing_is_cancelled() -> None:
    stalled = asyncio.Event()
    benches: list[Bench] = []

    async def read() -> None:
        bench = Bench()
        benches.append(bench)
        await bench.first_token_read()
        stalled.set()
        await asyncio.Event().wait()  # as a server's `send` does

    client = asyncio.ensure_future(read())
    await stalled.wait()
    (bench,) = benches
    bench.clock.advance(29)
    await asyncio.sleep(0)
    assert not client.done()
    bench.clock.advance(1)
    await asyncio.wait([client])
    assert client.cancelled()
    await bench.upstream.closed.wait()
    assert len(bench.reports) == 1
    assert bench.clock.pending == 0


async def test_a_slow_client_pauses_the_upstream_without_a_timeout(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(*[text("x", 400) for _ in range(10)])
    await asyncio.sleep(0)
    while bench.upstream.unread > 7:
        await asyncio.sleep(0)
    bench.clock.advance(29)
    assert bench.upstream.unread == 7
    assert await anext(bench.answer) == [Delta("x")] * 3
    while bench.upstream.unread > 4:
        await asyncio.sleep(0)
    bench.clock.advance(29)
    assert await anext(bench.answer) == [Delta("x")] * 3


async def test_an_endless_answer_is_ended(bench: Bench) -> None:
    await bench.first_token_read()
    bench.upstream.send(*[text("x", 990) for _ in range(12)])
    events = await bench.rest()
    assert events[-1].code == "upstream_error"  # type: ignore[union-attr]
    await bench.upstream.closed.wait()


async def test_a_disconnect_closes_the_upstream(bench: Bench) -> None:
    await bench.first_token_read()
    bench.answer.close()
    await bench.upstream.closed.wait()
    assert len(bench.reports) == 1
    assert bench.clock.pending == 0
    with pytest.raises(StopAsyncIteration):
        await anext(bench.answer)


async def test_the_end_of_the_clients_task_closes_an_answer_before_its_first_read() -> None:
    benches: list[Bench] = []

    async def view() -> None:
        bench = Bench()
        benches.append(bench)
        bench.upstream.send(text("one"))
        await bench.answer.begin()

    await asyncio.ensure_future(view())
    await benches[0].upstream.closed.wait()
    assert len(benches[0].reports) == 1


async def test_a_disconnect_before_the_first_event_closes_the_upstream() -> None:
    benches: list[Bench] = []
    begun = asyncio.Event()

    async def view() -> None:
        bench = Bench()
        benches.append(bench)
        begun.set()
        await bench.answer.begin()

    client = asyncio.ensure_future(view())
    await begun.wait()
    await asyncio.sleep(0)
    client.cancel()
    await benches[0].upstream.closed.wait()


async def test_an_answer_ends_once(bench: Bench) -> None:
    await bench.first_token_read()
    bench.answer.end(ChatError("shutting_down", retry_after_s=1))
    bench.answer.end(ChatError("internal_error"))
    (failed,) = await bench.rest()
    assert failed == Failed("shutting_down", ChatError("shutting_down").message, "id-1", 1)


async def test_the_log_line_contains_the_ending(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "quartapp.answer"):
        bench.upstream.send(text("one"), STOP, Batch(1, usage=Usage(1, 2, 3, 0, 2)), LAST, END)
        await bench.answer.begin()
        bench.clock.advance(1.5)
        await bench.rest()
        bench.answer.close()
    (record,) = caplog.records
    assert json.loads(record.getMessage().removeprefix("answer ")) == {
        "id": "id-1",
        "who": "ann",
        "model": "m",
        "ending": "done",
        "finish_reason": "stop",
        "input_tokens": 1,
        "output_tokens": 2,
        "cached_input_tokens": 0,
        "reasoning_tokens": 2,
        "first_event_ms": 0,
        "total_ms": 1500,
        "upstream_bytes": 13,
    }


async def test_a_failure_is_logged_with_the_types_of_its_causes_without_their_texts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.upstream.send(ZeroDivisionError("canary"))
    with caplog.at_level(logging.INFO, "quartapp.answer"), pytest.raises(ChatError):
        await bench.answer.begin()
    (record,) = caplog.records
    line = json.loads(record.getMessage().removeprefix("answer "))
    assert (line["ending"], line["causes"]) == ("internal_error", ["ZeroDivisionError"])
    assert line["at"]
    assert record.levelno == logging.ERROR
    assert "canary" not in caplog.text


# -- attempts that failed


async def line_of(bench: Bench, caplog: pytest.LogCaptureFixture, *batches: Any) -> dict[str, Any]:
    """Return the log line of an answer of these batches."""
    bench.upstream.send(*batches)
    with caplog.at_level(logging.INFO, "quartapp.answer"), contextlib.suppress(ChatError):
        await bench.answer.begin()
        await bench.rest()
    [record] = caplog.records
    line: dict[str, Any] = json.loads(record.getMessage().removeprefix("answer "))
    return line


async def test_the_log_line_contains_each_failed_attempt_and_the_model_that_answered(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    line = await line_of(bench, caplog, failed("m", "m"), failed("m", "n"), text("one"), STOP, LAST, END)
    upstream = {"status": 503, "type": "server_error"}
    tried = {"model": "m", "error": "upstream_overloaded", "upstream": upstream}
    assert (line["model"], line["ending"], line["answered_by"]) == ("m", "done", "n")
    assert line["tried"] == [tried, tried]
    assert "error" not in line
    assert "canary" not in caplog.text


async def test_an_answer_of_a_retry_has_no_other_model_in_its_log_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    line = await line_of(bench, caplog, failed("m", "m"), text("one"), STOP, LAST, END)
    assert [each["model"] for each in line["tried"]] == ["m"]
    assert "answered_by" not in line


async def test_the_log_line_contains_the_last_error_if_every_attempt_fails(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    line = await line_of(
        bench, caplog, failed("m", "n"), failed("n", None, "upstream_refused"), ChatError("upstream_busy")
    )
    assert (line["ending"], line["error"]) == ("upstream_busy", "upstream_busy")
    assert [(each["model"], each["error"]) for each in line["tried"]] == [
        ("m", "upstream_overloaded"),
        ("n", "upstream_refused"),
    ]
    assert "answered_by" not in line


async def test_a_single_failed_attempt_is_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    line = await line_of(bench, caplog, failed("m", None), ChatError("upstream_busy"))
    assert line["error"] == "upstream_busy"
    assert "tried" not in line


async def test_a_fallback_without_events_has_not_answered(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.upstream.send(failed("m", "n"))
    client = asyncio.ensure_future(bench.answer.begin())
    while bench.upstream.unread or not bench.clock.pending:
        await asyncio.sleep(0)
    with caplog.at_level(logging.INFO, "quartapp.answer"):
        bench.answer.close()
    await bench.upstream.closed.wait()
    client.cancel()
    [record] = caplog.records
    line = json.loads(record.getMessage().removeprefix("answer "))
    assert (line["ending"], [each["model"] for each in line["tried"]]) == ("client_disconnected", ["m"])
    assert "answered_by" not in line


async def test_error_messages_of_upstreams_are_logged_if_a_setting_allows_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(log_upstream_messages=True)
    line = await line_of(bench, caplog, failed("m", "n"), failed("n", None), ChatError("upstream_busy", fault=FAULT))
    assert {each["upstream"]["message"] for each in (line, *line["tried"])} == {"canary"}


async def test_a_log_line_contains_a_limited_number_of_attempts(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    tried = [failed("m", "m")] * (2 * MAX_FAILED_ATTEMPTS)
    line = await line_of(bench, caplog, *tried, failed("m", "n"), text("one"), STOP, LAST, END)
    assert (len(line["tried"]), line["answered_by"]) == (MAX_FAILED_ATTEMPTS, "n")


async def test_a_fallback_may_begin_after_the_status_timeout_while_the_client_gets_pings(bench: Bench) -> None:
    beginning = asyncio.ensure_future(bench.answer.begin(status_timeout_s=10))
    await asyncio.sleep(0)
    bench.clock.advance(10)
    await beginning
    bench.upstream.send(failed("m", "n"))
    assert await anext(bench.answer) == [Start("id-1", "m"), Ping()]
    async with bench.waiting() as client:
        bench.clock.advance(15)
        assert await client == [Ping()]
    bench.upstream.send(text("one"), STOP, LAST, END)
    assert await bench.rest() == [Delta("one"), Done("stop")]


async def test_all_attempts_share_the_first_event_timeout(bench: Bench) -> None:
    beginning = asyncio.ensure_future(bench.answer.begin())
    await asyncio.sleep(0)
    bench.clock.advance(60)
    bench.upstream.send(failed("m", "n"))
    await asyncio.sleep(0)
    bench.clock.advance(40)
    with pytest.raises(ChatError, match="upstream_overloaded") as raised:
        await beginning
    assert raised.value.fault is FAULT  # because the requested model has failed and was not silent
    await bench.upstream.closed.wait()


async def test_a_first_event_timeout_reports_the_failure_of_the_requested_model(bench: Bench) -> None:
    beginning = asyncio.ensure_future(bench.answer.begin())
    await asyncio.sleep(0)
    bench.upstream.send(failed("m", "n"), failed("n", "o", "upstream_busy"))
    await asyncio.sleep(0)
    bench.clock.advance(100)
    with pytest.raises(ChatError, match="upstream_overloaded"):
        await beginning


async def test_silence_after_the_first_event_is_a_timeout_even_after_a_failed_attempt(bench: Bench) -> None:
    bench.upstream.send(failed("m", "m"), text("one"))
    await bench.answer.begin()
    assert await anext(bench.answer) == [Start("id-1", "m"), Delta("one")]
    reading = asyncio.ensure_future(bench.rest())
    await asyncio.sleep(0)
    bench.clock.advance(50)
    (*_, end) = await reading
    assert isinstance(end, Failed)
    assert end.code == "upstream_timeout"


@pytest.mark.parametrize("idle_timeout_s", [5, 90])
async def test_a_fallback_has_its_own_idle_timeout(bench: Bench, idle_timeout_s: float) -> None:
    error = ChatError("upstream_busy")
    timeouts = {"idle_timeout_s": idle_timeout_s}
    bench.upstream.send(Batch(0, attempt=Attempt("m", error, "n", timeouts)), text("one"))
    await bench.answer.begin()
    assert await anext(bench.answer) == [Start("id-1", "m"), Delta("one")]
    reading = asyncio.ensure_future(bench.rest())
    await asyncio.sleep(0)
    bench.clock.advance(idle_timeout_s - 0.5)
    await asyncio.sleep(0)
    assert not reading.done()
    bench.clock.advance(0.5)
    (*_, end) = await reading
    assert isinstance(end, Failed)
    assert end.code == "upstream_timeout"
