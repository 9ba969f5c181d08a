"""What goes wrong with a model's server, and what a client sees of it in each format: the data of the fault matrix."""

from __future__ import annotations

import secrets
from asyncio import timeout
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.http_client import Endpoint, RawClient, all_of, in_each_format
from tests.support.raw_upstreams import RawUpstream
from tests.support.serving import CANARY_KEY, Server, eventually
from tests.support.wire_formats import CHUNKS, COMPLETION, DONE, JSON, NDJSON, SSE, SSE_GET, TEXT, UI, Format

FIRST_EVENT_S = 1.5
IDLE_S = 1.0
ANSWER_S = 3.0
LIMITS = {
    "CHAT_RETRIES": "0",
    "CHAT_STATUS_TIMEOUT_S": "1",
    "CHAT_FIRST_EVENT_TIMEOUT_S": str(FIRST_EVENT_S),
    "CHAT_IDLE_TIMEOUT_S": str(IDLE_S),
    "CHAT_ANSWER_TIMEOUT_S": str(ANSWER_S),
    "CHAT_MAX_ANSWER_BYTES": "262144",
    "CHAT_MAX_UPSTREAM_LINE_BYTES": "16384",
}

# After the finish_reason the rest is waited for so long, whatever the limits.
TAIL_S = 2.0

# The client knows so long after the event, or after the limit that makes it one.
KNOWS_WITHIN_S = 1.0

#: After these OpenAI's clients must not ask again: the answer may have been billed, or the request fails again.
NOT_TO_BE_RETRIED = (
    "upstream_refused",
    "upstream_error",
    "upstream_truncated",
    "upstream_timeout",
    "deadline_exceeded",
    "internal_error",
)


class Phase(Enum):
    """How far the answer has come; `SILENT`: not even an event, and the gate has passed."""

    EARLY = "before its first event"
    SILENT = "from the start"
    LATE = "in mid-answer"
    WHOLE = "after its `finish_reason`"


@dataclass(frozen=True)
class Fault:
    """A fault of the upstream, in a few words too, and the code of its error.

    `after_s` is the limit that passes first, if one does.
    """

    phase: Phase
    does: str
    prompt: str
    code: str
    after_s: float = 0

    @property
    def status(self) -> int:
        return KINDS[self.code].status

    @property
    def row(self) -> str:
        return f"{self.does} {self.phase.value}"


def faults(phase: Phase, does: str, code: str, *prompts: str, after_s: float = 0) -> list[Fault]:
    """Return a fault for each of `prompts`, with the same code."""
    return [Fault(phase, does, prompt, code, after_s) for prompt in prompts]


FAULTS: Sequence[Fault] = [
    *faults(
        Phase.EARLY, "aborts", "upstream_error",
        "reset_at_once", "reset:0", "half_headers", "end_in_chunk:0",
    ),
    *faults(Phase.EARLY, "ends", "upstream_truncated", "end_early:0", "done_early:0"),
    *faults(
        Phase.EARLY, "sends garbage or too much", "upstream_error",
        "not_http", "endless_headers", "garbage:0", "endless_line:0", "endless_error",
    ),
    *faults(Phase.EARLY, "reports a failure", "upstream_error", "error_object:0", "status:500"),
    *faults(Phase.EARLY, "refuses the request", "upstream_refused", "status:400", "status:401"),
    *faults(Phase.EARLY, "reports that it is busy", "upstream_busy", "status:429"),
    *faults(Phase.EARLY, "reports that it is overloaded", "upstream_overloaded", "status:503", "status:529"),
    *faults(
        Phase.SILENT, "sends nothing", "upstream_timeout",
        "no_head", "stall:0", "comments:0", after_s=FIRST_EVENT_S,
    ),
    *faults(Phase.LATE, "aborts", "upstream_error", "reset:2", "end_in_chunk:2"),
    *faults(Phase.LATE, "ends", "upstream_truncated", "end_early:2", "done_early:2"),
    *faults(
        Phase.LATE, "sends garbage or too much", "upstream_error",
        "garbage:2", "endless_line:2", "endless_body:2",
    ),
    *faults(Phase.LATE, "reports a failure", "upstream_error", "error_object:2"),
    *faults(Phase.LATE, "goes silent", "upstream_timeout", "stall:2", after_s=IDLE_S),
    *faults(Phase.LATE, "takes too long", "deadline_exceeded", "comments:2", "trickle", after_s=ANSWER_S),
    *faults(Phase.WHOLE, "aborts or never ends", DONE, "finish_reset:3", "finish_stall:3", after_s=TAIL_S),
    *faults(Phase.WHOLE, "ends as it should", DONE, "whole:3"),
]  # fmt: skip


def of_phase(phase: Phase, faults: Sequence[Fault] = FAULTS) -> list[Fault]:
    return [fault for fault in faults if fault.phase is phase]


#: One of each row, for what need not be tried with every way there is to break off.
REPRESENTATIVES = list({fault.row: fault for fault in reversed(FAULTS)}.values())[::-1]


def expected(fault: Fault, format: Format, *, over_http_1_0: bool = False) -> str:
    """What a client of `format` must see, as `RawClient.seen` says it.

    Over HTTP/1.0 the end of a body is the end of its connection, and text/plain has nothing else to tell an end by.
    """
    if fault.phase is Phase.WHOLE:
        return "whole"
    has_status = fault.phase is Phase.EARLY or (fault.phase is Phase.SILENT and not format.has_records)
    if has_status or not format.is_streamed:
        return str(fault.status)
    if format.has_records:
        return "error"
    return "whole" if over_http_1_0 else "aborted"


