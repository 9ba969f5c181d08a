"""Nothing that a person wrote or received is lost: by a failure, a limit, a full store, or the next user."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.pages import STORED_CHATS, ChatPage, opened, page_server
from tests.support.serving import Server, Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = 'document.querySelector("quart-chat")'


async def stored(chat: ChatPage) -> Any:
    return json.loads(await chat.page.evaluate(STORED_CHATS))


async def edit(chat: ChatPage, number: int, text: str) -> None:
    await chat.question(number).hover()
    await chat.question(number).get_by_role("button", name="Edit").click()
    await chat.page.keyboard.press("Control+A")
    await chat.page.keyboard.type(text)
    await chat.page.keyboard.press("Enter")


# -- until the new answer has begun


async def test_a_failed_regeneration_keeps_the_old_answer_in_the_page_and_in_the_store(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    before = await stored(chat)
    await chat.choose("busy")
    await chat.button("Ask again").click()
    await chat.ended()
    await expect(chat.turns).to_have_count(2)
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")
    await expect(chat.answer()).to_contain_text(KINDS["upstream_busy"].message)
    await expect(chat.answer().get_by_role("button", name="Copy")).to_be_visible()
    assert await stored(chat) == before


@pytest.mark.parametrize("failure", ["a refusal", "offline"])
async def test_a_failed_edit_keeps_the_answers_and_what_was_written(failure: str, chat: ChatPage) -> None:
    for count in (2, 3, 4):
        await chat.ask(f"count to {count}")
    before = await stored(chat)
    if failure == "offline":
        await chat.page.context.set_offline(True)
    else:
        await chat.choose("too-long")
    await edit(chat, 0, "count to 7")
    await chat.ended()
    await expect(chat.turns).to_have_count(6)
    await expect(chat.answer(2)).to_contain_text("1 2 3 4")
    field = chat.question().get_by_role("textbox", name="Edit your message")
    await expect(field).to_have_value("count to 7")
    await expect(field).to_be_in_viewport()
    assert await stored(chat) == before
    await chat.page.context.set_offline(False)
    await chat.choose("mock")
    await chat.question().get_by_role("button", name="Ask").click()
    await chat.ended()
    await expect(chat.turns).to_have_count(2)
    await expect(chat.answer()).to_contain_text("1 2 3 4 5 6 7")


async def test_the_old_answers_go_when_the_new_one_has_begun(chat: ChatPage) -> None:
    for count in (2, 3):
        await chat.ask(f"count to {count}")
    await chat.choose("stalls")
    await edit(chat, 0, "count to 9")
    await chat.text("1 2 3").wait_for()
    assert [turn["question"] for turn in (await stored(chat))[0]["turns"]] == ["count to 9"]
    await chat.button("Stop").click()
    await expect(chat.turns).to_have_count(2)
    await expect(chat.answer()).to_contain_text("Stopped.")


@pytest.mark.parametrize("way", ["stop", "leave"])
async def test_stopping_or_leaving_before_the_new_answer_begins_keeps_the_old_one(
    way: str, chat: ChatPage, server: Server
) -> None:
    await chat.ask("count to 5")
    await chat.choose("silent")
    await chat.button("Ask again").click()
    await expect(chat.button("Stop")).to_be_visible()
    if way == "stop":
        await chat.button("Stop").click()
    else:
        await chat.page.goto("about:blank")
        await chat.open(server)
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")
    await expect(chat.answer()).not_to_contain_text("Stopped.")
    await expect(chat.turns).to_have_count(2)


async def test_an_empty_answer_takes_the_place_of_none(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    lines = [{"type": "start", "model": "mock"}, {"type": "done", "finish_reason": "stop"}]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    answer = {"body": body, "content_type": "application/x-ndjson"}
    await chat.page.route("**/api/stream", lambda route: route.fulfill(**answer))
    await chat.button("Ask again").click()
    await chat.ended()
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")
    await expect(chat.answer()).to_contain_text("The model gave no answer")


async def test_what_is_sent_offline_stays_in_the_box(chat: ChatPage) -> None:
    await chat.ask("count to 2")
    await chat.page.context.set_offline(True)
    await chat.send("And me?")
    await chat.ended()
    await expect(chat.box).to_have_value("And me?")
    await expect(chat.turns).to_have_count(2)
    await chat.page.context.set_offline(False)
    await chat.button("Send").click()
    await expect(chat.turns).to_have_count(4)


async def test_enter_during_an_answer_shows_why_nothing_is_sent(chat: ChatPage) -> None:
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.box.fill("next")
    await chat.box.press("Enter")
    await expect(chat.text("Wait for the end of the answer")).to_be_visible()
    await expect(chat.box).to_have_value("next")
    await chat.button("Stop").click()
    await expect(chat.text("Wait for the end of the answer")).to_be_hidden()


# -- over a reload


async def test_what_is_written_in_place_of_a_question_outlives_a_reload(chat: ChatPage) -> None:
    for count in (2, 3):
        await chat.ask(f"count to {count}")
    await chat.question().hover()
    await chat.question().get_by_role("button", name="Edit").click()
    field = chat.scope.get_by_role("textbox", name="Edit your message")
    await field.fill("count to 4, please")
    await chat.reload()
    await expect(field).to_have_value("count to 4, please")
    await expect(field).to_be_in_viewport()
    await expect(chat.turns).to_have_count(4)
    await chat.question().get_by_role("button", name="Cancel").click()
    await chat.reload()
    await expect(field).to_have_count(0)
    await expect(chat.question()).to_contain_text("count to 2")


async def test_an_edit_whose_answer_had_not_begun_outlives_a_reload(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.choose("silent")
    await edit(chat, 0, "count to 7")
    await expect(chat.button("Stop")).to_be_visible()
    await chat.reload()
    field = chat.question().get_by_role("textbox", name="Edit your message")
    await expect(field).to_have_value("count to 7")
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")


@pytest.mark.parametrize("way", ["answered", "another chat"])
async def test_an_edit_is_no_draft_any_more_once_it_was(way: str, chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.question().hover()
    await chat.button("Edit").click()
    await chat.page.keyboard.type(" or 6")
    if way == "answered":
        await chat.page.keyboard.press("Enter")
        await chat.ended()
    else:
        await chat.button("New chat").click()
        await chat.button("Chats").click()
        await chat.page.get_by_role("button", name=re.compile("^count to 5")).click()
    await chat.reload()
    await expect(chat.question()).to_contain_text("count to 5")
    await expect(chat.question().get_by_role("textbox")).to_have_count(0)


async def test_an_error_offers_the_same_after_a_reload(chat: ChatPage) -> None:
    await chat.ask("count to 5", "drops")
    buttons = chat.scope.locator(".card").get_by_role("button")
    await expect(buttons).to_have_text(["Try again", "Choose another model"])
    await chat.reload()
    await expect(buttons).to_have_text(["Try again", "Choose another model"])


async def test_the_chosen_model_is_chosen_in_the_next_tab_if_it_is_offered_there(
    chat: ChatPage, server: Server
) -> None:
    await chat.choose("echoes")
    other = await chat.new_tab()
    await other.open(server)
    await expect(other.scope.get_by_label("Model", exact=True)).to_have_value("echoes")
    await other.choose("")
    await chat.choose("thinks")
    offer = {"default": "fast", "models": [{"id": "fast"}, {"id": "slow"}]}
    await chat.page.context.route("**/api/models", lambda route: route.fulfill(json=offer))
    third = await chat.new_tab()
    await third.open(server)
    await expect(third.scope.get_by_label("Model", exact=True)).to_have_value("")
    await expect(third.scope.get_by_label("Model", exact=True)).to_have_text("fast (default)fastslow")


# -- limits


async def test_a_chat_goes_on_beyond_the_servers_limits_and_shows_that(browser: Browser, servers: Servers) -> None:
    async with opened(browser) as chat:
        await chat.open(page_server(servers, CHAT_MAX_MESSAGES="4", CHAT_MAX_PROMPT_CHARS="60"))
        for _ in range(4):
            await chat.ask("count to 5")
        assert [len(body["messages"]) for body in chat.bodies()] == [1, 3, 3, 3]
        await expect(chat.turns).to_have_count(8)
        await chat.ask("count to 1" + " " * 45 + "0")
        assert len(chat.bodies()[-1]["messages"]) == 1
        left_out = chat.log.get_by_text("no longer sent")
        await expect(left_out).to_have_count(1)
        await chat.reload()
        await expect(left_out).to_have_count(1)
        await expect(chat.log.get_by_text("no longer sent").locator("..")).to_contain_text("count to 1")


async def test_a_model_that_takes_less_than_the_server_gets_less_on_demand(chat: ChatPage) -> None:
    async def answer(route: Route) -> None:
        sent: Any = route.request.post_data_json
        if len(sent["messages"]) > 3:
            await route.fulfill(status=400, json={"error": {"code": "context_too_long", "message": "Too long."}})
        else:
            await route.continue_()

    for count in (2, 3, 4):
        await chat.ask(f"count to {count}")
    await chat.page.route("**/api/stream", answer)
    await chat.ask("count to 5")
    await chat.button("Leave out old messages").click()
    await chat.ended()
    await expect(chat.answer(3)).to_contain_text("1 2 3 4 5")
    await expect(chat.turns).to_have_count(8)
    await expect(chat.log.get_by_text("no longer sent")).to_have_count(1)


#: By code, and the status that goes with it: the buttons of the card.
HELPS = {
    "network": ["Try again"],
    "upstream_error": ["Try again", "Choose another model"],
    "upstream_refused": ["Choose another model", "Edit the question"],
    "model_not_found": ["Choose another model"],
    "content_filtered": ["Edit the question"],
    "too_large": ["Leave out old messages", "Edit the question", "New chat"],
    "context_too_long": ["Leave out old messages", "Choose another model", "New chat"],
    "forbidden": [],
}


async def test_the_advice_is_the_buttons_that_can_help(chat: ChatPage) -> None:
    await chat.ask("count to 2")
    refusal: dict[str, Any] = {}
    await chat.page.route("**/api/stream", lambda route: route.fulfill(**refusal))
    card = chat.scope.locator(".card:visible")
    for code, buttons in HELPS.items():
        status = KINDS[code].status if code in KINDS else 500
        refusal.update(status=status, json={"error": {"code": code, "message": code}})
        await chat.ask("count to 3")
        await expect(chat.turns.last.get_by_text(code, exact=True)).to_be_visible()
        assert (code, await card.last.get_by_role("button").all_inner_texts()) == (code, buttons)


async def test_a_new_chat_begins_with_the_question_that_had_no_room(chat: ChatPage) -> None:
    await chat.ask("count to 2", "too-long")
    await chat.log.get_by_role("button", name="New chat").click()
    await expect(chat.turns).to_have_count(0)
    await expect(chat.box).to_have_value("count to 2")


# -- after an answer


async def test_a_part_of_an_answer_can_be_copied_and_keeps_its_error(browser: Browser, server: Server) -> None:
    async with opened(browser, permissions=["clipboard-read", "clipboard-write"]) as chat:
        await chat.open(server)
        await chat.ask("count to 5", "drops")
        id_ = await chat.answer().locator(".id").inner_text()
        await chat.reload()
        for words in ("1 2 3", KINDS["upstream_error"].message, "Try again in a moment.", id_):
            await expect(chat.answer()).to_contain_text(words)
        await expect(chat.button("Try again")).to_be_visible()
        await chat.answer().get_by_role("button", name="Copy").click()
        await expect(chat.answer().get_by_role("button", name="Copied")).to_be_visible()
        assert await chat.page.evaluate("navigator.clipboard.readText()") == "1 2 3"
        await chat.choose("mock")
        await chat.button("Continue").click()
        await chat.ended()
        assert [message["role"] for message in chat.bodies()[-1]["messages"]] == ["user", "assistant", "user"]


async def test_an_answer_shows_its_model(chat: ChatPage) -> None:
    await chat.ask("hello", "echoes")
    await expect(chat.answer().locator(".figures")).to_contain_text("echoes")
    await chat.reload()
    await expect(chat.answer().locator(".figures")).to_contain_text("echoes")


# -- the store


async def test_a_full_store_deletes_nothing_and_offers_chats_to_delete(chat: ChatPage) -> None:
    for count in (3, 4):
        await chat.ask(f"count to {count}")
        await chat.button("New chat").click()
    await chat.page.evaluate(
        """() => {
      const { setItem } = Storage.prototype;
      const room = STORED_CHATS.length + 100;
      Storage.prototype.setItem = function (key, text) {
        if (text.length > room) throw new DOMException("full", "QuotaExceededError");
        setItem.call(this, key, text);
      };
    }""".replace("STORED_CHATS", STORED_CHATS)
    )
    await chat.ask("count to 9")
    await expect(chat.text("its room for chats is full")).to_be_visible()
    assert sorted(kept["title"] for kept in await stored(chat))[-2:] == ["count to 3", "count to 4"]
    await chat.button("Choose chats to delete").click()
    await chat.page.get_by_role("button", name="Delete count to 3").click()
    await expect(chat.text("its room for chats is full")).to_be_hidden()
    assert [kept["title"] for kept in await stored(chat)] == ["count to 9", "count to 4"]
    assert (await stored(chat))[0]["turns"][0]["reply"]["text"].endswith("8 9")


async def test_the_next_user_of_a_browser_sees_no_chats_of_the_last_one(chat: ChatPage) -> None:
    await chat.page.evaluate(f"{CHAT}.user = 'alice@example.com'")
    await chat.ask("count to 3")
    await chat.box.fill("half a thought")
    await chat.page.evaluate(f"{CHAT}.setAttribute('user', 'bob')")
    await expect(chat.turns).to_have_count(0)
    await expect(chat.box).to_have_value("")
    await chat.ask("count to 4")
    await chat.button("Chats").click()
    await expect(chat.scope.locator("dialog .title")).to_have_text(["count to 4"])
    keys = await chat.page.evaluate("Object.keys(localStorage).concat(Object.keys(sessionStorage)).join(' ')")
    assert "alice" not in keys
    assert "bob" not in keys
    await chat.page.evaluate(f"{CHAT}.user = 'alice@example.com'")
    await expect(chat.question()).to_contain_text("count to 3")
    await expect(chat.box).to_have_value("half a thought")


async def test_clear_deletes_the_chats_and_the_draft_of_this_user_alone(chat: ChatPage) -> None:
    await chat.ask("count to 2")
    await chat.page.evaluate(f"{CHAT}.user = 'alice'")
    await chat.ask("count to 3")
    await chat.box.fill("half a thought")
    await chat.page.evaluate(f"{CHAT}.clear()")
    await expect(chat.turns).to_have_count(0)
    await expect(chat.box).to_have_value("")
    kept = await chat.page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
    assert "count to 3" not in kept
    assert "half a thought" not in kept
    await chat.page.evaluate(f"{CHAT}.removeAttribute('user'); {CHAT}.user = ''")
    await expect(chat.question()).to_contain_text("count to 2")


async def test_a_missing_module_is_reported_and_the_chat_goes_on(chat: ChatPage) -> None:
    await chat.page.route("**/element/chats.js", lambda route: route.fulfill(status=404))
    await chat.button("Chats").click()
    await expect(chat.text("Reload the page.")).to_be_visible()
    await chat.ask("count to 2")
    await expect(chat.answer()).to_contain_text("1 2")
