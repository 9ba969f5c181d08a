"""A real Chromium: what `EventSource` and `fetch` make of an answer, and which pages may read one at all."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Error, Page, Request

from tests.support.conformance import CLIENTS, Client, chat_at, each, each_of, tried
from tests.support.serving import ROOT, Server, Servers, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "1 2 3 4 5"
CUT = "1 2 3"
USAGE = {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11, "cached_input_tokens": 0, "reasoning_tokens": 0}
CUTS = {"error": "fault-error-object", "dropped": "fault-drop", "truncated": "fault-no-finish"}

MEDIA_TYPES = {"text": "text/plain", "NDJSON": "application/x-ndjson", "SSE": "text/event-stream"}
FETCH = tuple(f"fetch in Chromium, {form}" for form in MEDIA_TYPES)
EVENT_SOURCE = "EventSource in Chromium"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context()
    context.set_default_timeout(20_000)
    await context.add_init_script(path=ROOT / "tests" / "node" / "page.js")
    yield context
    await context.close()


class Tab:
    """A page, and all that it asked for; `errors` are those that its scripts did not catch."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[Request] = []
        self.errors: list[Error] = []
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.errors.append(error))

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if urlsplit(request.url).path == path]

    async def listen(self, server: Server, model: str, enough: str | None = None) -> Any:
        query = urlencode({"message": "count to 5", "model": model})
        return await self.page.evaluate("([url, enough]) => listen(url, enough)", [f"{stream(server)}?{query}", enough])

    async def read(self, server: Server, model: str, accept: str, *more: Any) -> Any:
        body = {"message": "count to 5", "model": model}
        return await self.page.evaluate("(asked) => read(...asked)", [stream(server), accept, body, *more])


@pytest_asyncio.fixture(loop_scope="module")
async def tab(context: BrowserContext) -> AsyncIterator[Tab]:
    """A page of its own; none of its requests may leave the machine, and none of its scripts fail."""
    tab = Tab(await context.new_page())
    yield tab
    await tab.page.close()
    assert {urlsplit(request.url).hostname for request in tab.requests} == {"127.0.0.1"}
    assert tab.errors == []


@pytest.fixture(scope="module")
def chat(servers: Servers) -> Server:
    """A chat that nobody else asks, so that its answers can be counted."""
    return servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


@pytest.fixture
def at(chat: Server, servers: Servers, upstream: str) -> Callable[[str], Server]:
    return lambda model: chat_at(servers, upstream, model) if model in CUTS.values() else chat


def origin(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def stream(server: Server) -> str:
    return f"{origin(server)}/api/stream"


def accept(client: Client) -> str:
    return MEDIA_TYPES[client.name.partition(", ")[2]]


def records(body: str, media_type: str) -> list[dict[str, Any]]:
    """The records of a body; text counts as one delta."""
    if media_type == "text/plain":
        return [{"type": "delta", "text": body}]
    lines = body.split("\n")[:-1]
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("{", "data: "))]


def text(told: list[dict[str, Any]]) -> str:
    return "".join(record.get("text", "") for record in told)


# -- EventSource


@each("streamed", EVENT_SOURCE)
async def test_an_event_source_hears_a_whole_answer_asks_once_more_and_nobody_pays_twice(
    client: Client, tab: Tab, chat: Server
) -> None:
    await tab.page.goto(origin(chat))
    before = len(chat.answer_lines())
    heard = await tab.listen(chat, "mock-count")
    first, *deltas, last = heard["events"]
    assert (first["type"], first["record"]["type"]) == ("start", "start")
    assert {delta["type"] for delta in deltas} == {"message"}
    assert text([delta["record"] for delta in deltas]) == COUNT
    assert (last["type"], last["record"]["type"]) == ("end", "done")
    assert await statuses(tab) == [200, 204]
    assert [line["ending"] for line in chat.answer_lines()[before:]] == ["done"]


@each("usage", EVENT_SOURCE)
async def test_an_event_source_hears_the_usage(client: Client, tab: Tab, chat: Server) -> None:
    await tab.page.goto(origin(chat))
    heard = await tab.listen(chat, "mock-count", enough='"done"')
    assert heard["events"][-1]["record"]["usage"] == USAGE


