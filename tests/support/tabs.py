"""Tabs of a browser, which tests use one after another, and the requests and errors of the page in a tab."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from playwright.async_api import Browser, BrowserContext, Error, Page, Request, ViewportSize, async_playwright

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
LOOPBACK_ONLY = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
TIMEOUT_MS = 20_000
VIEWPORT: ViewportSize = {"width": 1280, "height": 720}
#: The media of a new context.
MEDIA: Mapping[str, Any] = {
    "media": "null",
    "color_scheme": "light",
    "forced_colors": "none",
    "reduced_motion": "no-preference",
}
BLANK = "about:blank"

# A page that is left may store what it shows; that has to fail, or the next test would find it.
FORGET = """() => {
  Storage.prototype.setItem = () => {};
  localStorage.clear();
  sessionStorage.clear();
}"""

#: The tabs of the running test that another test may have.
_OPEN: set[Page] = set()


@asynccontextmanager
async def launched(path: str, resolver_rules: str = LOOPBACK_ONLY) -> AsyncIterator[Browser]:
    """Start the Chromium at `path`. By default it connects to no name and no address but 127.0.0.1."""
    async with async_playwright() as playwright:
        arguments = [*ARGUMENTS, f"--host-resolver-rules={resolver_rules}"]
        chromium = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        await chromium.close()


class PageRecord:
    """The requests of a page, the errors that its scripts did not catch, and the messages of its console."""

    def __init__(self, page: Page) -> None:
        self.requests: list[Request] = []
        self.errors: list[str] = []
        self.messages: list[str] = []
        self._page = page
        page.on("request", self._add_request)
        page.on("pageerror", self._add_error)
        page.on("console", self._add_message)

    def requests_to(self, path: str) -> list[Request]:
        return [request for request in self.requests if urlsplit(request.url).path == path]

    def places(self) -> set[tuple[str, str | None]]:
        """Return the scheme and the host of each request."""
        return {(parts.scheme, parts.hostname) for parts in (urlsplit(request.url) for request in self.requests)}

    def close(self) -> None:
        self._page.remove_listener("request", self._add_request)
        self._page.remove_listener("pageerror", self._add_error)
        self._page.remove_listener("console", self._add_message)

    def _add_request(self, request: Request) -> None:
        self.requests.append(request)

    def _add_error(self, error: Error) -> None:
        self.errors.append(str(error))

    def _add_message(self, message: Any) -> None:
        self.messages.append(message.text)


class Tabs:
    """Tabs of `browser`, each with a context of its own. A new tab costs twice the CPU time of a used one.

    A used tab shows an empty page and has empty stores. It has no routes and no other tabs.
    Init scripts, clocks, permissions and sessions of DevTools stay: a test that adds them needs a context of its own.
    `script` is run in each document before its own scripts.
    """

    def __init__(self, browser: Browser, script: Path | None = None) -> None:
        self._browser = browser
        self._script = script
        self._idle: list[Page] = []

    @asynccontextmanager
    async def tab(self, viewport: ViewportSize = VIEWPORT, **media: Any) -> AsyncIterator[Page]:
        """Open an empty page, for example with `color_scheme="dark"`.

        A record of the page has to be read and closed after the `async with`, because its stores are emptied there.
        """
        page = self._idle.pop() if self._idle else await self._new()
        await page.set_viewport_size(viewport)
        await page.emulate_media(**{**MEDIA, **media})
        origins: set[str] = set()

        def add_origin(request: Request) -> None:
            if request.is_navigation_request():
                origins.add(origin(request.url))

        page.context.on("request", add_origin)
        _OPEN.add(page)
        is_clean = False
        try:
            yield page
            if page in _OPEN and not page.is_closed() and origins <= {origin(page.url)}:
                await _clean(page)
                is_clean = True
        finally:
            page.context.remove_listener("request", add_origin)
            _OPEN.discard(page)
            if is_clean:
                self._idle.append(page)
            else:
                await page.context.close()

    async def _new(self) -> Page:
        context = await new_context(self._browser, viewport=VIEWPORT)
        if self._script:
            await context.add_init_script(path=self._script)
        return await context.new_page()


async def new_context(browser: Browser, **options: Any) -> BrowserContext:
    context = await browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_MS)
    return context


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def _clean(page: Page) -> None:
    for other in page.context.pages:
        if other is not page:
            await other.close()
    await page.unroute_all(behavior="ignoreErrors")
    await page.context.unroute_all(behavior="ignoreErrors")
    await page.context.set_offline(False)
    if page.url != BLANK:
        await page.evaluate(FORGET)
        await page.goto(BLANK)
    await page.context.clear_cookies()
    await page.mouse.move(-1, -1)  # or something of the next page would be hovered over


_TABS: WeakKeyDictionary[Browser, Tabs] = WeakKeyDictionary()


def tabs_of(browser: Browser) -> Tabs:
    """Return the tabs without a script, which all tests of `browser` share."""
    return _TABS.setdefault(browser, Tabs(browser))


def discard_open_tabs() -> None:
    """Close the open tabs after use, because the test has failed and may have left anything in them."""
    _OPEN.clear()
