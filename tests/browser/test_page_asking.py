"""The page as people use it: sending, reading, stopping, editing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.support.loopback import CHUNKED_HEAD, Exchange, Loopback, http_chunk, reply
from tests.support.pages import ChatPage, opened, page_server
from tests.support.serving import Server, Servers, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "1 2 3 4 5"


# -- asking


async def test_an_answer_is_shown_and_the_next_question_can_be_written(chat: ChatPage) -> None:
    await expect(chat.box).to_be_focused()
    await chat.ask("count to 5")
    await expect(chat.question()).to_contain_text("count to 5")
    await expect(chat.answer()).to_contain_text(COUNT)
    await expect(chat.answer()).to_contain_text("5 tokens")
    await expect(chat.box).to_have_value("")
    await expect(chat.box).to_be_focused()


async def test_the_complete_conversation_is_sent_with_each_question(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.ask("count to 2")
    assert chat.bodies()[1]["messages"] == [
        {"role": "user", "content": "count to 5"},
        {"role": "assistant", "content": COUNT},
        {"role": "user", "content": "count to 2"},
    ]


async def test_a_suggestion_sends_its_own_text(chat: ChatPage) -> None:
    suggestions = chat.log.get_by_role("button")
    await expect(suggestions).to_have_count(4)
    words = await suggestions.first.inner_text()
    await expect(suggestions.first).to_have_accessible_name(words)
    await suggestions.first.click()
    await chat.ended()
    assert chat.bodies()[0]["messages"] == [{"role": "user", "content": words}]
    for part in ("table", "code", "list"):
        await expect(chat.answer().get_by_role(part).first).to_be_visible()


async def test_enter_sends_and_shift_with_enter_breaks_the_line(chat: ChatPage) -> None:
    await chat.choose("echoes")
    await chat.box.press_sequentially("one")
    await chat.box.press("Shift+Enter")
    await chat.box.press_sequentially("two")
    await chat.box.press("Enter")
    await chat.ended()
    assert chat.bodies()[0]["messages"][0]["content"] == "one\ntwo"


async def test_nothing_is_sent_of_a_blank_box_or_while_an_answer_comes(chat: ChatPage) -> None:
    await chat.box.fill("  \n ")
    await chat.button("Send").click()
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.box.fill("and then")
    await chat.box.press("Enter")
    await expect(chat.box).to_have_value("and then")
    assert len(chat.bodies()) == 1


async def test_enter_that_ends_a_composition_sends_nothing(chat: ChatPage) -> None:
    """Type as an input method does: Enter takes the candidate, the next Enter sends. Safari's comes a moment late."""
    devtools = await chat.page.context.new_cdp_session(chat.page)
    await chat.box.focus()
    await devtools.send("Input.imeSetComposition", {"text": "に", "selectionStart": 1, "selectionEnd": 1})
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    await devtools.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    await devtools.send("Input.insertText", {"text": "日本語"})
    await expect(chat.box).to_have_value("日本語")
    await devtools.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    await devtools.send("Input.dispatchKeyEvent", {"type": "keyUp", **enter})
    await expect(chat.box).to_have_value("日本語")
    assert chat.bodies() == []
    await devtools.detach()
    await chat.box.press("Enter")
    await chat.ended()
    assert len(chat.bodies()) == 1


async def test_enter_breaks_the_line_where_there_is_no_mouse(browser: Browser, server: Server) -> None:
    async with opened(browser, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844}) as chat:
        await chat.open(server)
        await chat.box.press_sequentially("one")
        await chat.box.press("Enter")
        await expect(chat.box).to_have_value("one\n")
        await chat.button("Send").tap()
        await chat.ended()
        await expect(chat.answer().get_by_role("button", name="Copy")).to_be_visible()


async def test_the_box_grows_with_its_text_up_to_a_limit(chat: ChatPage) -> None:
    async def height() -> float:
        box = await chat.box.locator("..").bounding_box()
        assert box
        return box["height"]

    low = await height()
    await chat.box.fill("one\ntwo\nthree")
    grown = await height()
    await chat.box.fill("line\n" * 200)
    limit = await height()
    assert low < grown < limit <= 0.41 * 720
    await chat.box.fill("")
    assert await height() == low