async def test_an_event_source_hears_pings_by_their_name_and_no_empty_message(servers: Servers, tab: Tab) -> None:
    often = {"CHAT_STATUS_TIMEOUT_S": "0.05", "CHAT_KEEP_ALIVE_S": "0.05"}
    server = servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0", **often)
    await tab.page.goto(origin(server))
    heard = await tab.listen(server, "fault-slow-first-token:0.5", enough='"done"')
    kinds = [(event["type"], event["record"]["type"]) for event in heard["events"]]
    assert ("ping", "ping") in kinds
    assert {kind for kind in kinds if "ping" not in kind} == {("start", "start"), ("message", "delta"), ("end", "done")}
    assert text([event["record"] for event in heard["events"]]) == COUNT


@pytest.mark.parametrize("clients", [[client for case in CUTS for client in tried(case, EVENT_SOURCE)]], ids=[""])
async def test_event_sources_hear_of_cut_answers_and_do_not_ask_anew(
    clients: list[Client], tab: Tab, chat: Server
) -> None:
    """All at once, for an EventSource waits for seconds before it asks again."""
    await tab.page.goto(origin(chat))
    before = len(chat.answer_lines())
    all_heard = await asyncio.gather(*(tab.listen(chat, model) for model in CUTS.values()))
    for client, heard in zip(clients, all_heard, strict=True):
        *deltas, last = heard["events"]
        assert text([delta["record"] for delta in deltas]) == CUT
        assert (last["type"], f"{last['record']['type']} record") == ("end", client.cut)
    assert sorted(await statuses(tab)) == [200] * 3 + [204] * 3
    assert len(chat.answer_lines()[before:]) == 3


@each("429", EVENT_SOURCE)
async def test_an_event_source_that_is_refused_does_not_ask_again(client: Client, tab: Tab, chat: Server) -> None:
    await tab.page.goto(origin(chat))
    assert await tab.listen(chat, "fault-status:429") == {"opened": 0, "events": []}
    assert await statuses(tab) == [429]


@each("left", EVENT_SOURCE)
async def test_closing_an_event_source_ends_the_answer(client: Client, tab: Tab, chat: Server) -> None:
    await tab.page.goto(origin(chat))
    await tab.listen(chat, "fault-stall:4", enough=" 4")
    await eventually(lambda: chat.answer_lines(model="fault-stall:4", ending="reader_left"))


async def statuses(tab: Tab) -> list[int]:
    responses = [await request.response() for request in tab.asked("/api/stream")]
    return [response.status for response in responses if response]


# -- fetch


@each("streamed", *FETCH)
async def test_fetch_reads_a_whole_answer(client: Client, tab: Tab, chat: Server) -> None:
    await tab.page.goto(origin(chat))
    told = await tab.read(chat, "mock-count", accept(client))
    assert (told["status"], told.get("error")) == (200, None)
    assert text(records(told["body"], accept(client))) == COUNT


@each("usage", *FETCH)
async def test_fetch_reads_the_last_record(client: Client, tab: Tab, chat: Server) -> None:
    await tab.page.goto(origin(chat))
    told = await tab.read(chat, "mock-count", accept(client))
    last = records(told["body"], accept(client))[-1]
    assert last == {"type": "done", "finish_reason": "stop", "usage": USAGE}


@each_of(CUTS, *FETCH)
async def test_fetch_reads_of_a_cut_answer_that_it_is_one(
    client: Client, case: str, tab: Tab, at: Callable[[str], Server]
) -> None:
    server = at(CUTS[case])
    tag = f"{accept(client).replace('/', '-')}-{case}"
    await tab.page.goto(origin(server))
    told = await tab.read(server, CUTS[case], accept(client), {"X-Request-ID": tag})
    read = records(told["body"], accept(client))
    if accept(client) == "text/plain":
        # Chromium may forget what it has not handed over when the break comes.
        assert CUT.startswith(text(read))
        assert told["error"] == client.cut
    else:
        assert text(read) == CUT
        assert f"{read[-1]['type']} record" == client.cut
    assert len(server.answer_lines(client_id=tag)) == 1


