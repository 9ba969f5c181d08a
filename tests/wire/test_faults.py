"""The fault matrix: each failure of an upstream, on each server, in each format; the client always knows."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import Iterator

import pytest

from tests.support.faults import (
    COLUMNS,
    IDLE_S,
    KNOWS_WITHIN_S,
    LIMITS,
    TAIL_S,
    Fault,
    Phase,
    assert_seen,
    check_each_form,
    faults,
    nothing_left,
    of_each_fault,
    of_phase,
    table,
    warm,
)
from tests.support.http_client import RawClient, in_each_format
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import ROOT, Server, Servers, upstream_settings
from tests.support.wire_formats import DONE, FORMATS, Format

each_server = pytest.mark.parametrize("kind", ["hypercorn", "gunicorn"])
each_phase = pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)


@each_server
@each_phase
async def test_each_format_shows_whether_an_answer_is_complete(
    kind: str, phase: Phase, servers: Servers, raw_upstream: RawUpstream
) -> None:
    server = await warm(servers.get(kind, **upstream_settings(raw_upstream.base_url), **LIMITS))
    await check_each_form(server, server, raw_upstream, of_phase(phase))


async def test_the_table_in_the_docs_matches_the_assertions() -> None:
    page = (ROOT / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- faults -->\n(.*?)<!-- /faults -->", page, re.DOTALL)
    assert found is not None
    assert table() in found[1]
    assert [format for formats in COLUMNS.values() for format in formats] == list(FORMATS)


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """Reserve a port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@each_server
async def test_an_upstream_that_refuses_connections_is_a_502(kind: str, servers: Servers, closed_port: int) -> None:
    server = await warm(servers.get(kind, **upstream_settings(f"http://127.0.0.1:{closed_port}/v1"), **LIMITS))
    [refused] = faults(Phase.EARLY, "refuses connections", "upstream_error", "whole:1")
    async with nothing_left(server, closed_port):
        await in_each_format(lambda format: check_reply(server, refused, format))


#: In its own process a model's tokens cost more than those of a server.
MOCK_LIMITS = LIMITS | {"CHAT_MAX_ANSWER_BYTES": "32768"}

#: The mock model in the app's own process, by name: its failures have no connection to watch.
MOCK = [
    *faults(Phase.EARLY, "breaks off", "upstream_error", "fault-drop:0", "fault-empty:500", "fault-html:502"),
    *faults(Phase.EARLY, "ends", "upstream_truncated", "fault-no-finish:0", "fault-no-finish-done:0"),
    *faults(
        Phase.EARLY, "sends garbage or too much", "upstream_error",
        "fault-error-object:0", "fault-garbage:0", "fault-endless-line", "fault-endless-error", "fault-redirect",
    ),
    *faults(Phase.EARLY, "has no room", "context_too_long", "fault-context-too-long"),
    *faults(Phase.EARLY, "filters", "content_filtered", "fault-content-filtered"),
    *faults(Phase.EARLY, "is busy", "upstream_busy", "fault-status:429"),
    *faults(Phase.EARLY, "is overloaded", "upstream_overloaded", "fault-status:503"),
    *faults(Phase.LATE, "breaks off", "upstream_error", "fault-drop:3", "fault-error-object:3"),
    *faults(Phase.LATE, "ends", "upstream_truncated", "fault-no-finish:3", "fault-no-finish-done:3"),
    *faults(Phase.LATE, "sends garbage or too much", "upstream_error", "fault-garbage:3", "fault-endless-body"),
    *faults(Phase.LATE, "falls silent", "upstream_timeout", "fault-stall:3", after_s=IDLE_S),
    *faults(
        Phase.WHOLE, "is rude", DONE,
        "fault-no-done", "fault-drop-after-finish", "fault-garbage-line:3", "fault-slow-end:1.5", after_s=TAIL_S,
    ),
]  # fmt: skip


@each_server
@pytest.mark.parametrize("phase", [Phase.EARLY, Phase.LATE, Phase.WHOLE], ids=lambda phase: phase.value)
async def test_the_mock_models_faults_are_reported_as_those_of_a_server(
    kind: str, phase: Phase, servers: Servers
) -> None:
    server = servers.get(kind, CHAT_MOCK_TOKENS_PER_S="0", **MOCK_LIMITS)
    await warm(server, "count to 1", "mock")
    async with nothing_left(server):
        await of_each_fault(
            lambda fault, format: check_reply(server, fault, format, model=fault.prompt), of_phase(phase, MOCK)
        )


async def test_the_mock_model_on_a_port_of_its_own_drops_the_same_way(servers: Servers, upstream: str) -> None:
    server = servers.get("hypercorn", **(upstream_settings(upstream) | {"CHAT_MODEL": "fault-drop:3"}))
    [dropped] = faults(Phase.LATE, "breaks off", "upstream_error", "fault-drop:3")
    await in_each_format(lambda format: check_reply(server, dropped, format, model="fault-drop:3"))


async def check_reply(server: Server, fault: Fault, format: Format, model: str | None = None) -> None:
    """Return the response to a question that fails without a connection to watch."""
    async with await RawClient.ask(server, "count to 5", secrets.token_hex(8), format, model) as client:
        async with asyncio.timeout(fault.after_s + KNOWS_WITHIN_S):
            await client.read()
    await assert_seen(server, client, fault)