async def test_a_long_text_in_the_box_is_laid_out_once_and_can_be_scrolled(chat: ChatPage) -> None:
    """A copy of the text gives the box its height; because of the limit, the copy needs only the beginning."""
    for text in ("word " * 40_000, "line\n" * 250):
        await chat.box.fill(text)
        assert await chat.scope.locator(".composer .mirror").evaluate("(mirror) => mirror.textContent.length") < 5_000
        box = await chat.box.bounding_box()
        assert box
        assert 0.35 * 720 < box["height"] <= 0.41 * 720
        await chat.box.evaluate("(area) => { area.scrollTop = 0; }")
        await chat.box.hover()
        await chat.page.mouse.wheel(0, 300)
        await chat.page.wait_for_function("(area) => area.scrollTop > 0", arg=await chat.box.element_handle())


async def test_a_very_long_text_in_the_box_has_one_direction_for_a_browser_is_slow_with_more(chat: ChatPage) -> None:
    for text, kept in (("word\n" * 20, "plaintext"), ("word " * 40_000, "normal"), ("word", "plaintext")):
        await chat.box.fill(text)
        await expect(chat.box).to_have_css("unicode-bidi", kept)


async def test_a_question_is_shown_as_text_and_never_as_markup(chat: ChatPage) -> None:
    markup = "<b>bold</b> **stars** <img src=x>"
    await chat.ask(markup)
    await expect(chat.question().get_by_text(markup, exact=True)).to_be_visible()
    assert await chat.question().locator("b, strong, img").count() == 0


# -- stopping and leaving


async def test_stopping_keeps_the_text_and_ends_the_answer(chat: ChatPage, server: Server) -> None:
    before = len(server.answer_lines(model="stalls", ending="client_disconnected"))
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    await chat.button("Stop").click()
    await expect(chat.answer()).to_contain_text("1 2 3")
    await expect(chat.answer()).to_contain_text("Stopped.")
    await expect(chat.box).to_be_focused()
    await eventually(lambda: len(server.answer_lines(model="stalls", ending="client_disconnected")) > before)


async def test_a_double_click_sends_and_stops_nothing(chat: ChatPage) -> None:
    """The button that stops appears where the first click was made."""
    await chat.choose("stalls")
    await chat.box.fill("count to 5")
    box = await chat.button("Send").bounding_box()
    assert box
    await chat.page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, delay=20)
    await chat.text("1 2 3").wait_for()
    await expect(chat.button("Stop")).to_be_visible()
    await expect(chat.box).to_be_focused()
    await chat.button("Stop").click()
    await expect(chat.answer()).to_contain_text("Stopped.")


async def test_escape_stops_before_the_first_token_and_the_next_question_leaves_that_one_out(chat: ChatPage) -> None:
    await chat.choose("silent")
    await chat.send("count to 5")
    await chat.button("Stop").wait_for()
    await chat.page.keyboard.press("Escape")
    await expect(chat.answer()).to_contain_text("Stopped.")
    await chat.ask("count to 2", "mock")
    assert chat.bodies()[1]["messages"] == [{"role": "user", "content": "count to 2"}]


async def test_escape_stops_also_where_nothing_has_the_focus(chat: ChatPage) -> None:
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    await chat.page.evaluate("document.activeElement.shadowRoot.activeElement.blur()")
    await chat.page.keyboard.press("Escape")
    await expect(chat.answer()).to_contain_text("Stopped.")


async def test_leaving_the_page_ends_the_answer_and_what_came_of_it_is_there_on_return(
    chat: ChatPage, server: Server
) -> None:
    before = len(server.answer_lines(model="stalls", ending="client_disconnected"))
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    await chat.page.goto("about:blank")
    await eventually(lambda: len(server.answer_lines(model="stalls", ending="client_disconnected")) > before)
    await chat.open(server)
    await expect(chat.answer()).to_contain_text("1 2 3")
    await expect(chat.answer()).to_contain_text("Stopped.")


