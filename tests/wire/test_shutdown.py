"""The end of the process: open answers end with a word to their clients, and nothing holds the end up."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys

import pytest

from tests.support.http_client import RawClient
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import Server, Servers, eventually, upstream_settings
from tests.support.upstream_scripts import ScriptedExchange
from tests.support.wire_formats import FORMATS, NDJSON, TEXT, Format

REPORTED_WITHIN_S = 1.0
ENDS_WITHIN_S = 10.0

# gunicorn.conf.py takes 5 s of it to stop, hypercorn has 3 s by default.
GRACEFUL_S = 6
CANCELLED_WITHIN_S = 20.0

each_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)


@pytest.fixture
def server(servers: Servers, raw_upstream: RawUpstream) -> Server:
    return servers.start("quartapp", **upstream_settings(raw_upstream.base_url))


async def open_answer(server: Server, upstream: RawUpstream, prompt: str, format: Format) -> tuple[RawClient, str]:
    """Return a client with its tag. It has read a token, if the prompt makes one and the format shows it."""
    tag = secrets.token_hex(8)
    client = await RawClient.ask(server, prompt, tag, format)
    exchange = await upstream.exchange(tag)
    if prompt != "no_head":
        await (client.read_until(b"token ") if format.is_streamed else asyncio.wrap_future(exchange.has_sent))
    return client, tag


async def assert_ends_well(server: Server, tags: list[str], ending: str) -> None:
    assert await server.exit_code(ENDS_WITHIN_S) == 0
    assert [line["ending"] for tag in tags for line in server.answer_lines(client_id=tag)] == [ending] * len(tags)
    assert "Traceback" not in server.log_text()


@each_signal
async def test_open_answers_end_with_shutting_down(
    number: signal.Signals, server: Server, raw_upstream: RawUpstream
) -> None:
    prompts = [("no_head", "503"), ("stall:1", "error"), ("trickle", "error")]
    answers = [
        (*await open_answer(server, raw_upstream, prompt, format), seen)
        for prompt, seen in prompts
        for format in FORMATS
    ]
    server.signal(number)
    async with asyncio.timeout(REPORTED_WITHIN_S):
        await asyncio.gather(*(client.read() for client, _, _ in answers))
    for client, tag, seen in answers:
        assert_reported(client, seen)
        async with asyncio.timeout(REPORTED_WITHIN_S):
            await asyncio.wrap_future((await raw_upstream.exchange(tag)).closed)
        await client.close()
    await assert_ends_well(server, [tag for _, tag, _ in answers], "shutting_down")


def assert_reported(client: RawClient, seen: str) -> None:
    """Return the ending that the format can show: a status before the first token or for one object, a record later."""
    if seen == "503" or not client.format.is_streamed:
        assert (client.seen, client.refused) == ("503", "shutting_down")
        assert "retry-after" in client.headers
    elif client.format is TEXT:
        assert client.seen == "aborted"
    else:
        assert (client.seen, client.ending) == ("error", "shutting_down")


@each_signal
async def test_a_client_that_reads_nothing_does_not_delay_the_shutdown(
    number: signal.Signals, server: Server, raw_upstream: RawUpstream
) -> None:
    tag = secrets.token_hex(8)
    async with await RawClient.ask(server, "endless_body:1", tag, receive_buffer_bytes=4096) as client:
        await client.read_until(b"token ")
        client.stop_taking()
        exchange = await raw_upstream.exchange(tag)
        exchange.go()
        server.signal(number)
        async with asyncio.timeout(REPORTED_WITHIN_S):
            await asyncio.wrap_future(exchange.closed)
        assert await server.exit_code(ENDS_WITHIN_S) == 0
    assert len(server.answer_lines(client_id=tag)) == 1
    assert "Traceback" not in server.log_text()


@each_signal
async def test_an_idle_connection_does_not_delay_the_shutdown(number: signal.Signals, server: Server) -> None:
    async with await RawClient.ask(server, "whole:1", secrets.token_hex(8), connection="keep-alive") as client:
        assert (await client.read()).is_whole
        await eventually(lambda: server.answer_lines(ending="done"))
        server.signal(number)
        assert await server.exit_code(ENDS_WITHIN_S) == 0
    assert "Traceback" not in server.log_text()


async def test_an_answer_with_its_finish_reason_is_complete_even_then(
    server: Server, raw_upstream: RawUpstream
) -> None:
    client, tag = await open_answer(server, raw_upstream, "finish_stall:1", NDJSON)
    async with client:
        server.signal(signal.SIGTERM)
        async with asyncio.timeout(REPORTED_WITHIN_S):
            await client.read()
        assert client.records[-1]["type"] == "done"
    await assert_ends_well(server, [tag], "done")


# -- servers that cancel what is open


async def assert_each_format_reports_it(server: Server, upstream: RawUpstream, number: signal.Signals) -> None:
    answers = [await open_answer(server, upstream, "trickle", format) for format in FORMATS]
    server.signal(number)
    async with asyncio.timeout(CANCELLED_WITHIN_S):
        await asyncio.gather(*(client.read() for client, _ in answers))
    for client, tag in answers:
        assert_reported(client, "error")
        await client.close()
        lines = await eventually(lambda tag=tag: server.answer_lines(client_id=tag))  # type: ignore[misc]
        assert [line["ending"] for line in lines] == ["shutting_down"]
    assert "Traceback" not in server.log_text()


@pytest.mark.skipif(sys.version_info >= (3, 12, 1), reason="hypercorn 0.18 waits for open answers without a limit here")
async def test_hypercorn_ends_open_answers_with_an_error_before_it_cancels_them(
    servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = servers.start("bare hypercorn", **upstream_settings(raw_upstream.base_url))
    await assert_each_format_reports_it(server, raw_upstream, signal.SIGTERM)
    assert await server.exit_code(CANCELLED_WITHIN_S) == 0
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_gunicorn_ends_open_answers_with_an_error_before_it_kills_a_worker(
    number: signal.Signals, servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = servers.start(
        "gunicorn", **upstream_settings(raw_upstream.base_url), GUNICORN_CMD_ARGS=f"--graceful-timeout {GRACEFUL_S}"
    )
    await assert_each_format_reports_it(server, raw_upstream, number)


@each_signal
async def test_a_client_with_a_full_connection_causes_no_traceback(
    number: signal.Signals, server: Server, raw_upstream: RawUpstream
) -> None:
    tag = secrets.token_hex(8)
    async with await RawClient.ask(server, "endless_body:1", tag, receive_buffer_bytes=4096) as client:
        await client.read_until(b"token ")
        client.stop_taking()
        exchange = await raw_upstream.exchange(tag)
        exchange.go()
        await eventually(Stuck(exchange).is_stuck, 20)
        server.signal(number)
        assert await server.exit_code(3 * ENDS_WITHIN_S) == 0
    assert len(server.answer_lines(client_id=tag)) == 1
    assert "Traceback" not in server.log_text()


class Stuck:
    """Finds that an upstream's bytes have not moved for 20 looks in a row."""

    def __init__(self, exchange: ScriptedExchange) -> None:
        self._exchange = exchange
        self._seen: list[int] = []

    def is_stuck(self) -> bool:
        self._seen.append(self._exchange.sent_bytes)
        return len(self._seen) > 20 and len(set(self._seen[-20:])) == 1
