"""The page for everyone: by keyboard, by ear, in the dark, large, narrow and right to left; axe looks at each state."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.support.page_states import RIGHT_TO_LEFT, STATES, VIEWS, editing, stopped, streaming, waiting
from tests.support.pages import ChatPage, opened
from tests.support.sampling import SOAK
from tests.support.serving import ROOT, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = ROOT / "tests" / "node" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


# -- axe, in each state


@pytest.fixture(scope="module")
def axe(needs: Callable[[str], str]) -> str:
    if not AXE.exists():
        needs("npm")
        pytest.skip("axe-core is not installed")
    return AXE.read_text(encoding="utf-8")


# The fast run looks at each state in the light, and at one state in each of the other views.
LOOKED_AT = [
    *((state, "in the light") for state in STATES),
    ("finished", "in the dark"),
    *zip(("sourced", "list_open", "failed", "empty"), list(VIEWS)[2:], strict=True),
]
LOOKED_AT_IN_THE_SOAK = [
    *((state, "in the dark") for state in STATES if state not in ("waiting", "streaming", "stopped")),
    *((state, view) for view in list(VIEWS)[2:] for state in ("empty", "finished", "sourced", "failed", "list_open")),
]


async def faults(chat: ChatPage, axe: str) -> list[Any]:
    """Return the violations that axe finds. The console reports the inline styles of axe, which are not the page's."""
    messages = list(chat.record.messages)
    await chat.page.evaluate(axe)
    found = await chat.page.evaluate("(tags) => axe.run({ runOnly: tags })", TAGS)
    chat.record.messages[:] = messages
    return [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found["violations"]]


@pytest.mark.parametrize(
    ("state", "view"),
    [
        *LOOKED_AT,
        *(pytest.param(*case, marks=SOAK) for case in LOOKED_AT_IN_THE_SOAK if case not in LOOKED_AT),
    ],
)
async def test_axe_finds_nothing_in_any_state(
    state: str, view: str, browser: Browser, server: Server, axe: str
) -> None:
    options, script = VIEWS[view]
    async with opened(browser, reduced_motion="reduce", **options) as chat:
        await chat.open(server)
        await chat.page.evaluate(script)
        await STATES[state](chat)
        assert await faults(chat, axe) == []
        assert await chat.page.evaluate("document.scrollingElement.scrollWidth - innerWidth") == 0


# -- by ear


@pytest.mark.parametrize(
    ("model", "texts"),
    [
        ("mock", ["Answering", "Answer finished, 5 words"]),
        ("drops", ["Answering", "Error: The model's server could not be reached or gave a broken answer."]),
        ("filtered", ["Answering", "A content filter ended the answer, 5 words"]),
        ("cut", ["Answering", "The answer was cut at its limit, 5 words"]),
    ],
)
async def test_an_answer_is_announced_when_it_begins_and_when_it_ends(
    model: str, texts: list[str], chat: ChatPage
) -> None:
    await chat.listen()
    await chat.ask("count to 5", model)
    assert await chat.announcements() == texts


async def test_one_word_is_one_word(chat: ChatPage) -> None:
    await chat.listen()
    await chat.ask("hello", "echoes")
    assert await chat.announcements() == ["Answering", "Answer finished, 1 word"]


async def test_stopping_is_announced(chat: ChatPage) -> None:
    await chat.listen()
    await stopped(chat)
    assert await chat.announcements() == ["Answering", "Stopped"]


