"""The fault matrix: each failure of an upstream, on each server, in each format; the reader always knows."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.raw_upstreams import RawUpstream
from tests.serving import CANARY_KEY, Reader, Server, Servers, asking, eventually

TEXT = "text/plain"
NDJSON = "application/x-ndjson"

FIRST_EVENT_S = 1.0
IDLE_S = 1.0
ANSWER_S = 3.0
LIMITS = {
    "CHAT_GATE_S": "0.5",
    "CHAT_FIRST_EVENT_TIMEOUT_S": str(FIRST_EVENT_S),
    "CHAT_IDLE_TIMEOUT_S": str(IDLE_S),
    "CHAT_ANSWER_TIMEOUT_S": str(ANSWER_S),
    "CHAT_MAX_ANSWER_BYTES": "262144",
    "CHAT_MAX_UPSTREAM_LINE_BYTES": "16384",
}

# After the finish_reason the rest is waited for so long, whatever the limits.
TAIL_S = 2.0

# The reader knows so long after the event, or after the limit that makes it one.
KNOWS_WITHIN_S = 1.0


@dataclass(frozen=True)
class Fault:
    """What the upstream does, the code it must be told as, and the limit in seconds that passes first, if one does."""

    prompt: str
    code: str
    status: int = 502
    after_s: float = 0


#: Nothing of an answer has come: the status can still tell.
BEFORE_THE_FIRST_EVENT = [
    Fault("reset_at_once", "upstream_error"),
    Fault("reset:0", "upstream_error"),
    Fault("half_headers", "upstream_error"),
    Fault("not_http", "upstream_error"),
    Fault("endless_headers", "upstream_error"),
    Fault("end_in_chunk:0", "upstream_error"),
    Fault("end_early:0", "upstream_truncated"),
    Fault("done_early:0", "upstream_truncated"),
    Fault("error_object:0", "upstream_error"),
    Fault("garbage:0", "upstream_error"),
    Fault("endless_line:0", "upstream_error"),
    Fault("endless_error", "upstream_error"),
    Fault("status:400", "upstream_refused"),
    Fault("status:401", "upstream_refused"),
    Fault("status:429", "upstream_busy", 429),
    Fault("status:500", "upstream_error"),
    Fault("status:503", "upstream_overloaded", 503),
    Fault("status:529", "upstream_overloaded", 503),
]

#: Nothing has come until a limit passes, the gate before it.
SILENT_FROM_THE_START = [
    Fault("no_head", "upstream_timeout", 504, FIRST_EVENT_S),
    Fault("stall:0", "upstream_timeout", 504, FIRST_EVENT_S),
    Fault("comments:0", "upstream_timeout", 504, FIRST_EVENT_S),
]

#: The reader has read tokens: NDJSON has a record for the failure, text/plain is broken off.
AFTER_THE_FIRST_EVENT = [
    Fault("reset:2", "upstream_error"),
    Fault("end_in_chunk:2", "upstream_error"),
    Fault("end_early:2", "upstream_truncated"),
    Fault("done_early:2", "upstream_truncated"),
    Fault("error_object:2", "upstream_error"),
    Fault("garbage:2", "upstream_error"),
    Fault("endless_line:2", "upstream_error"),
    Fault("endless_body:2", "upstream_error"),
    Fault("stall:2", "upstream_timeout", after_s=IDLE_S),
    Fault("comments:2", "deadline_exceeded", after_s=ANSWER_S),
    Fault("trickle", "deadline_exceeded", after_s=ANSWER_S),
]

each_server = pytest.mark.parametrize("kind", ["hypercorn", "gunicorn"])
each_format = pytest.mark.parametrize("accept", [TEXT, NDJSON])


def each_fault(faults: list[Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults, ids=[fault.prompt for fault in faults])


@pytest.fixture
async def app(kind: str, servers: Servers, raw_upstream: RawUpstream) -> Server:
    return await _warm(servers.get(kind, **asking(raw_upstream.base_url), **LIMITS))


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A port that refuses connections and that nobody else can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def _warm(server: Server) -> Server:
    """The server after a first answer, which opens what stays open."""
    async with await Reader.ask(server, "whole:1", secrets.token_hex(8)) as reader:
        await reader.read()
    return server


@asynccontextmanager
async def nothing_left(server: Server, upstream_port: int = 0) -> AsyncIterator[None]:
    """Nothing that was opened inside is open a moment later, and the log holds no traceback."""
    files, said = server.open_fds(), len(server.log_text())
    yield
    await eventually(lambda: server.upstream_connections(upstream_port) == 0)
    await eventually(lambda: server.open_fds() <= files)
    assert "Traceback" not in server.log_text()[said:]


async def assert_logged_once(server: Server, reader: Reader, ending: str) -> None:
    """One line of an answer, under the id that the client was given."""
    lines = await eventually(lambda: server.answer_lines(id=reader.headers["x-request-id"]))
    assert [line["ending"] for line in lines] == [ending]


def assert_refused(reader: Reader, fault: Fault) -> None:
    assert reader.is_whole
    assert (reader.status, reader.headers["content-type"]) == (fault.status, "application/json")
    error = reader.json["error"]
    assert (error["code"], error["id"]) == (fault.code, reader.headers["x-request-id"])
    assert ("retry-after" in reader.headers) == (fault.status in (429, 503))


def assert_told_whole(reader: Reader, accept: str) -> None:
    assert (reader.status, reader.is_whole) == (200, True)
    if accept == NDJSON:
        assert [record["type"] for record in reader.records if record["type"] in ("done", "error")] == ["done"]
        assert reader.records[-1]["type"] == "done"


def assert_told_not_whole(reader: Reader, accept: str, fault: Fault) -> None:
    """A status of 200 had gone out: the body's end says that it is no whole answer."""
    assert reader.status == 200
    if accept == TEXT:
        assert not reader.is_whole
        return
    assert reader.is_whole
    assert [record["type"] for record in reader.records if record["type"] in ("done", "error")] == ["error"]
    assert (reader.records[-1]["code"], reader.records[-1]["id"]) == (fault.code, reader.headers["x-request-id"])