async def test_text_that_comes_while_there_are_no_frames_is_drawn_with_the_next(chat: ChatPage) -> None:
    """Imitate a hidden tab, because Chromium without a screen goes on drawing in one."""
    await chat.page.evaluate("""() => {
      globalThis.frames = [];
      globalThis.drawing = requestAnimationFrame;
      globalThis.requestAnimationFrame = (draw) => frames.push(draw);
    }""")
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.page.wait_for_function("() => frames.length > 0", polling=20)  # by default it waits for frames
    await expect(chat.answer()).not_to_contain_text("1")
    await chat.page.evaluate("globalThis.requestAnimationFrame = drawing; frames.forEach((draw) => draw())")
    await expect(chat.answer()).to_contain_text("1 2 3")


# -- editing


async def test_the_last_answer_can_be_generated_again(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.ask("count to 2")
    await expect(chat.button("Ask again")).to_have_count(1)
    await chat.button("Ask again").click()
    await chat.ended()
    assert chat.bodies()[2] == chat.bodies()[1]
    await expect(chat.turns).to_have_count(4)


async def test_an_edited_question_replaces_the_messages_after_it(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.ask("count to 2")
    await chat.question().hover()
    await chat.question().get_by_role("button", name="Edit").click()
    field = chat.question().get_by_role("textbox", name="Edit your message")
    await expect(field).to_be_focused()
    await field.fill("count to 3")
    await field.press("Enter")
    await chat.ended()
    await expect(chat.turns).to_have_count(2)
    await expect(chat.answer()).to_contain_text("1 2 3")
    assert chat.bodies()[2]["messages"] == [{"role": "user", "content": "count to 3"}]


async def test_escape_leaves_a_question_as_it_was_and_stops_no_answer(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.choose("stalls")
    await chat.send("count to 2")
    await chat.question().hover()
    await chat.question().get_by_role("button", name="Edit").click()
    await chat.question().get_by_role("textbox").fill("another")
    await chat.page.keyboard.press("Escape")
    await expect(chat.question()).to_contain_text("count to 5")
    await expect(chat.question().get_by_role("button", name="Edit")).to_be_focused()
    await expect(chat.button("Stop")).to_be_visible()


async def test_an_answer_is_copied_as_the_markdown_that_it_came_as(browser: Browser, server: Server) -> None:
    markdown = "# Heading\n\n- *one* & `two`\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    async with opened(browser, permissions=["clipboard-read", "clipboard-write"]) as chat:
        await chat.open(server)
        await chat.ask(markdown, "echoes")
        await expect(chat.answer().get_by_role("heading", name="Heading")).to_be_visible()
        await chat.answer().get_by_role("button", name="Copy", exact=True).click()
        await expect(chat.answer().get_by_role("button", name="Copied")).to_be_visible()
        assert await chat.page.evaluate("navigator.clipboard.readText()") == markdown


# -- other parts of an answer


async def test_thinking_is_folded_and_shows_its_duration(chat: ChatPage) -> None:
    await chat.ask("Why is the sky blue?", "thinks")
    thoughts = chat.answer().get_by_text("think aloud for a moment")
    await expect(thoughts).to_be_hidden()
    await chat.answer().get_by_text(re.compile("^Thought for ")).click()
    await expect(thoughts).to_be_visible()
    await expect(chat.answer()).to_contain_text("After some thought")
    await chat.ask("And then?")
    assert "think aloud" not in str(chat.bodies()[1])


async def test_thinking_can_be_read_while_it_lasts(browser: Browser, servers: Servers) -> None:
    async def think(exchange: Exchange) -> None:
        thought = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Let me see."}}]}\n\n'
        await exchange.send(CHUNKED_HEAD + http_chunk(thought))
        await exchange.client_leaves()

    async with Loopback(think) as upstream, opened(browser) as chat:
        await chat.open(servers.start("quartapp", OPENAI_BASE_URL=upstream.base_url))
        await chat.send("Why is the sky blue?")
        await chat.answer().get_by_text("Thinking…").click()
        await expect(chat.answer().get_by_text("Let me see.")).to_be_visible()


async def test_a_refusal_is_shown_as_one_and_sent_on_as_one(chat: ChatPage) -> None:
    await chat.ask("Why is the sky blue?", "refuses")
    await expect(chat.answer().get_by_text("The model will not answer this.")).to_be_visible()
    await expect(chat.answer().get_by_text("I'm sorry, but I can't help with that")).to_be_visible()
    await chat.ask("count to 2", "mock")
    assert chat.bodies()[1]["messages"][1]["refusal"].startswith("I'm sorry")


@asynccontextmanager
async def in_steps(
    browser: Browser, servers: Servers, *steps: Iterable[dict[str, Any]]
) -> AsyncIterator[tuple[ChatPage, list[asyncio.Event]]]:
    """Send a question; yield the chat, and for each part of the answer but the first the event that sends it."""
    events = [asyncio.Event() for _ in steps[1:]]

    async def answer(exchange: Exchange) -> None:
        await exchange.send(CHUNKED_HEAD)
        for step, event in zip(steps, [*events, None], strict=True):
            for delta in step:
                chunk = json.dumps({"choices": [{"index": 0, "delta": delta}]})
                await exchange.send(http_chunk(f"data: {chunk}\n\n".encode()))
            if event:
                await event.wait()
        await exchange.send(http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async with Loopback(answer) as upstream, opened(browser) as chat:
        await chat.open(servers.start("quartapp", OPENAI_BASE_URL=upstream.base_url))
        await chat.send("Say it")
        yield chat, events


def argument(text: str, **more: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {**more, "arguments": text}}]}


async def test_a_call_of_a_tool_can_be_opened_and_keeps_the_focus_while_it_comes(
    browser: Browser, servers: Servers
) -> None:
    first = argument('{"city": "', name="weather")
    async with in_steps(
        browser, servers, [{"content": "Wait"}, first], [argument("Bern"), {"content": " a bit"}], [argument('"}')]
    ) as (
        chat,
        (more, end),
    ):
        fold = chat.answer().locator("summary:visible")
        await expect(fold).to_have_text("Calls weather")
        box = await fold.bounding_box()
        assert box
        await chat.page.mouse.move(box["x"] + 5, box["y"] + 5)
        await chat.page.mouse.down()
        more.set()
        await chat.text("Wait a bit").wait_for()
        await chat.page.mouse.up()
        arguments = chat.answer().get_by_role("region", name="Arguments of weather")
        await expect(arguments).to_have_text('{"city": "Bern')
        await expect(fold).to_be_focused()
        end.set()
        await chat.ended()
        await expect(fold).to_be_focused()
        await expect(fold).to_have_text("Called weather")
        assert await arguments.inner_text() == '{\n  "city": "Bern"\n}'


LINKED = {
    "a list gets wider": ("- [a](https://a.example/)\n- [b](https://b.example/)\n", "\n- third"),
    "what was open is closed": ("**See [a](https://a.example/), [b](https://b.example/) for", " more** and"),
}


@pytest.mark.parametrize("name", LINKED)
async def test_a_link_keeps_the_focus_where(name: str, browser: Browser, servers: Servers) -> None:
    first, then = LINKED[name]
    async with in_steps(browser, servers, [{"content": first}], [{"content": then}], []) as (chat, (more, end)):
        link = chat.answer().locator("a[href='https://b.example/']")
        await link.focus()
        before = await link.element_handle()
        assert before
        more.set()
        await chat.page.wait_for_function("(link) => !link.isConnected", arg=before)
        await expect(link).to_be_focused()
        end.set()
        await chat.ended()
        await expect(link).to_be_focused()


async def test_the_log_has_the_focus_that_a_link_had_which_is_none_any_more(browser: Browser, servers: Servers) -> None:
    async with in_steps(browser, servers, [{"content": "See https://a.example/"}], [{"content": "b"}]) as (
        chat,
        (more,),
    ):
        await chat.answer().locator("a").focus()
        more.set()
        await chat.ended()
        await expect(chat.answer().locator("a")).to_have_attribute("href", "https://a.example/b")
        await expect(chat.log).to_be_focused()


CALL = (
    b'{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"weather","arguments":"{\\"city\\": "}}]}',
    b'{"tool_calls":[{"index":0,"function":{"arguments":"\\"Bern\\", \\"days\\": 3}"}}]}',
)


async def test_a_call_of_a_tool_is_folded_with_its_arguments_laid_out(browser: Browser, servers: Servers) -> None:
    deltas = b"".join(b'data: {"choices":[{"index":0,"delta":%b}]}\n\n' % delta for delta in CALL)
    end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
    async with Loopback(reply(200, deltas + end)) as upstream, opened(browser) as chat:
        await chat.open(servers.start("quartapp", OPENAI_BASE_URL=upstream.base_url))
        await chat.ask("What is the weather in Bern?")
        await chat.answer().get_by_text("Called weather").click()
        arguments = chat.answer().get_by_role("region", name="Arguments of weather")
        assert await arguments.inner_text() == '{\n  "city": "Bern",\n  "days": 3\n}'


async def test_an_answer_that_reached_its_limit_shows_that_and_can_be_continued(chat: ChatPage) -> None:
    await chat.ask("count to 5", "cut")
    await expect(chat.answer()).to_contain_text("The answer was cut at its limit.")
    await chat.button("Continue").click()
    await chat.ended()
    assert [message["role"] for message in chat.bodies()[1]["messages"]] == ["user", "assistant", "user"]


async def test_an_answer_that_a_filter_ended_shows_that(chat: ChatPage) -> None:
    await chat.ask("count to 5", "filtered")
    await expect(chat.answer()).to_contain_text("A content filter ended the answer.")


async def test_instructions_go_first_where_the_server_takes_them(browser: Browser, servers: Servers) -> None:
    async with opened(browser) as chat:
        await chat.open(page_server(servers, CHAT_ALLOW_SYSTEM_ROLE="true"))
        await chat.text("Instructions for this chat").click()
        await chat.log.get_by_role("textbox", name="Instructions").fill("Answer briefly.")
        await chat.ask("count to 5")
        assert chat.bodies()[0]["messages"][0] == {"role": "system", "content": "Answer briefly."}
        await chat.reload()
        await chat.text("Instructions for this chat").click()
        await expect(chat.log.get_by_role("textbox", name="Instructions")).to_have_value("Answer briefly.")


async def test_instructions_outlive_a_reload_before_the_first_question_and_no_deletion(
    browser: Browser, servers: Servers
) -> None:
    async with opened(browser) as chat:
        await chat.open(page_server(servers, CHAT_ALLOW_SYSTEM_ROLE="true"))
        instructions = chat.log.get_by_role("textbox", name="Instructions")
        await chat.text("Instructions for this chat").click()
        await instructions.press_sequentially("Briefly.")
        await chat.reload()
        await chat.text("Instructions for this chat").click()
        await expect(instructions).to_have_value("Briefly.")
        await chat.ask("count to 5")
        await chat.button("Chats").click()
        await chat.button("Delete count to 5").click()
        await chat.page.keyboard.press("Escape")
        await expect(instructions).to_have_value("")
        await chat.ask("count to 2")
        assert [message["role"] for body in chat.bodies() for message in body["messages"]] == ["system", "user", "user"]


async def test_no_place_for_instructions_is_offered_where_the_server_refuses_them(chat: ChatPage) -> None:
    await expect(chat.text("Instructions for this chat")).to_be_hidden()


# -- reading along


async def away_px(chat: ChatPage) -> float:
    """Return the distance from the visible part of the conversation to its end."""
    away: float = await chat.log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight")
    return away


async def test_the_end_stays_in_view_until_a_scroll_and_again_after_a_jump(browser: Browser, server: Server) -> None:
    async with opened(browser, viewport={"width": 800, "height": 400}) as chat:
        await chat.open(server)
        await chat.ask("Write a long explanation of how an answer streams")
        assert await away_px(chat) <= 1
        await chat.choose("slow")
        await chat.send("count to 400")
        await chat.answer(1).get_by_text("1 2 3").wait_for()
        assert await away_px(chat) <= 1
        await chat.log.hover()
        await chat.page.mouse.wheel(0, -200)
        await expect(chat.button("Jump to the latest")).to_be_visible()
        top = await chat.log.evaluate("(log) => log.scrollTop")
        await chat.answer(1).get_by_text("9 10 11 12").wait_for()
        assert await chat.log.evaluate("(log) => log.scrollTop") == top
        await chat.button("Jump to the latest").click()
        await expect(chat.button("Jump to the latest")).to_be_hidden()
        assert await away_px(chat) <= 1


@pytest.mark.parametrize("way", ["the button", "scrolling"])
async def test_the_button_to_the_end_leaves_the_focus_in_the_conversation(
    way: str, browser: Browser, server: Server
) -> None:
    async with opened(browser, viewport={"width": 800, "height": 400}) as chat:
        await chat.open(server)
        await chat.ask("Write a long explanation of how an answer streams")
        await chat.log.hover()
        await chat.page.mouse.wheel(0, -200)
        await chat.button("Jump to the latest").focus()
        if way == "the button":
            await chat.page.keyboard.press("Enter")
        else:
            await chat.log.evaluate("(log) => log.scrollTo(0, log.scrollHeight)")
        await expect(chat.button("Jump to the latest")).to_be_hidden()
        await expect(chat.log).to_be_focused()


async def test_the_smallest_move_upwards_leaves_the_end(browser: Browser, server: Server) -> None:
    async with opened(browser, viewport={"width": 800, "height": 400}) as chat:
        await chat.open(server)
        await chat.ask("Write a long explanation of how an answer streams")
        await chat.choose("slow")
        await chat.send("count to 400")
        await chat.answer(1).get_by_text("1 2 3").wait_for()
        await chat.log.hover()
        await chat.page.mouse.wheel(0, -4)
        await expect(chat.button("Jump to the latest")).to_be_visible()
        await chat.page.mouse.wheel(0, 100)
        await expect(chat.button("Jump to the latest")).to_be_hidden()


async def test_the_end_stays_in_sight_in_a_window_of_another_height(browser: Browser, server: Server) -> None:
    async with opened(browser, viewport={"width": 800, "height": 600}) as chat:
        await chat.open(server)
        await chat.ask("Write a long explanation of how an answer streams")
        for height in (300, 700, 400):
            await chat.page.set_viewport_size({"width": 800, "height": height})
            await chat.page.evaluate("new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))")
            assert await away_px(chat) <= 1
            await expect(chat.button("Jump to the latest")).to_be_hidden()


@pytest.mark.parametrize("has_touch", [False, True])
async def test_the_focus_is_not_lost_when_an_answer_is_replaced(
    has_touch: bool, browser: Browser, server: Server
) -> None:
    async with opened(browser, has_touch=has_touch, is_mobile=has_touch) as chat:
        await chat.open(server)
        focused = chat.log if has_touch else chat.box
        await chat.ask("count to 5")
        await chat.button("Ask again").click()
        await expect(focused).to_be_focused()
        await chat.ended()
        await chat.question().get_by_role("button", name="Edit").click()
        await chat.question().get_by_role("button", name="Ask").click()
        await expect(focused).to_be_focused()
        await chat.ended()
        await chat.ask("count to 5", "drops")
        await chat.button("Try again").click()
        await expect(focused).to_be_focused()


async def test_tokens_never_move_the_focus(chat: ChatPage) -> None:
    await chat.choose("slow")
    await chat.send("count to 12")
    await chat.button("New chat").focus()
    await chat.ended()
    await expect(chat.button("New chat")).to_be_focused()
