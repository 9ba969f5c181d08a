"""The pages of the examples in Chromium: what a user sees of an answer, and what axe finds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page, Request, Route, expect

from tests.support.pages import IGNORED_MESSAGE
from tests.support.serving import ROOT, Server, eventually
from tests.support.tabs import PageRecord, new_context

AXE = ROOT / "tests" / "node" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


MODELS = ("mock", "fault-drop:3", "fault-status:429", "fault-length", "fault-stall:3")


def settings_of_models(upstream: str) -> dict[str, str]:
    """Return the settings of a chat with `MODELS` of the mock model at `upstream`, for `ExamplePage.choose`."""
    models = {name: {"kind": "compatible", "base_url": upstream, "model": name} for name in MODELS}
    return {"CHAT_MODELS": json.dumps(models), "CHAT_RETRIES": "0"}


class ExamplePage:
    """A page with a conversation, a box for the question, and the buttons Ask and Stop."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.record = PageRecord(page)

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Your question")

    @property
    def log(self) -> Locator:
        return self.page.get_by_role("log", name="Conversation")

    @property
    def status(self) -> Locator:
        return self.page.get_by_role("status")

    def answer(self, number: int = 0) -> Locator:
        return self.log.locator(".answer").nth(number)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def open(self, server: Server) -> None:
        await self.page.goto(f"http://127.0.0.1:{server.port}/")
        await self.box.wait_for()

    async def choose(self, model: str) -> None:
        """Add the name of a model to each request below /ai from now on."""

        async def add(route: Route) -> None:
            body: dict[str, Any] = route.request.post_data_json or {}
            await route.continue_(post_data=json.dumps({**body, "model": model}))

        await self.page.route("**/ai/api/*", add)

    async def send(self, question: str) -> None:
        await self.box.fill(question)
        await self.button("Ask").click()

    async def ask(self, question: str) -> None:
        """Send `question`, and wait until its answer has ended in any way."""
        await self.send(question)
        await expect(self.status).not_to_have_text("Answering…")
        await expect(self.button("Ask")).to_be_visible()

    async def stopped_at(self, text: str, server: Server, upstream: str) -> None:
        """Click Stop once the first answer is `text`, and wait until the connection to the upstream is closed."""
        port = int(urlsplit(upstream).port or 0)
        await expect(self.answer()).to_have_text(text)
        assert server.upstream_connections(port) == 1
        await self.button("Stop").click()
        await expect(self.button("Ask")).to_be_visible()
        await eventually(lambda: server.upstream_connections(port) == 0)

    def posts(self) -> Sequence[Request]:
        """Return the requests for an answer."""
        return [request for request in self.record.requests if request.method == "POST"]

    def conversations(self) -> list[Any]:
        """Return the messages of each request for an answer."""
        return [json.loads(post.post_data or "")["messages"] for post in self.posts()]

    async def faults(self) -> list[Any]:
        """Return what axe finds, from outside of the page's policy."""
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = await self.page.evaluate("(tags) => axe.run({ runOnly: tags })", TAGS)
        self.record.messages.clear()  # the console reports the inline styles of axe
        width = await self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        return [
            *((fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found["violations"]),
            *([("wider than the screen", width)] if width else []),
        ]


@asynccontextmanager
async def opened_example(browser: Browser, server: Server, **options: Any) -> AsyncIterator[ExamplePage]:
    """Open the example's page. None of its requests may leave the machine, and none of its scripts may fail."""
    context = await new_context(browser, **options)
    try:
        example = ExamplePage(await context.new_page())
        await example.open(server)
        yield example
    finally:
        await context.close()
    assert example.record.places() <= {("http", "127.0.0.1"), ("data", None)}
    complaints = [text for text in example.record.messages if not text.startswith(IGNORED_MESSAGE)]
    found = example.record.errors + complaints
    assert found == [], found