# -- one fault, read and judged


async def check_each_form(
    endpoint: Endpoint, server: Server, upstream: RawUpstream, faults: Sequence[Fault], *, over_http_1_0: bool = False
) -> None:
    """Check each of `faults` in all formats, with `server` at `endpoint`, and that nothing is left afterwards."""

    async def check(fault: Fault, format: Format) -> None:
        client = await read_fault(endpoint, upstream, fault, format)
        await assert_seen(server, client, fault, over_http_1_0=over_http_1_0)

    async with nothing_left(server, upstream.port):
        await of_each_fault(check, faults)


async def of_each_fault(check: Callable[[Fault, Format], Awaitable[None]], faults: Sequence[Fault]) -> None:
    """Run `check` for all `faults` in all formats. Faults that end at a limit of time wait for it together.

    The rest run in turn, because each takes the server for a moment, and a client has one second.
    """

    async def check_fault(fault: Fault) -> None:
        await in_each_format(lambda format: check(fault, format))

    for fault in faults:
        if not fault.after_s:
            await all_of(check_fault, [fault], _named)
    await all_of(check_fault, [fault for fault in faults if fault.after_s], _named)


def _named(fault: Fault) -> str:
    return f"fault {fault.prompt}"


async def assert_seen(server: Server, client: RawClient, fault: Fault, *, over_http_1_0: bool = False) -> None:
    """The reply shows what happened as far as its format can, and the log has one line for it under the same id."""
    wanted = expected(fault, client.format, over_http_1_0=over_http_1_0)
    assert client.seen == wanted, f"{client.seen}, not {wanted}: {client.body!r}"
    assert_reported(client, fault)
    lines = await eventually(lambda: server.answer_lines(id=client.headers["x-request-id"]))
    assert [line["ending"] for line in lines] == [fault.code]


async def read_fault(endpoint: Endpoint, upstream: RawUpstream, fault: Fault, format: Format) -> RawClient:
    """The reply to a question that the upstream answers with `fault`, known to its client soon after it happened."""
    tag = secrets.token_hex(8)
    async with await RawClient.ask(endpoint, fault.prompt, tag, format) as client:
        exchange = await upstream.exchange(tag)
        if fault.phase is Phase.LATE and format.is_streamed:
            await client.read_until(b"token ")
        exchange.go()
        async with timeout(fault.after_s + KNOWS_WITHIN_S):
            await client.read()
    assert exchange.request.headers["authorization"] == f"Bearer {CANARY_KEY}"
    assert upstream.requests(tag) == 1
    assert fault.phase is not Phase.WHOLE or client.body.count(b"token ") == 3
    return client


def assert_reported(client: RawClient, fault: Fault) -> None:
    """The code stands wherever there is room for it, in a refusal of ours with the id and in any with its headers."""
    if client.status == 200:
        assert client.ending in (fault.code, None)
        return
    assert client.is_whole
    assert (client.refused, client.headers["content-type"]) == (fault.code, client.format.refusal_type)
    assert client.format in (CHUNKS, COMPLETION, UI) or client.headers["x-request-id"].encode() in client.body
    assert ("retry-after" in client.headers) == (fault.status in (429, 503) or fault.prompt == "status:500")
    must_not_retry = client.format in (CHUNKS, COMPLETION) and fault.code in NOT_TO_BE_RETRIED
    assert client.headers.get("x-should-retry") == ("false" if must_not_retry else None)


@asynccontextmanager
async def nothing_left(server: Server, upstream_port: int = 0) -> AsyncIterator[None]:
    """Nothing that was opened inside is open a moment later, and the log holds no traceback."""
    files, logged = server.open_fds(), len(server.log_text())
    yield
    await eventually(lambda: server.upstream_connections(upstream_port) == 0)
    await eventually(lambda: server.open_fds() <= files)
    assert "Traceback" not in server.log_text()[logged:]


async def warm(server: Server, prompt: str = "whole:1", model: str | None = None) -> Server:
    """The server after a first answer in each format, which opens what stays open."""

    async def ask(format: Format) -> None:
        async with await RawClient.ask(server, prompt, secrets.token_hex(8), format, model) as client:
            await client.read()

    await in_each_format(ask)
    return server


# -- the table in the docs

COLUMNS: Mapping[str, Sequence[Format]] = {
    "`text/plain`": [TEXT],
    "NDJSON": [NDJSON],
    "SSE": [SSE, SSE_GET],
    "JSON": [JSON],
    "`/v1` streamed": [CHUNKS],
    "`/v1` whole": [COMPLETION],
    "`/api/ui`": [UI],
}


def table() -> str:
    """Return the matrix in Markdown; faults with the same words share a row, and must share its cells."""
    head = ["the model's server …", *COLUMNS]
    rows = {fault.row: [fault.row, *(_cell(fault.row, formats) for formats in COLUMNS.values())] for fault in FAULTS}
    lines = [head, ["---"] * len(head), *rows.values()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: str, formats: Sequence[Format]) -> str:
    [cell] = {_seen_in_docs(fault, format) for fault in FAULTS if fault.row == row for format in formats}
    return cell


def _seen_in_docs(fault: Fault, format: Format) -> str:
    seen, over_http_1_0 = expected(fault, format), expected(fault, format, over_http_1_0=True)
    return seen if seen == over_http_1_0 else f"{seen} (1.0: {over_http_1_0})"
