"""Chromium for the pages of the examples."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable

import pytest_asyncio
from playwright.async_api import Browser

from tests.support.tabs import launched


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(needs: Callable[[str], str]) -> AsyncIterator[Browser]:
    async with launched(shutil.which("chromium-headless-shell") or needs("chromium")) as browser:
        yield browser
