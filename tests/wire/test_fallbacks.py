"""Fallbacks through a real app: the number of requests to each server, and the answer that the client receives."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from quartapp import create_app
from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.direct import Question
from tests.support.endpoints import Log, chunk, event_stream
from tests.support.http_client import RawClient, in_each_format
from tests.support.loopback import CHUNKED_HEAD, Answer, Exchange, Loopback, head, http_chunk, raw, reply
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import Servers, eventually
from tests.support.wire_formats import CHUNKS, DONE, FORMATS, JSON, NDJSON, TEXT, Format

NAMES = ("requested", "fallback-one", "fallback-two")
# Long enough for a busy machine to send its request, and short enough for a few tests to wait for it.
SILENCE_S = 1.0

ROLE = chunk({"role": "assistant"})
TOKEN = chunk({"content": "hello"})
LAST = chunk(finish_reason="stop")
ERROR = {"error": {"message": "canary", "type": "server_error", "code": "broken"}}


class Upstream(Loopback):
    """A model's server that counts the requests it is still answering."""

    def __init__(self, act: Answer) -> None:
        super().__init__(self._count)
        self._act = act
        self.answering = 0

    async def _count(self, exchange: Exchange) -> None:
        self.answering += 1
        try:
            await self._act(exchange)
        finally:
            self.answering -= 1


# -- what an upstream does


def streamed(*chunks: Any) -> bytes:
    return CHUNKED_HEAD + http_chunk(event_stream(*chunks, done=False))