async def test_a_notice_is_announced_when_it_appears(browser: Browser, server: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
        await chat.open(server)
        await chat.listen()
        await chat.page.context.set_offline(True)
        await expect(chat.status).to_have_text(re.compile("You are offline"))
        await chat.page.context.set_offline(False)
        await expect(chat.status).to_have_text("")
        await chat.ask("count to 5")
        announced = await chat.announcements()
        assert [("You are offline" in text, "cannot keep" in text) for text in announced] == [
            (True, False),
            (False, False),
            (False, True),
            (False, True),
        ]
        assert announced[-1].endswith("Answer finished, 5 words")


async def test_the_conversation_is_busy_and_not_announced_token_by_token(chat: ChatPage) -> None:
    await streaming(chat)
    await expect(chat.log).to_have_attribute("aria-live", "off")
    await expect(chat.answer()).to_have_attribute("aria-busy", "true")
    await chat.button("Stop").click()
    await expect(chat.answer()).not_to_have_attribute("aria-busy", "true")


async def test_the_accessibility_tree_has_all_that_is_shown(chat: ChatPage) -> None:
    await chat.ask("Show me a table")
    await expect(chat.page.locator("body")).to_match_aria_snapshot("""
      - main:
        - heading "Chat with a model" [level=1]
        - button "Chats"
        - heading "Chat" [level=2]
        - combobox "Model"
        - button "New chat"
        - log "Conversation":
          - article:
            - heading "You" [level=3]
            - paragraph: Show me a table
            - button "Edit"
          - article:
            - heading "Answer" [level=3]
            - heading "A tour of Markdown" [level=4]
            - paragraph:
              - emphasis: emphasis
              - strong: strong words
              - link /a link/
            - heading "Lists" [level=5]
            - list:
              - listitem: The server passes each token on at once.
            - figure:
              - button "Copy"
              - group "Code, js"
            - group "Table":
              - table:
                - rowgroup:
                  - row "Format Best for Knows its end by"
            - blockquote
            - button "Copy"
            - button "Ask again"
        - status: /Answer finished, \\d+ words/
        - textbox "Your message"
        - button "Send"
    """)


# -- by keyboard

FOCUSED = """() => {
  let element = document.activeElement;
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element.getAttribute("aria-label") ?? element.textContent;
}"""


async def test_the_tab_key_goes_through_the_page_in_the_order_in_which_it_is_read(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.page.evaluate("document.activeElement.shadowRoot.activeElement.blur()")
    await chat.button("Chats").focus()
    order = [await chat.page.evaluate(FOCUSED)]
    for _ in range(8):
        await chat.page.keyboard.press("Tab")
        order.append(await chat.page.evaluate(FOCUSED))
    conversation = ["Conversation", "Edit", "Copy", "Ask again"]
    assert order == ["Chats", "Model", "New chat", *conversation, "Your message", "Send"]


async def test_what_has_the_focus_can_be_seen(chat: ChatPage) -> None:
    """Check also buttons that are visible only under the mouse."""
    await chat.ask("count to 5")
    await chat.ask("count to 6")
    edit = chat.question().get_by_role("button", name="Edit")
    actions = edit.locator("..")
    await chat.page.mouse.move(0, 0)
    await expect(actions).to_have_css("opacity", "0")
    await chat.log.focus()
    await chat.page.keyboard.press("Tab")
    await expect(edit).to_be_focused()
    await expect(actions).to_have_css("opacity", "1")
    assert await edit.evaluate("(button) => getComputedStyle(button).outlineStyle") == "solid"


@pytest.mark.parametrize("state", ["empty", "finished", "failed", "list_open"])
async def test_nothing_that_is_pressed_is_smaller_than_24_px(state: str, chat: ChatPage) -> None:
    await STATES[state](chat)
    sizes = await chat.page.locator("quart-chat").evaluate("""(chat) =>
      Array.from(chat.shadowRoot.querySelectorAll("button, select, summary, input, textarea"))
        .map((target) => [target.getAttribute("aria-label") ?? target.textContent, target.getBoundingClientRect()])
        .filter(([, { width, height }]) => width && height && (width < 24 || height < 24))
        .map(([name, { width, height }]) => [name, width, height])""")
    assert sizes == []


async def test_where_is_written_can_be_seen_where_colours_are_forced(browser: Browser, server: Server) -> None:
    async with opened(browser, forced_colors="active") as chat:
        await chat.open(server)
        await editing(chat)
        await expect(chat.question().get_by_role("textbox")).to_have_css("outline-style", "solid")
        await chat.box.focus()
        await expect(chat.scope.locator(".composer")).to_have_css("outline-style", "solid")


async def test_the_focus_ring_around_the_box_is_not_covered(chat: ChatPage) -> None:
    """The shade that ends the conversation lies below the box: it is positioned, so the box has to be."""
    await chat.box.focus()
    await expect(chat.scope.locator(".composer")).to_have_css("position", "relative")


async def test_figures_are_read_from_the_left_wherever_the_page_begins(chat: ChatPage) -> None:
    await chat.page.evaluate(RIGHT_TO_LEFT)
    await chat.ask("count to 5")
    await expect(chat.answer().locator(".figures")).to_have_css("direction", "ltr")


async def test_motion_is_left_out_for_those_who_want_none(browser: Browser, server: Server) -> None:
    async with opened(browser, reduced_motion="reduce") as still, opened(browser) as moving:
        for chat, animation in ((still, "none"), (moving, "pulse")):
            await chat.open(server)
            await waiting(chat)
            await expect(chat.answer().locator(".pulse")).to_have_css("animation-name", animation)


async def test_texts_run_in_their_own_direction(browser: Browser, server: Server) -> None:
    async with opened(browser) as chat:
        await chat.open(server)
        await chat.ask("مرحبا", "echoes")
        for text in (chat.question().get_by_role("paragraph"), chat.answer().get_by_role("paragraph").first):
            await expect(text).to_have_text("مرحبا")
            inner, outer = await text.evaluate("""(paragraph) => {
              const range = new Range();
              range.selectNodeContents(paragraph);
              return [range.getBoundingClientRect().right, paragraph.getBoundingClientRect().right];
            }""")
            assert abs(inner - outer) < 1