@each_server
@each_format
@each_fault(BEFORE_THE_FIRST_EVENT)
async def test_a_failure_before_the_first_event_has_a_true_status(
    app: Server, raw_upstream: RawUpstream, accept: str, fault: Fault
) -> None:
    tag = secrets.token_hex(8)
    async with nothing_left(app, raw_upstream.port):
        async with await Reader.ask(app, fault.prompt, tag, accept) as reader:
            async with asyncio.timeout(KNOWS_WITHIN_S):
                await reader.read()
        assert_refused(reader, fault)
        await assert_logged_once(app, reader, fault.code)
    exchange = await raw_upstream.exchange(tag)
    assert exchange.headers["authorization"] == f"Bearer {CANARY_KEY}"
    assert raw_upstream.requests(tag) == 1


@each_server
@each_format
async def test_an_upstream_that_refuses_connections_is_a_502(
    kind: str, servers: Servers, closed_port: int, accept: str
) -> None:
    app = await _warm(servers.get(kind, **asking(f"http://127.0.0.1:{closed_port}/v1"), **LIMITS))
    async with nothing_left(app, closed_port):
        async with await Reader.ask(app, "whole:1", secrets.token_hex(8), accept) as reader:
            async with asyncio.timeout(KNOWS_WITHIN_S):
                await reader.read()
        assert_refused(reader, Fault("refused", "upstream_error"))
        await assert_logged_once(app, reader, "upstream_error")


@each_server
@each_format
@each_fault(SILENT_FROM_THE_START)
async def test_silence_from_the_start_is_told_in_the_status_or_past_the_gate_in_a_record(
    app: Server, raw_upstream: RawUpstream, accept: str, fault: Fault
) -> None:
    async with nothing_left(app, raw_upstream.port):
        async with await Reader.ask(app, fault.prompt, secrets.token_hex(8), accept) as reader:
            async with asyncio.timeout(fault.after_s + KNOWS_WITHIN_S):
                await reader.read()
        if accept == TEXT:
            assert_refused(reader, fault)
        else:
            assert_told_not_whole(reader, accept, fault)
            assert [record["type"] for record in reader.records[:2]] == ["start", "ping"]
        await assert_logged_once(app, reader, fault.code)


@each_server
@each_format
@each_fault(AFTER_THE_FIRST_EVENT)
async def test_a_failure_after_the_first_event_cannot_be_taken_for_the_end(
    app: Server, raw_upstream: RawUpstream, accept: str, fault: Fault
) -> None:
    tag = secrets.token_hex(8)
    async with nothing_left(app, raw_upstream.port):
        async with await Reader.ask(app, fault.prompt, tag, accept) as reader:
            await reader.read_until(b"token ")
            (await raw_upstream.exchange(tag)).go()
            async with asyncio.timeout(fault.after_s + KNOWS_WITHIN_S):
                await reader.read()
        assert_told_not_whole(reader, accept, fault)
        await assert_logged_once(app, reader, fault.code)
    assert raw_upstream.requests(tag) == 1