def status(number: int, code: str | None = None, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": "canary", "type": "some_error", "code": code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(number, body, {"Content-Type": "application/json", **named})


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def send_nothing(exchange: Exchange) -> None:
    await exchange.client_leaves()


def silent_after(data: bytes) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(data)
        await exchange.client_leaves()

    return answer


def in_turn(*acts: Answer) -> Answer:
    """Return an upstream that answers the first request by the first of `acts`, and so on."""
    rest = list(acts)

    async def answer(exchange: Exchange) -> None:
        await rest.pop(0)(exchange)

    return answer


@dataclass(frozen=True)
class Fault:
    """A fault of an upstream and its code. If `act` is None, the upstream's address refuses connections."""

    name: str
    act: Answer | None
    code: str
    retry_after: str | None = None

    def __str__(self) -> str:
        return self.name


#: Before the first event, and worth another attempt.
EARLY = (
    Fault("refuses the connection", None, "upstream_error"),
    Fault("resets the connection", reset, "upstream_error"),
    Fault("sends half a head", raw(head()[:40]), "upstream_error"),
    Fault("does not speak HTTP", raw(b"SSH-2.0-OpenSSH_9.9\r\n"), "upstream_error"),
    Fault("breaks off after its head", raw(CHUNKED_HEAD), "upstream_error"),
    Fault("breaks off after a role", raw(streamed(ROLE)), "upstream_error"),
    Fault("ends after its head", reply(), "upstream_truncated"),
    Fault("ends after a role", reply(body=event_stream(ROLE)), "upstream_truncated"),
    Fault("has waited too long for the question", status(408), "upstream_error"),
    Fault("is busy", status(429), "upstream_busy"),
    Fault("is busy for a while", status(429, Retry_After="7"), "upstream_busy", "7"),
    Fault("has no quota", status(429, "insufficient_quota"), "upstream_unpaid"),
    Fault("fails", status(500), "upstream_error"),
    Fault("is a gateway to nowhere", status(502), "upstream_error"),
    Fault("is overloaded", status(503, Retry_After="3"), "upstream_overloaded", "3"),
    Fault("is overloaded in its own words", status(529), "upstream_overloaded"),
    Fault("says an error first", raw(streamed(ROLE, ERROR)), "upstream_error"),
    Fault("says garbage first", raw(streamed(ROLE, b"{canary")), "upstream_error"),
    Fault("sends no head", send_nothing, "upstream_timeout"),
    Fault("sends its head and no more", silent_after(CHUNKED_HEAD), "upstream_timeout"),
    Fault("sends a role and no more", silent_after(streamed(ROLE)), "upstream_timeout"),
)

#: Before the first event, and the same at any time and at any server.
LASTING = (
    Fault("refuses the request", status(400), "upstream_refused"),
    Fault("refuses the key", status(401), "upstream_refused"),
    Fault("has no such model", status(404), "upstream_refused"),
    Fault("has no room", status(400, "context_length_exceeded"), "context_too_long"),
    Fault("filters", status(400, "content_filter"), "content_filtered"),
)

#: After the first event.
LATE = (
    Fault("breaks off", raw(streamed(TOKEN)), "upstream_error"),
    Fault("ends", reply(body=event_stream(TOKEN)), "upstream_truncated"),
    Fault("says an error", raw(streamed(TOKEN, ERROR)), "upstream_error"),
    Fault("says garbage", raw(streamed(TOKEN, b"{canary")), "upstream_error"),
    Fault("says an error in the same read", raw(streamed(ROLE, TOKEN, ERROR)), "upstream_error"),
)

ANSWERS = reply(body=event_stream(ROLE, TOKEN, LAST))
WORKS = Fault("works", ANSWERS, DONE)
BUSY = Fault("is busy", status(429, Retry_After="99"), "upstream_busy")
REFUSES = Fault("refuses the key", status(401), "upstream_refused")
FILTERS = Fault("filters", status(400, "content_filter"), "content_filtered")
BREAKS_OFF = Fault("breaks off", raw(CHUNKED_HEAD), "upstream_error")
ENDS = Fault("ends", reply(), "upstream_truncated")

#: The faults of the fallbacks, in their order.
PLANS: Mapping[str, Sequence[Fault]] = {
    "no fallback": [],
    "one that fails": [BUSY],
    "two that answer": [WORKS, WORKS],
    "one that fails, one that answers": [ENDS, WORKS],
    "one that refuses, one that answers": [REFUSES, WORKS],
    "two that fail": [BREAKS_OFF, FILTERS],
}

# What takes time is tried with fewer.
CELLS = [
    (fault, plan) for fault in EARLY for plan in PLANS if fault.code != "upstream_timeout" or plan.startswith("two")
]


# -- an app and its models


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """Reserve a port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, f"canary-key-of-{name}")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


class Stage:
    """An app whose model has fallbacks, each on a server of its own."""

    def __init__(self, app: Quart, upstreams: Sequence[Upstream]) -> None:
        self.app = app
        self.upstreams = upstreams

    @property
    def calls(self) -> list[int]:
        return [len(upstream.requests) for upstream in self.upstreams]

    @property
    def answering(self) -> list[int]:
        return [upstream.answering for upstream in self.upstreams]

    def ask(self, format: Format) -> Question:
        return Question(self.app, format, NAMES[0])

    async def ask_in_each_form(self, formats: Sequence[Format] = FORMATS) -> list[Question]:
        return list(await asyncio.gather(*map(self._read, formats)))

    async def _read(self, format: Format) -> Question:
        async with self.ask(format) as question:
            return await question.read()

    async def wait_until_idle(self) -> None:
        """Wait until no server has an open answer."""
        await eventually(lambda: not any(self.answering))


@asynccontextmanager
async def stage(
    *faults: Fault, closed_port: int = 0, entry: Mapping[str, Any] | None = None, **given: Any
) -> AsyncIterator[Stage]:
    """Open an app. `faults` are those of the requested model and its fallbacks; `entry` has fields of the former."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(fault.act or reset)) for fault in faults]
        table = {
            name: {
                "kind": "compatible",
                "base_url": upstream.base_url if fault.act else f"http://127.0.0.1:{closed_port}/v1",
                "key_env": name,
                "model": f"their-{name}",
                "retries": 0,
                "offered": False,
            }
            for name, fault, upstream in zip(NAMES, faults, upstreams, strict=False)
        }
        table[NAMES[0]] |= {"offered": True, "fallbacks": list(table)[1:], **(entry or {})}
        app = create_app({"CHAT_MODELS": table, **given})
        async with app.test_app():
            yield Stage(app, upstreams)


def limits(fault: Fault) -> dict[str, float]:
    """Return a short limit for a fault that never ends by itself."""
    return {"first_event_timeout_s": SILENCE_S} if fault.code == "upstream_timeout" else {}


def assert_complete(question: Question) -> None:
    """Assert that an answer is complete, has the requested name, and does not name the model that answered."""
    assert (question.status, question.ending) == (200, DONE)
    assert b"hello" in question.body
    assert question.format is TEXT or NAMES[0].encode() in question.body
    assert not [name for name in ("fallback", "their", "canary") if name.encode() in question.body]


def assert_refused(question: Question, fault: Fault) -> None:
    assert (question.status, question.ending) == (KINDS[fault.code].status, fault.code)
    assert question.headers.get("retry-after") == fault.retry_after
    assert b"canary" not in question.body


# -- the matrix


@pytest.mark.sampled
@pytest.mark.parametrize(("fault", "plan"), CELLS, ids=str)
async def test_before_the_first_event_a_failure_is_retried_or_goes_to_a_fallback(
    fault: Fault, plan: str, log: Log, closed_port: int
) -> None:
    faults = [fault, *PLANS[plan]]
    async with stage(*faults, closed_port=closed_port, entry=limits(fault)) as staged:
        questions = await staged.ask_in_each_form()
        await staged.wait_until_idle()
    attempted = faults[: faults.index(WORKS) + 1] if WORKS in faults else faults
    for question in questions:
        if WORKS in attempted:
            assert_complete(question)
        else:
            assert_refused(question, fault)
    heard = [len(FORMATS) if each.act else 0 for each in attempted]
    assert staged.calls == heard + [0] * (len(faults) - len(attempted))
    assert_logged(log, attempted)


def assert_logged(log: Log, attempted: Sequence[Fault]) -> None:
    """Assert that each answer has one log line, which contains each failed attempt that another one followed."""
    failed = [(name, fault.code) for name, fault in zip(NAMES, attempted, strict=False) if fault is not WORKS]
    assert [word for word, _ in log.lines] == ["answer"] * len(FORMATS)
    for _, line in log.lines:
        assert line["model"] == NAMES[0]
        assert line["ending"] == (DONE if WORKS in attempted else attempted[0].code)
        assert line.get("answered_by") == (NAMES[len(attempted) - 1] if WORKS in attempted else None)
        tried = [(each["model"], each["error"]) for each in line.get("tried", [])]
        assert tried == (failed if len(attempted) > 1 else [])
    assert "canary" not in log.text


@pytest.mark.parametrize("fault", LASTING, ids=str)
async def test_an_error_that_a_retry_cannot_change_is_reported_at_once(fault: Fault, log: Log) -> None:
    async with stage(fault, WORKS, entry={"retries": 2}) as staged:
        questions = await staged.ask_in_each_form()
    for question in questions:
        assert_refused(question, fault)
    assert staged.calls == [len(FORMATS), 0]
    assert_logged(log, [fault])


@pytest.mark.parametrize("fault", LATE, ids=str)
async def test_after_the_first_event_no_fallback_is_called(fault: Fault, log: Log) -> None:
    async with stage(fault, WORKS, entry={"retries": 2}) as staged:
        questions = await staged.ask_in_each_form()
        await staged.wait_until_idle()
    assert staged.calls == [len(FORMATS), 0]
    for question in questions:
        assert question.ending == ("aborted" if question.format is TEXT else fault.code)
        assert question.body.count(b"hello") == question.format.is_streamed
    assert_logged(log, [fault])


# -- retries


async def test_a_model_that_recovers_is_retried_and_no_fallback_is_called(log: Log) -> None:
    recovers = Fault("recovers", in_turn(reset, status(503), ANSWERS), "")
    async with stage(recovers, WORKS, entry={"retries": 2}) as staged, staged.ask(NDJSON) as question:
        assert_complete(await question.read())
    assert staged.calls == [3, 0]
    assert [each["error"] for each in log.only["tried"]] == ["upstream_error", "upstream_overloaded"]
    assert "answered_by" not in log.only


@pytest.mark.parametrize(("longest_s", "calls"), [(1, [2, 0]), (0.9, [1, 1])])
async def test_a_retry_waits_for_retry_after_if_the_settings_allow_it(
    longest_s: float, calls: list[int], log: Log
) -> None:
    waits = Fault("wants a pause", in_turn(status(429, Retry_After="1"), ANSWERS), "")
    settings: dict[str, Any] = {"CHAT_MAX_RETRY_WAIT_S": longest_s}
    async with stage(waits, WORKS, entry={"retries": 1}, **settings) as staged, staged.ask(NDJSON) as question:
        assert_complete(await question.read())
    assert staged.calls == calls
    assert (log.only["first_event_ms"] >= 1000) == (calls == [2, 0])


@pytest.mark.parametrize(("retries", "calls"), [(None, 3), (1, 2), (0, 1)])
async def test_the_number_of_retries_is_a_setting_unless_an_entry_has_its_own(retries: int | None, calls: int) -> None:
    fails = Fault("fails", status(500), "upstream_error")
    async with stage(fails, entry={"retries": retries}, CHAT_RETRIES=2) as staged, staged.ask(JSON) as question:
        assert_refused(await question.read(), fails)
    assert staged.calls == [calls]


# -- what is seen of it


async def test_a_fallback_may_start_after_the_status_timeout(log: Log) -> None:
    silent = Fault("sends no head", send_nothing, "upstream_timeout")
    settings: dict[str, Any] = {"CHAT_STATUS_TIMEOUT_S": 0.05, "CHAT_KEEP_ALIVE_S": 0.05}
    async with stage(silent, WORKS, entry=limits(silent), **settings) as staged:
        questions = await staged.ask_in_each_form()
    for question in questions:
        assert_complete(question)
        pings = question.body.count(question.format.ping) if question.format.has_records else 0
        assert (pings > 1) == question.format.has_records
    assert {line["answered_by"] for _, line in log.lines} == {NAMES[1]}


async def test_after_the_status_timeout_a_failure_of_all_is_reported_in_the_stream() -> None:
    silent = Fault("sends no head", send_nothing, "upstream_timeout")
    async with stage(silent, BUSY, entry=limits(silent), CHAT_STATUS_TIMEOUT_S=0.05) as staged:
        questions = await staged.ask_in_each_form()
    for question in questions:
        assert question.ending == "upstream_timeout"
        assert (question.status == 200) == question.format.has_records


async def test_all_attempts_together_have_the_time_of_one_answer(log: Log) -> None:
    """The last fallback is truncated by the time limit of the answer, whatever is left of its attempt's."""
    silent = Fault("sends no head", send_nothing, "upstream_timeout")
    async with stage(silent, silent, WORKS, entry=limits(silent), CHAT_FIRST_EVENT_TIMEOUT_S=2 * SILENCE_S) as staged:
        for question in await staged.ask_in_each_form():
            assert_refused(question, silent)
        await staged.wait_until_idle()
    assert staged.calls == [len(FORMATS), len(FORMATS), 0]
    assert {line["ending"] for _, line in log.lines} == {"upstream_timeout"}


async def test_each_server_gets_the_same_question_with_its_own_model_and_key() -> None:
    async with stage(ENDS, BREAKS_OFF, WORKS) as staged:
        await staged.ask_in_each_form([CHUNKS])
    requests = [upstream.requests[0] for upstream in staged.upstreams]
    assert [request.headers["authorization"] for request in requests] == [
        f"Bearer canary-key-of-{each}" for each in NAMES
    ]
    bodies = [request.json for request in requests]
    assert [body.pop("model") for body in bodies] == [f"their-{name}" for name in NAMES]
    assert bodies[0] == bodies[1] == bodies[2]


async def test_a_fallback_that_is_not_offered_cannot_be_requested() -> None:
    async with stage(ENDS, WORKS) as staged, Question(staged.app, NDJSON, NAMES[1]) as question:
        assert (await question.read()).ending == "model_not_found"
    assert staged.calls == [0, 0]


# -- disconnects

PAUSES = Fault("wants a pause", status(429, Retry_After="4"), "upstream_busy")
SILENT = Fault("sends no head", send_nothing, "upstream_timeout")
SENDS_TOKEN = Fault("sends a token", silent_after(streamed(TOKEN)), "upstream_timeout")

#: The faults of the model and its fallback, the number of requests that each then has, and those still open.
MOMENTS = {
    "while the model thinks": ((SILENT, WORKS), [1, 0], [1, 0]),
    "before it is asked again": ((PAUSES, WORKS), [1, 0], [0, 0]),
    "while the fallback sends nothing": ((ENDS, SILENT), [1, 1], [0, 1]),
    "while the fallback sends tokens": ((ENDS, SENDS_TOKEN), [1, 1], [0, 1]),
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_disconnect_ends_every_part_of_an_answer(moment: str, log: Log) -> None:
    faults, calls, answering = MOMENTS[moment]
    retries = 1 if faults[0] is PAUSES else 0
    async with (
        stage(*faults, entry={"retries": retries}, CHAT_STATUS_TIMEOUT_S=60) as staged,
        AsyncExitStack() as clients,
    ):
        questions = [await clients.enter_async_context(staged.ask(format)) for format in FORMATS]
        await eventually(lambda: staged.calls == [len(FORMATS) * each for each in calls])
        await eventually(lambda: staged.answering == [len(FORMATS) * each for each in answering])
        if SENDS_TOKEN in faults:
            await asyncio.gather(*(each.read_until(b"hello") for each in questions if each.format.is_streamed))
        await clients.aclose()
        await staged.wait_until_idle()
        await eventually(lambda: open_answers() == 0, within_s=1)
        assert staged.calls == [len(FORMATS) * each for each in calls]
    assert [line["ending"] for _, line in log.lines] == ["client_disconnected"] * len(FORMATS)


def open_answers() -> int:
    """Return the number of answers that a server still works on."""
    return sum("Run._pump" in repr(task.get_coro()) for task in asyncio.all_tasks())


# -- a real server, and models from a file


@pytest.fixture
def models_file(tmp_path: Path, closed_port: int, raw_upstream: RawUpstream) -> str:
    """Write a table of a model whose server is down, and of its fallback. Return its path."""
    path = tmp_path / "models.toml"
    path.write_text(
        f"""
        [models.{NAMES[0]}]
        kind = "compatible"
        base_url = "http://127.0.0.1:{closed_port}/v1"
        fallbacks = ["{NAMES[1]}"]
        retries = 0

        [models.{NAMES[1]}]
        kind = "compatible"
        base_url = "{raw_upstream.base_url}"
        offered = false
        """
    )
    return str(path)


@pytest.mark.parametrize("kind", ["hypercorn", "gunicorn", "quartapp"])
async def test_a_server_process_reads_its_models_from_a_file_and_uses_a_fallback(
    kind: str, servers: Servers, raw_upstream: RawUpstream, models_file: str
) -> None:
    server = servers.start(kind, CHAT_MODELS_FILE=models_file)

    async def read(format: Format) -> None:
        tag = secrets.token_hex(8)
        async with await RawClient.ask(server, "whole:3", tag, format, NAMES[0]) as client:
            assert (await client.read()).seen == "whole"
        assert client.body.count(b"token ") == 3
        [line] = await eventually(lambda: server.answer_lines(client_id=tag))
        assert (line["model"], line["answered_by"], line["ending"]) == (*NAMES[:2], DONE)
        assert [(each["model"], each["error"]) for each in line["tried"]] == [(NAMES[0], "upstream_error")]
        assert raw_upstream.requests(tag) == 1

    await in_each_format(read)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_disconnect_cancels_a_fallback_that_has_not_answered_yet(
    how: str, servers: Servers, raw_upstream: RawUpstream, models_file: str
) -> None:
    server = servers.start("hypercorn", CHAT_MODELS_FILE=models_file)

    async def disconnect(format: Format) -> None:
        tag = secrets.token_hex(8)
        async with await RawClient.ask(server, "no_head", tag, format, NAMES[0]) as client:
            exchange = await raw_upstream.exchange(tag)
            client.leave(how)
            async with asyncio.timeout(3):
                await asyncio.wrap_future(exchange.closed)
        [line] = await eventually(lambda: server.answer_lines(client_id=tag))
        assert (line["ending"], [each["model"] for each in line["tried"]]) == ("client_disconnected", [NAMES[0]])

    await in_each_format(disconnect)
    await eventually(lambda: server.upstream_connections(raw_upstream.port) == 0)
    assert "Traceback" not in server.log_text()
