"""Chromium, the servers of the pages, and the chat on a page."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.pages import ChatPage, opened, page_server
from tests.support.serving import Server, Servers
from tests.support.tabs import discard_open_tabs, launched


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Let no test use a tab in which another one has failed."""
    report = yield
    if report.failed:
        discard_open_tabs()
    return report


@pytest.fixture(scope="session")
def chromium(needs: Callable[[str], str]) -> str:
    """The path of Chromium, of the build without windows if there is one: it needs a quarter of the time for a page."""
    return shutil.which("chromium-headless-shell") or needs("chromium")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with launched(chromium) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return page_server(servers)


@pytest.fixture(scope="module")
def host(servers: Servers) -> Server:
    """An app with a page of its own for two chats, of which one requires a token."""
    return servers.get("hypercorn", "foreign_page:app")


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, server: Server) -> AsyncIterator[ChatPage]:
    async with opened(browser) as chat:
        await chat.open(server)
        yield chat