@each_server
@each_format
@pytest.mark.parametrize("prompt", ["whole:3", "finish_stall:3", "finish_reset:3"])
async def test_an_answer_is_whole_once_it_has_its_finish_reason(
    app: Server, raw_upstream: RawUpstream, accept: str, prompt: str
) -> None:
    tag = secrets.token_hex(8)
    async with nothing_left(app, raw_upstream.port):
        async with await Reader.ask(app, prompt, tag, accept) as reader:
            (await raw_upstream.exchange(tag)).go()
            async with asyncio.timeout(TAIL_S + KNOWS_WITHIN_S):
                await reader.read()
        assert_told_whole(reader, accept)
        await assert_logged_once(app, reader, "done")


#: The embedded model, in the app's own process and asked by name: a failure there has no connection to be seen on.
EMBEDDED_BEFORE = [
    Fault("fault-drop:0", "upstream_error"),
    Fault("fault-no-finish:0", "upstream_truncated"),
    Fault("fault-no-finish-done:0", "upstream_truncated"),
    Fault("fault-error-object:0", "upstream_error"),
    Fault("fault-garbage:0", "upstream_error"),
    Fault("fault-endless-line", "upstream_error"),
    Fault("fault-endless-error", "upstream_error"),
    Fault("fault-redirect", "upstream_error"),
    Fault("fault-html:502", "upstream_error"),
    Fault("fault-empty:500", "upstream_error"),
    Fault("fault-context-too-long", "context_too_long", 400),
    Fault("fault-content-filtered", "content_filtered", 400),
    Fault("fault-status:429", "upstream_busy", 429),
    Fault("fault-status:503", "upstream_overloaded", 503),
]
EMBEDDED_AFTER = [
    Fault("fault-drop:3", "upstream_error"),
    Fault("fault-no-finish:3", "upstream_truncated"),
    Fault("fault-no-finish-done:3", "upstream_truncated"),
    Fault("fault-error-object:3", "upstream_error"),
    Fault("fault-garbage:3", "upstream_error"),
    Fault("fault-endless-body", "upstream_error"),
    Fault("fault-stall:3", "upstream_timeout", after_s=IDLE_S),
]
EMBEDDED_WHOLE = ["fault-no-done", "fault-drop-after-finish", "fault-garbage-line:3", "fault-slow-end:1.5"]


@pytest.fixture
async def embedded_app(kind: str, servers: Servers) -> Server:
    """An app without key and server."""
    server = servers.get(kind, CHAT_EMBEDDED_TOKENS_PER_S="0", **LIMITS)
    async with await Reader.ask(server, "count to 1", secrets.token_hex(8)) as reader:
        await reader.read()
    return server


@each_server
@each_format
@each_fault(EMBEDDED_BEFORE)
async def test_the_embedded_models_early_faults_have_a_true_status(
    embedded_app: Server, accept: str, fault: Fault
) -> None:
    async with nothing_left(embedded_app):
        reader = await read_model(embedded_app, fault, accept)
        assert_refused(reader, fault)
        await assert_logged_once(embedded_app, reader, fault.code)


@each_server
@each_format
@each_fault(EMBEDDED_AFTER)
async def test_the_embedded_models_late_faults_cannot_be_taken_for_the_end(
    embedded_app: Server, accept: str, fault: Fault
) -> None:
    async with nothing_left(embedded_app):
        reader = await read_model(embedded_app, fault, accept)
        assert_told_not_whole(reader, accept, fault)
        await assert_logged_once(embedded_app, reader, fault.code)


@each_server
@each_format
@pytest.mark.parametrize("model", EMBEDDED_WHOLE)
async def test_the_embedded_models_harmless_faults_leave_the_answer_whole(
    embedded_app: Server, accept: str, model: str
) -> None:
    async with nothing_left(embedded_app):
        reader = await read_model(embedded_app, Fault(model, "done", after_s=TAIL_S), accept)
        assert_told_whole(reader, accept)
        await assert_logged_once(embedded_app, reader, "done")


async def read_model(server: Server, fault: Fault, accept: str) -> Reader:
    """The whole reply of the model that the fault names."""
    tag = secrets.token_hex(8)
    async with await Reader.ask(server, "count to 5", tag, accept, model=fault.prompt) as reader:
        async with asyncio.timeout(fault.after_s + KNOWS_WITHIN_S):
            return await reader.read()


@each_format
async def test_the_embedded_model_on_a_port_of_its_own_drops_the_same_way(
    servers: Servers, upstream: str, accept: str
) -> None:
    server = servers.get("hypercorn", **(asking(upstream) | {"CHAT_MODEL": "fault-drop:3"}))
    reader = await read_model(server, Fault("fault-drop:3", "upstream_error"), accept)
    assert_told_not_whole(reader, accept, Fault("fault-drop:3", "upstream_error"))
    await assert_logged_once(server, reader, "upstream_error")
