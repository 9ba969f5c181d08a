"""`EventSource` and `fetch` in a real Chromium: the answers that they read, and the pages that may read one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.conformance import CLIENTS, Client, chat_at, each, each_of, tried
from tests.support.loopback import Loopback, reply
from tests.support.serving import ROOT, Server, Servers, eventually
from tests.support.tabs import PageRecord, Tabs

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "1 2 3 4 5"
PARTIAL = "1 2 3"
USAGE = {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11, "cached_input_tokens": 0, "reasoning_tokens": 0}
FAULTS = {"error": "fault-error-object", "dropped": "fault-drop", "truncated": "fault-no-finish"}

MEDIA_TYPES = {"text": "text/plain", "NDJSON": "application/x-ndjson", "SSE": "text/event-stream"}
FETCH = tuple(f"fetch in Chromium, {form}" for form in MEDIA_TYPES)
EVENT_SOURCE = "EventSource in Chromium"


@pytest.fixture(scope="module")
def tabs(browser: Browser) -> Tabs:
    return Tabs(browser, ROOT / "tests" / "node" / "page.js")


class ClientPage:
    """A page whose `EventSource` and `fetch` read answers."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.record = PageRecord(page)

    async def listen(self, server: Server, model: str, enough: str | None = None) -> Any:
        """Return the events of an `EventSource`, which is closed after one that contains `enough`."""
        query = urlencode({"message": "count to 5", "model": model})
        return await self.page.evaluate("([url, enough]) => listen(url, enough)", [f"{stream(server)}?{query}", enough])

    async def read(self, server: Server, model: str, accept: str, *more: Any) -> Any:
        """Return the status, the id and the body of a response, and the name of the error that ended it."""
        body = {"message": "count to 5", "model": model}
        return await self.page.evaluate("(given) => read(...given)", [stream(server), accept, body, *more])

    async def statuses(self) -> list[int]:
        """Return the statuses of the responses with answers."""
        responses = [await request.response() for request in self.record.requests_to("/api/stream")]
        return [response.status for response in responses if response]


@pytest_asyncio.fixture(loop_scope="module")
async def tab(tabs: Tabs) -> AsyncIterator[ClientPage]:
    """An empty page; none of its requests may leave the machine, and none of its scripts may fail."""
    async with tabs.tab() as page:
        tab = ClientPage(page)
        yield tab
    tab.record.close()
    assert {host for _, host in tab.record.places()} == {"127.0.0.1"}
    assert tab.record.errors == []


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    """A chat with no other clients, so that its answers can be counted."""
    return servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


@pytest.fixture
def at(server: Server, servers: Servers, upstream: str) -> Callable[[str], Server]:
    return lambda model: chat_at(servers, upstream, model) if model in FAULTS.values() else server


def origin(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def stream(server: Server) -> str:
    return f"{origin(server)}/api/stream"


def accept(client: Client) -> str:
    return MEDIA_TYPES[client.name.partition(", ")[2]]


def records(body: str, media_type: str) -> list[dict[str, Any]]:
    """Return the records of a body; text counts as one delta."""
    if media_type == "text/plain":
        return [{"type": "delta", "text": body}]
    lines = body.split("\n")[:-1]
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("{", "data: "))]


def text(records: list[dict[str, Any]]) -> str:
    return "".join(record.get("text", "") for record in records)


# -- EventSource


@each("streamed", EVENT_SOURCE)
async def test_an_event_source_reads_a_complete_answer_and_its_reconnection_is_not_billed(
    client: Client, tab: ClientPage, server: Server
) -> None:
    await tab.page.goto(origin(server))
    before = len(server.answer_lines())
    result = await tab.listen(server, "mock-count")
    first, *deltas, last = result["events"]
    assert (first["type"], first["record"]["type"]) == ("start", "start")
    assert {delta["type"] for delta in deltas} == {"message"}
    assert text([delta["record"] for delta in deltas]) == COUNT
    assert (last["type"], last["record"]["type"]) == ("end", "done")
    assert await tab.statuses() == [200, 204]
    assert [line["ending"] for line in server.answer_lines()[before:]] == ["done"]


@each("usage", EVENT_SOURCE)
async def test_an_event_source_reads_the_usage(client: Client, tab: ClientPage, server: Server) -> None:
    await tab.page.goto(origin(server))
    result = await tab.listen(server, "mock-count", enough='"done"')
    assert result["events"][-1]["record"]["usage"] == USAGE


