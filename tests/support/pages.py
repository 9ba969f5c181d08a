"""The chat's page in a real Chromium, used as a reader uses it: by the roles and names of what is on it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page, Request, async_playwright, expect

from tests.support.serving import Server, Servers

CLOSED = ["--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]

#: Every way an answer can go, by the name it is chosen by; the first is the one that answers unless another is.
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

#: What axe and the like may not find, and no console may say, is collected of each page.
IGNORED_MESSAGE = "Failed to load resource"


def page_server(servers: Servers, **more: str) -> Server:
    """A chat with all these models, as fast as they are."""
    models = {name: {"kind": "mock", "model": model} for name, model in MODELS.items()}
    settings = {"CHAT_MODELS": json.dumps(models), "CHAT_MOCK_TOKENS_PER_S": "0", "CHAT_RETRIES": "0"}
    return servers.get("quartapp", **settings, **more)


@asynccontextmanager
async def launched(path: str) -> AsyncIterator[Browser]:
    """Chromium without a way to any name or address but this machine's own."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path, args=CLOSED)
        yield chromium
        await chromium.close()


class ChatPage:
    """A page with one chat on it, or the chat in `scope`, and all that the page asked for and complained of."""

    def __init__(self, page: Page, scope: Locator | None = None) -> None:
        self.page = page
        self.scope = scope or page.locator("quart-chat")
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text))

    async def open(self, server: Server, path: str = "/") -> None:
        await self.page.goto(f"http://127.0.0.1:{server.port}{path}")
        await self.box.wait_for()

    async def reload(self) -> None:
        await self.page.reload()
        await self.box.wait_for()

    # -- what is on it

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

    # -- what is done with it

    async def choose(self, model: str) -> None:
        await self.scope.get_by_label("Model", exact=True).select_option(model)

    async def send(self, text: str) -> None:
        await self.box.fill(text)
        await self.button("Send").click()

    async def ask(self, text: str, model: str | None = None) -> None:
        """Asks, and waits until the answer has ended, however it did."""
        if model:
            await self.choose(model)
        await self.send(text)
        await self.ended()

    async def answered(self, *records: Any, end: Any = DONE) -> None:
        """Asks, and waits until the answer has ended, of which these are the records."""
        lines = [{"type": "start", "id": "1", "model": "fast"}, *records, end]
        answer = {"body": "".join(json.dumps(line) + "\n" for line in lines), "content_type": "application/x-ndjson"}
        await self.page.route("**/api/stream", lambda route: route.fulfill(**answer), times=1)
        await self.ask("What is a fox?")

    async def ended(self) -> None:
        await expect(self.button("Send")).to_be_visible()
        await expect(self.log.locator("[aria-busy]")).to_have_count(0)

    # -- what came of it

    def asked(self) -> list[Any]:
        """The bodies of the requests for an answer."""
        return [request.post_data_json for request in self.requests if request.method == "POST"]

    async def announcements(self) -> list[str]:
        """What the status has said since `listen`."""
        said: list[str] = await self.page.evaluate("globalThis.announced")
        return said

    async def listen(self) -> None:
        """Begins to note what is said to those who do not see the page."""
        await self.status.evaluate(
            """(status) => {
              globalThis.announced = [];
              new MutationObserver(() => announced.push(status.textContent))
                .observe(status, { childList: true, characterData: true, subtree: true });
            }"""
        )


@asynccontextmanager
async def opened(browser: Browser, **options: Any) -> AsyncIterator[ChatPage]:
    """A page with a store of its own; none of its requests leaves the machine, and nothing on it fails."""
    context = await browser.new_context(**options)
    context.set_default_timeout(10_000)
    chat = ChatPage(await context.new_page())
    yield chat
    await context.close()
    places = {(urlsplit(request.url).scheme, urlsplit(request.url).hostname) for request in chat.requests}
    assert places <= {("http", "127.0.0.1"), ("data", None)}
    complaints = [said for said in chat.complaints if not said.startswith(IGNORED_MESSAGE)]
    assert complaints == [], complaints