@each("429", *FETCH)
async def test_fetch_reads_a_refusal(client: Client, tab: Tab, chat: Server) -> None:
    await tab.page.goto(origin(chat))
    told = await tab.read(chat, "fault-status:429", accept(client))
    assert (told["status"], json.loads(told["body"])["error"]["code"]) == (429, "upstream_busy")


WAYS = dict(zip(FETCH, ("abort", "cancel", "closing the tab"), strict=True))


@each("left", *FETCH)
async def test_a_reader_that_leaves_ends_the_answer(client: Client, tab: Tab, chat: Server) -> None:
    way = WAYS[client.name]
    tag = way.replace(" ", "-")
    await tab.page.goto(origin(chat))
    await tab.read(chat, "fault-stall:3", accept(client), {"X-Request-ID": tag}, "3", way)
    if way not in ("abort", "cancel"):
        await tab.page.close()
    await eventually(lambda: chat.answer_lines(client_id=tag, ending="reader_left"))


# -- pages from elsewhere


class Blank(BaseHTTPRequestHandler):
    """An empty page at each address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The origin of a page that is not the chat's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever, name="elsewhere")
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def open_chat(servers: Servers, elsewhere: str) -> Server:
    return servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0", CHAT_ORIGINS=elsewhere)


@each("streamed", *FETCH)
async def test_a_page_of_a_named_origin_reads_an_answer_and_its_id(
    client: Client, tab: Tab, open_chat: Server, elsewhere: str
) -> None:
    await tab.page.goto(elsewhere)
    told = await tab.read(open_chat, "mock-count", accept(client), {"X-Auth": "a-token"})
    assert text(records(told["body"], accept(client))) == COUNT
    assert told["id"] in [line["id"] for line in open_chat.answer_lines()]


@each("streamed", EVENT_SOURCE)
async def test_an_event_source_of_a_named_origin_hears_an_answer(
    client: Client, tab: Tab, open_chat: Server, elsewhere: str
) -> None:
    await tab.page.goto(elsewhere)
    heard = await tab.listen(open_chat, "mock-count", enough='"done"')
    assert text([event["record"] for event in heard["events"]]) == COUNT


@pytest.mark.parametrize("headers", [{}, {"X-Auth": "a-token"}], ids=["", "with a token"])
async def test_a_page_of_another_origin_reads_nothing_and_the_model_is_not_asked(
    headers: dict[str, str], tab: Tab, chat: Server, elsewhere: str
) -> None:
    await tab.page.goto(elsewhere)
    before = len(chat.answer_lines())
    told = await tab.read(chat, "mock-count", "text/plain", headers)
    assert told == {"body": "", "error": "TypeError"}
    assert await tab.listen(chat, "mock-count") == {"opened": 0, "events": []}
    await tab.page.goto(origin(chat))
    assert (await tab.read(chat, "mock-echo", "text/plain"))["status"] == 200
    assert [line["model"] for line in chat.answer_lines()[before:]] == ["mock-echo"]


async def test_a_page_of_another_origin_reads_no_error_either(tab: Tab, open_chat: Server, chat: Server) -> None:
    """It is named nowhere, and the chat's own page on another port is as foreign as any."""
    await tab.page.goto(origin(chat))
    told = await tab.read(open_chat, "fault-status:429", "text/plain")
    assert told["error"] == CLIENTS[FETCH[0]].cut


# -- the page


async def test_the_page_offers_the_models_by_name_and_asks_the_one_that_is_picked(servers: Servers, tab: Tab) -> None:
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


async def test_the_page_offers_no_choice_where_there_is_none(servers: Servers, tab: Tab) -> None:
    chat = servers.start("quartapp", CHAT_MODELS=json.dumps({"only": {"kind": "mock"}}))
    async with tab.page.expect_response("**/api/models") as listed:
        await tab.page.goto(origin(chat))
    await (await listed.value).finished()
    assert not await tab.page.get_by_label("Model").is_visible()