async def test_an_event_source_receives_pings_by_name_and_no_empty_message(servers: Servers, tab: ClientPage) -> None:
    often = {"CHAT_STATUS_TIMEOUT_S": "0.05", "CHAT_KEEP_ALIVE_S": "0.05"}
    server = servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0", **often)
    await tab.page.goto(origin(server))
    result = await tab.listen(server, "fault-slow-first-token:0.5", enough='"done"')
    kinds = [(event["type"], event["record"]["type"]) for event in result["events"]]
    assert ("ping", "ping") in kinds
    assert {kind for kind in kinds if "ping" not in kind} == {("start", "start"), ("message", "delta"), ("end", "done")}
    assert text([event["record"] for event in result["events"]]) == COUNT


@pytest.mark.parametrize("clients", [[client for case in FAULTS for client in tried(case, EVENT_SOURCE)]], ids=[""])
async def test_event_sources_receive_the_error_of_a_truncated_answer_and_call_no_model_again(
    clients: list[Client], tab: ClientPage, server: Server
) -> None:
    """Run them together, because an EventSource waits for seconds before it reconnects."""
    await tab.page.goto(origin(server))
    before = len(server.answer_lines())
    results = await asyncio.gather(*(tab.listen(server, model) for model in FAULTS.values()))
    for client, result in zip(clients, results, strict=True):
        *deltas, last = result["events"]
        assert text([delta["record"] for delta in deltas]) == PARTIAL
        assert (last["type"], f"{last['record']['type']} record") == ("end", client.cut)
    assert sorted(await tab.statuses()) == [200] * 3 + [204] * 3
    assert len(server.answer_lines()[before:]) == 3


@each("429", EVENT_SOURCE)
async def test_an_event_source_does_not_retry_after_an_error_status(
    client: Client, tab: ClientPage, server: Server
) -> None:
    await tab.page.goto(origin(server))
    assert await tab.listen(server, "fault-status:429") == {"opened": 0, "events": []}
    assert await tab.statuses() == [429]


@each("left", EVENT_SOURCE)
async def test_closing_an_event_source_ends_the_answer(client: Client, tab: ClientPage, server: Server) -> None:
    await tab.page.goto(origin(server))
    await tab.listen(server, "fault-stall:4", enough=" 4")
    await eventually(lambda: server.answer_lines(model="fault-stall:4", ending="client_disconnected"))


# -- fetch


@each("streamed", *FETCH)
async def test_fetch_reads_a_complete_answer(client: Client, tab: ClientPage, server: Server) -> None:
    await tab.page.goto(origin(server))
    result = await tab.read(server, "mock-count", accept(client))
    assert (result["status"], result.get("error")) == (200, None)
    assert text(records(result["body"], accept(client))) == COUNT


@each("usage", *FETCH)
async def test_fetch_reads_the_last_record(client: Client, tab: ClientPage, server: Server) -> None:
    await tab.page.goto(origin(server))
    result = await tab.read(server, "mock-count", accept(client))
    last = records(result["body"], accept(client))[-1]
    assert last == {"type": "done", "finish_reason": "stop", "usage": USAGE}


@each_of(FAULTS, *FETCH)
async def test_fetch_reads_the_error_of_a_truncated_answer(
    client: Client, case: str, tab: ClientPage, at: Callable[[str], Server]
) -> None:
    server = at(FAULTS[case])
    tag = f"{accept(client).replace('/', '-')}-{case}"
    await tab.page.goto(origin(server))
    result = await tab.read(server, FAULTS[case], accept(client), {"X-Request-ID": tag})
    read = records(result["body"], accept(client))
    if accept(client) == "text/plain":
        # Chromium may drop what the page has not read when the connection breaks.
        assert PARTIAL.startswith(text(read))
        assert result["error"] == client.cut
    else:
        assert text(read) == PARTIAL
        assert f"{read[-1]['type']} record" == client.cut
    assert len(server.answer_lines(client_id=tag)) == 1


@each("429", *FETCH)
async def test_fetch_reads_an_error_status(client: Client, tab: ClientPage, server: Server) -> None:
    await tab.page.goto(origin(server))
    result = await tab.read(server, "fault-status:429", accept(client))
    assert (result["status"], json.loads(result["body"])["error"]["code"]) == (429, "upstream_busy")


WAYS = dict(zip(FETCH, ("abort", "cancel", "closing the tab"), strict=True))


