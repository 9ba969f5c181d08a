"""The layout of the page in a small window, from right to left, and on a dark page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.support.hosts.foreign_page import TOKEN
from tests.support.page_states import RIGHT_TO_LEFT
from tests.support.pages import ChatPage, opened
from tests.support.serving import Server, Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = 'document.querySelector("quart-chat")'
DARK, LIGHT = "rgb(26, 25, 24)", "rgb(253, 252, 249)"


async def box_of(element: Locator) -> Any:
    box = await element.bounding_box()
    assert box
    return box


async def test_the_words_of_a_button_stay_on_one_line(browser: Browser, servers: Servers, chat: ChatPage) -> None:
    await chat.ask("count to 2")
    await chat.button("Chats").click()
    await chat.page.get_by_role("button", name="Rename count to 2").click()
    assert (await box_of(chat.page.get_by_role("button", name="Save")))["height"] < 40
    async with opened(browser, viewport={"width": 320, "height": 640}) as guarded:
        await guarded.open(servers.get("hypercorn", "foreign_page:app"), "/guarded/")
        await guarded.ask("count to 5")
        assert (await box_of(guarded.button("Sign in")))["height"] < 40
        await guarded.answer().get_by_label("Access token").fill(TOKEN)


async def test_a_question_that_is_edited_can_be_seen_at_twice_the_size(browser: Browser, server: Server) -> None:
    """Use the window of WCAG 2.4.11: 1280 by 800 at 200 %."""
    async with opened(browser, viewport={"width": 640, "height": 400}) as chat:
        await chat.open(server)
        await chat.ask("count to 5")
        await chat.ask("Write a long explanation of how an answer streams")
        for number in (1, 0):
            await chat.question(number).scroll_into_view_if_needed()
            await chat.question(number).hover()
            await chat.question(number).get_by_role("button", name="Edit").click()
            field = chat.question(number).get_by_role("textbox")
            for _ in range(3):
                await chat.page.keyboard.press("Shift+Enter")
            await chat.page.evaluate("new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))")
            log, box = await box_of(chat.log), await box_of(field)
            shade = 20
            assert box["y"] + box["height"] <= log["y"] + log["height"] - shade
            assert box["y"] >= log["y"] + shade
            await chat.page.keyboard.press("Escape")


async def test_long_thoughts_can_be_scrolled_by_keyboard(chat: ChatPage) -> None:
    thought = {"type": "reasoning", "text": "Let me see.\n" * 200}
    lines = [{"type": "start", "model": "m"}, thought, {"type": "delta", "text": "Yes."}]
    body = "".join(json.dumps(line) + "\n" for line in [*lines, {"type": "done", "finish_reason": "stop"}])
    answer = {"body": body, "content_type": "application/x-ndjson"}
    await chat.page.route("**/api/stream", lambda route: route.fulfill(**answer))
    await chat.ask("Why?")
    await chat.text("Thought for").click()
    await chat.page.keyboard.press("Tab")
    thoughts = chat.answer().get_by_role("region", name="Thoughts")
    await expect(thoughts).to_be_focused()
    element = await thoughts.element_handle()
    await chat.page.wait_for_function("(element) => element.scrollHeight > element.clientHeight", arg=element)
    await chat.page.keyboard.press("End")
    await chat.page.wait_for_function("(element) => element.scrollTop > 0", arg=element)


#: The scheme of the system, a script, and the background of the chat.
SCHEMES = {
    "the attribute is dark": ("light", f"{CHAT}.setAttribute('scheme', 'dark')", DARK),
    "the attribute is light": ("dark", f"{CHAT}.setAttribute('scheme', 'light')", LIGHT),
    "the page is dark": ("light", "document.documentElement.style.colorScheme = 'dark'", DARK),
    "the page is light": ("dark", "document.documentElement.style.colorScheme = 'light'", LIGHT),
    "the page is either": ("dark", "document.documentElement.style.colorScheme = 'light dark'", DARK),
    "the page says nothing": ("dark", "document.documentElement.style.colorScheme = 'normal'", DARK),
}


@pytest.mark.parametrize("name", SCHEMES)
async def test_it_is_as_dark_as_where(name: str, chat: ChatPage) -> None:
    system, script, ground = SCHEMES[name]
    await chat.page.emulate_media(color_scheme="light" if system == "light" else "dark")
    await chat.page.evaluate(script)
    await expect(chat.scope.locator(".chat")).to_have_css("background-color", ground)


async def test_code_can_be_read_where_a_host_sets_ground_and_text_alone(chat: ChatPage) -> None:
    await chat.page.emulate_media(color_scheme="light")
    await chat.page.evaluate(f"""() => {{
      {CHAT}.style.setProperty("--quart-chat-paper", "#101010");
      {CHAT}.style.setProperty("--quart-chat-ink", "#f0f0f0");
    }}""")
    await chat.ask("```\ncode\n```", "echoes")
    ground = await chat.answer().locator("figure").evaluate("(code) => getComputedStyle(code).backgroundColor")
    mixed = await chat.page.evaluate(
        """(colour) => {
          const context = document.createElement("canvas").getContext("2d");
          context.fillStyle = colour;
          context.fillRect(0, 0, 1, 1);
          return [...context.getImageData(0, 0, 1, 1).data];
        }""",
        ground,
    )
    assert max(mixed[:3]) < 60, ground


async def test_what_is_written_is_on_the_screen_in_the_row_of_a_grid(chat: ChatPage) -> None:
    await chat.ask("Write a long explanation of how an answer streams")
    await chat.page.evaluate(f"""() => {{
      document.body.style.cssText = "display: grid; grid-template-rows: 60px 1fr; height: 100vh; margin: 0";
      document.body.replaceChildren(document.createElement("header"), {CHAT});
      {CHAT}.style.blockSize = "auto";
    }}""")
    box = await box_of(chat.scope.locator(".composer"))
    assert box["y"] + box["height"] <= 720


async def test_tables_and_questions_reach_the_edge_of_a_page_that_is_read_from_the_right(chat: ChatPage) -> None:
    await chat.page.evaluate(RIGHT_TO_LEFT)
    await chat.ask("| أ | ب |\n|---|---|\n| ت | ث |", "echoes")
    cells = chat.answer().get_by_role("cell")
    await expect(cells.first).to_have_css("padding-right", "0px")
    await expect(cells.last).to_have_css("padding-left", "0px")
    await chat.page.mouse.move(0, 0)
    text, block = chat.question().locator(".asked"), chat.question()
    gap = (await box_of(text))["x"] - (await box_of(block))["x"]
    assert gap <= 17


async def test_the_space_before_the_host_of_a_link_is_not_underlined(chat: ChatPage) -> None:
    await chat.ask("[specification](https://a.example/)", "echoes")
    link = chat.answer().get_by_role("link")
    parts = await link.evaluate("(link) => Array.from(link.childNodes, (part) => [part.nodeName, part.textContent])")
    assert parts == [["#text", "specification"], ["BDI", " (a.example)"]]
    await expect(link.locator("bdi")).to_have_css("display", "inline-block")  # no line is drawn through to it


async def test_suggestions_are_the_mock_models_alone(browser: Browser, servers: Servers) -> None:
    table = {
        "real": {"kind": "compatible", "base_url": "http://127.0.0.1:9/v1", "model": "m"},
        "mock": {"kind": "mock"},
    }
    async with opened(browser) as chat:
        await chat.open(servers.get("quartapp", CHAT_MODELS=json.dumps(table)))
        choice = chat.scope.get_by_label("Model", exact=True)
        await expect(choice.locator("option")).to_have_text(["real (default)", "real", "mock"])
        await expect(chat.log.get_by_role("button")).to_have_count(0)
        await chat.choose("mock")
        await expect(chat.log.get_by_role("button")).to_have_count(4)
        await chat.page.evaluate(f"{CHAT}.suggestions = ['One']")
        await chat.choose("real")
        await expect(chat.log.get_by_role("button")).to_have_text(["One"])
