"""The chat's page in a real Chromium, used as people use it: by the roles and names of its elements."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Locator, Page, Request, expect

from tests.support.serving import Server, Servers
from tests.support.tabs import MEDIA, PageRecord, new_context, tabs_of

#: The mock models by their names in the page. The first is the default.
MODELS = {
    "mock": "mock",
    "echoes": "mock-echo",
    "thinks": "mock-reasoning",
    "refuses": "mock-refusal",
    "calls": "mock-tool-call",
    "cut": "fault-length",
    "filtered": "fault-content-filter",
    "stalls": "fault-stall:3",
    "silent": "fault-slow-first-token:60",
    "slow": "fault-pauses:0.05",
    "drops": "fault-drop:3",
    "busy": "fault-status:429",
    "too-long": "fault-context-too-long",
}

DONE = {"type": "done", "finish_reason": "stop"}

#: An expression for the stored chats, as JSON. Another key of the store has the chosen model.
STORED_CHATS = 'Object.entries(localStorage).find(([key]) => !key.endsWith(" model"))[1]'

#: The console's message of a response with an error status, which tests expect.
IGNORED_MESSAGE = "Failed to load resource"


def page_server(servers: Servers, **more: str) -> Server:
    """Return the server of a chat that offers all `MODELS`, without a limit of tokens per second."""
    models = {name: {"kind": "mock", "model": model} for name, model in MODELS.items()}
    settings = {"CHAT_MODELS": json.dumps(models), "CHAT_MOCK_TOKENS_PER_S": "0", "CHAT_RETRIES": "0"}
    return servers.get("quartapp", **settings, **more)


class ChatPage:
    """The chat at `scope` of a page, by default its only one; `record` is of all chats of the page."""

    def __init__(self, page: Page, scope: Locator | None = None, record: PageRecord | None = None) -> None:
        self.page = page
        self.scope = scope or page.locator("quart-chat")
        self.record = record or PageRecord(page)
        self.tabs: list[ChatPage] = []

    def neighbour(self, selector: str) -> ChatPage:
        """Return another chat of the same page."""
        return ChatPage(self.page, self.page.locator(selector), self.record)

    async def new_tab(self) -> ChatPage:
        """Open a tab with the same stores; it is checked and closed with this one."""
        tab = ChatPage(await self.page.context.new_page())
        self.tabs.append(tab)
        return tab

    async def open(self, server: Server, path: str = "/") -> None:
        await self.page.goto(f"http://127.0.0.1:{server.port}{path}")
        await self.box.wait_for()

    async def reload(self) -> None:
        await self.page.reload()
        await self.box.wait_for()

    # -- elements

    @property
    def box(self) -> Locator:
        return self.scope.get_by_role("textbox", name="Your message", exact=True)

    @property
    def log(self) -> Locator:
        return self.scope.get_by_role("log", name="Conversation")

    @property
    def status(self) -> Locator:
        return self.scope.get_by_role("status")

    @property
    def turns(self) -> Locator:
        return self.log.get_by_role("article")

    def question(self, number: int = 0) -> Locator:
        return self.turns.nth(2 * number)

    def answer(self, number: int = 0) -> Locator:
        return self.turns.nth(2 * number + 1)

    def button(self, name: str) -> Locator:
        return self.scope.get_by_role("button", name=name, exact=True)

    def text(self, words: str) -> Locator:
        return self.scope.get_by_text(words)

    # -- actions

    async def choose(self, model: str) -> None:
        await self.scope.get_by_label("Model", exact=True).select_option(model)

    async def send(self, text: str) -> None:
        await self.box.fill(text)
        await self.button("Send").click()

    async def ask(self, text: str, model: str | None = None) -> None:
        """Send `text`, and wait until its answer has ended in any way."""
        if model:
            await self.choose(model)
        await self.send(text)
        await self.ended()

    async def answered(self, *records: Any, end: Any = DONE) -> None:
        """Send a question, and wait for the end of its answer, which has these records."""
        lines = [{"type": "start", "id": "1", "model": "fast"}, *records, end]
        answer = {"body": "".join(json.dumps(line) + "\n" for line in lines), "content_type": "application/x-ndjson"}
        await self.page.route("**/api/stream", lambda route: route.fulfill(**answer), times=1)
        await self.ask("What is a fox?")

    async def ended(self) -> None:
        await expect(self.button("Send")).to_be_visible()
        await expect(self.log.locator("[aria-busy]")).to_have_count(0)

    # -- results

    def posts(self) -> list[Request]:
        """Return the requests for an answer."""
        return [request for request in self.record.requests if request.method == "POST"]

    def bodies(self) -> list[Any]:
        """Return the bodies of the requests for an answer."""
        return [request.post_data_json for request in self.posts()]

    async def announcements(self) -> list[str]:
        """Return the texts of the status since `listen`."""
        texts: list[str] = await self.page.evaluate("globalThis.announced")
        return texts

    async def listen(self) -> None:
        """Start to record the texts of the status, which a screen reader announces."""
        await self.status.evaluate(
            """(status) => {
              globalThis.announced = [];
              new MutationObserver(() => announced.push(status.textContent))
                .observe(status, { childList: true, characterData: true, subtree: true });
            }"""
        )


@asynccontextmanager
async def opened(browser: Browser, *, fresh: bool = False, **options: Any) -> AsyncIterator[ChatPage]:
    """Open a tab with empty stores; none of its requests may leave the machine, and none of its scripts may fail.

    With `fresh`, or with `options` of Playwright's context that a page cannot change, no other test uses the tab.
    """
    is_own = fresh or not options.keys() <= {"viewport", *MEDIA}
    async with _new_tab(browser, options) if is_own else tabs_of(browser).tab(**options) as page:
        chat = ChatPage(page)
        yield chat
    for record in [chat.record, *(tab.record for tab in chat.tabs)]:
        record.close()
        assert record.places() <= {("http", "127.0.0.1"), ("data", None)}
        complaints = [text for text in record.errors + record.messages if not text.startswith(IGNORED_MESSAGE)]
        assert complaints == []


@asynccontextmanager
async def _new_tab(browser: Browser, options: dict[str, Any]) -> AsyncIterator[Page]:
    context = await new_context(browser, **options)
    try:
        yield await context.new_page()
    finally:
        await context.close()