@each("left", *FETCH)
async def test_a_client_that_disconnects_ends_the_answer(client: Client, tab: ClientPage, server: Server) -> None:
    way = WAYS[client.name]
    tag = way.replace(" ", "-")
    await tab.page.goto(origin(server))
    await tab.read(server, "fault-stall:3", accept(client), {"X-Request-ID": tag}, "3", way)
    if way not in ("abort", "cancel"):
        await tab.page.close()
    await eventually(lambda: server.answer_lines(client_id=tag, ending="client_disconnected"))


# -- pages of other origins


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def elsewhere() -> AsyncIterator[str]:
    """The origin of an empty page that is not the chat's."""
    async with Loopback(reply(headers={"Content-Type": "text/html"})) as server:
        yield server.origin


@pytest.fixture(scope="module")
def open_chat(servers: Servers, elsewhere: str) -> Server:
    return servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0", CHAT_ORIGINS=elsewhere)


@each("streamed", *FETCH)
async def test_a_page_of_a_listed_origin_reads_an_answer_and_its_id(
    client: Client, tab: ClientPage, open_chat: Server, elsewhere: str
) -> None:
    await tab.page.goto(elsewhere)
    result = await tab.read(open_chat, "mock-count", accept(client), {"X-Auth": "a-token"})
    assert text(records(result["body"], accept(client))) == COUNT
    assert result["id"] in [line["id"] for line in open_chat.answer_lines()]


@each("streamed", EVENT_SOURCE)
async def test_an_event_source_of_a_listed_origin_reads_an_answer(
    client: Client, tab: ClientPage, open_chat: Server, elsewhere: str
) -> None:
    await tab.page.goto(elsewhere)
    result = await tab.listen(open_chat, "mock-count", enough='"done"')
    assert text([event["record"] for event in result["events"]]) == COUNT


@pytest.mark.parametrize("headers", [{}, {"X-Auth": "a-token"}], ids=["", "with a token"])
async def test_a_page_of_another_origin_reads_nothing_and_calls_no_model(
    headers: dict[str, str], tab: ClientPage, server: Server, elsewhere: str
) -> None:
    await tab.page.goto(elsewhere)
    before = len(server.answer_lines())
    result = await tab.read(server, "mock-count", "text/plain", headers)
    assert result == {"body": "", "error": "TypeError"}
    assert await tab.listen(server, "mock-count") == {"opened": 0, "events": []}
    await tab.page.goto(origin(server))
    assert (await tab.read(server, "mock-echo", "text/plain"))["status"] == 200
    assert [line["model"] for line in server.answer_lines()[before:]] == ["mock-echo"]


async def test_a_page_of_another_origin_reads_no_error(tab: ClientPage, open_chat: Server, server: Server) -> None:
    """An origin is foreign also if it is another port of the same host."""
    await tab.page.goto(origin(server))
    result = await tab.read(open_chat, "fault-status:429", "text/plain")
    assert result["error"] == CLIENTS[FETCH[0]].cut


# -- the page


async def test_the_page_lists_the_models_by_name_and_uses_the_selected_one(servers: Servers, tab: ClientPage) -> None:
    models = {"counts": {"kind": "mock", "model": "mock-count"}, "echoes": {"kind": "mock"}}
    hidden = {"spare": {"kind": "mock", "offered": False}}
    chat = servers.start("quartapp", CHAT_MODELS=json.dumps(models | hidden), CHAT_MOCK_TOKENS_PER_S="0")
    await tab.page.goto(origin(chat))
    choice = tab.page.get_by_label("Model")
    await choice.wait_for()
    assert await choice.locator("option").all_inner_texts() == ["counts (default)", "counts", "echoes"]
    for name, label in (("counts", "counts (default)"), ("echoes", "echoes")):
        await choice.select_option(label=label)
        await tab.page.get_by_label("Your message").fill("count to 5")
        await tab.page.get_by_role("button", name="Send").click()
        await eventually(partial(chat.answer_lines, model=name, ending="done"))


async def test_the_page_shows_no_choice_of_one_model(servers: Servers, tab: ClientPage) -> None:
    chat = servers.start("quartapp", CHAT_MODELS=json.dumps({"only": {"kind": "mock"}}))
    async with tab.page.expect_response("**/api/models") as listed:
        await tab.page.goto(origin(chat))
    await (await listed.value).finished()
    assert not await tab.page.get_by_label("Model").is_visible()
