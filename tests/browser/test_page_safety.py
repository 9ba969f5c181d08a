"""Hostile answers and hostile content of the store on the page: nothing runs, nothing loads.

At the end of each test, a request to another host or a violation of the policy fails it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.pages import ChatPage, opened, page_server
from tests.support.serving import ROOT, Servers
from tests.support.xss import FIRE, PAYLOADS

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Gets each text echoed, and returns the elements of the answers that no answer may contain.
ECHO = """async (texts) => {
  const chat = document.querySelector("quart-chat");
  const frame = () => new Promise(requestAnimationFrame);
  const found = [];
  for (const text of texts) {
    chat.newChat();
    const answered = new Promise((resolve) => chat.addEventListener("chat-answer", resolve, { once: true }));
    chat.ask(text);
    if ((await answered).detail.text !== text.trim()) found.push(`another text: ${text}`);
    await frame();
    found.push(...offences(chat.shadowRoot.querySelector(".prose")));
  }
  return found;
}"""


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, servers: Servers) -> AsyncIterator[ChatPage]:
    async with opened(browser, fresh=True) as chat:
        await chat.page.add_init_script(path=ROOT / "tests" / "node" / "markdown.js")
        await chat.open(page_server(servers))
        await chat.choose("echoes")
        yield chat


async def test_no_hostile_answer_runs_or_loads_anything_or_hides_a_host(chat: ChatPage) -> None:
    assert await chat.page.evaluate(ECHO, list(PAYLOADS.values())) == []
    assert await chat.page.evaluate("globalThis.__fired") is None
    assert await chat.page.evaluate(f"{FIRE}, globalThis.__fired") == 1  # it would have been seen


async def test_nothing_of_it_runs_when_a_chat_is_opened_again_or_listed(chat: ChatPage) -> None:
    for payload in list(PAYLOADS.values())[::4]:
        await chat.page.evaluate("(text) => document.querySelector('quart-chat').ask(text)", payload)
        await chat.ended()
    await chat.reload()
    await expect(chat.turns.nth(1)).to_be_visible()
    await chat.button("Chats").click()
    await expect(chat.page.get_by_role("dialog", name="Chats")).to_be_visible()
    assert (
        await chat.page.evaluate("""() => {
      const { shadowRoot } = document.querySelector("quart-chat");
      return [...shadowRoot.querySelectorAll(".prose, .title")].flatMap((place) => offences(place));
    }""")
        == []
    )
    assert await chat.page.evaluate("globalThis.__fired") is None


async def test_text_of_the_server_is_never_markup(chat: ChatPage) -> None:
    """Check errors, names of models, and reasons."""
    hostile = f'<img src="x" onerror="{FIRE}">'
    error = {"error": {"code": hostile, "message": hostile, "id": hostile}}
    await chat.page.route("**/api/stream", lambda route: route.fulfill(status=400, json=error))
    await chat.page.route(
        "**/api/models", lambda route: route.fulfill(json={"default": hostile, "models": [{"id": hostile}] * 2})
    )
    await chat.reload()
    await chat.ask("count to 5")
    await expect(chat.answer().get_by_text(hostile, exact=True)).to_be_visible()
    assert await chat.log.locator("img").count() == 0
    assert await chat.page.evaluate("globalThis.__fired") is None
