"""The data of the page in the browser: the list of chats, the open chat, and the draft."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.support.pages import STORED_CHATS, ChatPage, opened
from tests.support.serving import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The end of what the mock model answers to a question that it does not know.
LAST_WORDS = "<b>this is not bold</b>"


async def chats(chat: ChatPage) -> Locator:
    """Open the list of chats, and return it."""
    listed = chat.page.get_by_role("dialog", name="Chats")
    if not await listed.is_visible():
        await chat.button("Chats").click()
        await expect(listed).to_be_visible()
    return listed


def titles(listed: Locator) -> Locator:
    return listed.locator("li .title")


async def stored(chat: ChatPage) -> Any:
    """Return the stored chats."""
    return json.loads(await chat.page.evaluate(STORED_CHATS))


async def test_a_reload_shows_the_same_chat_again(chat: ChatPage) -> None:
    await chat.ask("Show me a table")
    await expect(chat.answer()).to_contain_text(LAST_WORDS)  # drawn, which a long answer is in steps
    text = await chat.answer().inner_text()
    await chat.reload()
    await expect(chat.turns).to_have_count(2)
    await expect(chat.answer()).to_contain_text(LAST_WORDS)
    assert (await chat.answer().inner_text()).split() == text.split()
    await chat.ask("count to 2")
    assert len(chat.bodies()[1]["messages"]) == 3


async def test_a_draft_outlives_a_reload(chat: ChatPage) -> None:
    await chat.box.fill("half a\nthought")
    await chat.reload()
    await expect(chat.box).to_have_value("half a\nthought")
    await chat.button("Send").click()
    await chat.ended()
    await chat.reload()
    await expect(chat.box).to_have_value("")


async def test_another_tab_begins_with_nothing_and_lists_the_same_chats(chat: ChatPage, server: Server) -> None:
    await chat.ask("count to 5")
    other = await chat.new_tab()
    await other.open(server)
    await expect(other.turns).to_have_count(0)
    await other.ask("count to 2")
    await expect(titles(await chats(chat))).to_have_text(["count to 2", "count to 5"])


async def test_the_list_has_the_newest_first_and_opens_what_is_chosen(chat: ChatPage) -> None:
    for question in ("count to 3", "count to 4"):
        await chat.ask(question)
        await chat.button("New chat").click()
    await expect(chat.turns).to_have_count(0)
    await expect(chat.box).to_be_focused()
    listed = await chats(chat)
    await expect(titles(listed)).to_have_text(["count to 4", "count to 3"])
    await listed.get_by_role("button", name="count to 3").first.click()
    await expect(listed).to_be_hidden()
    await expect(chat.answer()).to_contain_text("1 2 3")
    await chat.ask("count to 5")
    await expect(titles(await chats(chat))).to_have_text(["count to 3", "count to 4"])


async def test_a_chat_can_be_renamed_and_the_name_can_be_left_as_it_was(chat: ChatPage) -> None:
    await chat.ask("count to 3")
    listed = await chats(chat)
    await listed.get_by_role("button", name="Rename count to 3").click()
    await expect(listed.get_by_role("textbox", name="Name")).to_be_focused()
    await chat.page.keyboard.type("Three")
    await chat.page.keyboard.press("Enter")
    await expect(listed.get_by_role("button", name="Rename Three")).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await chat.page.keyboard.type("Four")
    await chat.page.keyboard.press("Escape")
    await expect(titles(listed)).to_have_text(["Three"])
    await chat.page.keyboard.press("Escape")
    await chat.ask("count to 4")
    await chat.reload()
    await expect(titles(await chats(chat))).to_have_text(["Three"])


async def test_a_chat_can_be_deleted_and_brought_back(chat: ChatPage) -> None:
    await chat.ask("count to 3")
    listed = await chats(chat)
    await listed.get_by_role("button", name="Delete count to 3").click()
    assert await stored(chat) == []
    await expect(chat.turns).to_have_count(0)
    undo = listed.get_by_role("button", name="Undo deleting count to 3")
    await expect(undo).to_be_focused()
    await undo.click()
    await expect(listed.get_by_role("button", name="count to 3").first).to_be_focused()
    await expect(titles(listed)).to_have_text(["count to 3"])
    assert [kept["title"] for kept in await stored(chat)] == ["count to 3"]


async def test_a_second_click_at_the_same_place_undoes_nothing(chat: ChatPage) -> None:
    await chat.ask("count to 3")
    listed = await chats(chat)
    await listed.get_by_role("button", name="Delete count to 3").dblclick()
    await expect(listed.get_by_text("Deleted.")).to_be_visible()
    assert await stored(chat) == []
    await listed.get_by_role("button", name="Undo deleting count to 3").dblclick()
    await expect(titles(listed)).to_have_text(["count to 3"])
    assert [kept["title"] for kept in await stored(chat)] == ["count to 3"]


async def test_a_chat_that_another_tab_deleted_is_shown_as_deleted_and_can_be_restored(
    chat: ChatPage, server: Server
) -> None:
    await chat.ask("count to 3")
    await chat.button("New chat").click()
    listed = await chats(chat)
    other = await chat.new_tab()
    await other.open(server)
    await (await chats(other)).get_by_role("button", name="Delete count to 3").click()
    await listed.locator("li button").first.click()
    await expect(listed.get_by_text("Deleted.")).to_be_visible()
    await listed.get_by_role("button", name="Undo deleting count to 3").click()
    await listed.locator("li button").first.click()
    await expect(listed).to_be_hidden()
    await expect(chat.answer()).to_contain_text("1 2 3")


async def test_the_list_closes_with_escape_and_with_a_click_outside(chat: ChatPage) -> None:
    listed = await chats(chat)
    await chat.page.keyboard.press("Escape")
    await expect(listed).to_be_hidden()
    await chats(chat)
    await chat.page.mouse.click(1200, 400)
    await expect(listed).to_be_hidden()


TURN = {"question": "Kept?", "reply": {"text": "Yes.", "ending": "done"}}

#: Odd contents of the store, and the titles of the chats that the page reads from each.
ODD: dict[str, tuple[str, list[str]]] = {
    "no JSON": ("{", []),
    "no list": ('{"turns": []}', []),
    "a list of odd things": (json.dumps([None, 1, "x", [], {}, {"turns": 5}, {"turns": [{}]}]), []),
    "wrong types": (json.dumps([{"id": 7, "title": {}, "changedMs": "then", "turns": [TURN]}]), ["Kept?"]),
    "no reply": (json.dumps([{"turns": [{"question": "Kept?", "reply": 3}]}]), ["Kept?"]),
    "odd calls": (json.dumps([{"turns": [{"question": "Kept?", "reply": {"calls": [None, {"name": 1}]}}]}]), ["Kept?"]),
    "times that are none": (json.dumps([{"changedMs": 1e300, "turns": [TURN]}]), ["Kept?"]),
    "markup": (json.dumps([{"title": "<b>x", "turns": [{"question": "<i>", "reply": {"text": "<u>"}}]}]), ["<b>x"]),
}


@pytest.mark.parametrize("name", ODD)
async def test_the_page_works_with_any_content_of_the_store(name: str, chat: ChatPage) -> None:
    kept, expected = ODD[name]
    await chat.ask("count to 2")
    keys = "for (const key of Object.keys(localStorage)) localStorage[key] = kept"
    await chat.page.evaluate(f"(kept) => {{ sessionStorage.clear(); {keys} }}", kept)
    await chat.reload()
    listed = await chats(chat)
    await expect(titles(listed)).to_have_text(expected)
    if expected:
        await listed.locator("li button").first.click()
        await expect(chat.turns).to_have_count(2)
        assert await chat.log.locator("b, i, u").count() == 0
    else:
        await chat.page.keyboard.press("Escape")
    await chat.ask("count to 5")
    await expect(chat.turns.last).to_contain_text("1 2 3 4 5")


FULL = 'Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }'
CLOSED = 'for (const name of ["localStorage", "sessionStorage"]) ' + (
    'Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });'
)


async def test_a_full_store_is_reported_and_the_chat_goes_on(browser: Browser, server: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.page.add_init_script(FULL)
        await chat.open(server)
        await chat.ask("count to 5")
        await expect(chat.text("This browser cannot keep the chat")).to_be_visible()
        await expect(chat.answer()).to_contain_text("1 2 3 4 5")


async def test_a_browser_that_keeps_nothing_does_as_well(browser: Browser, server: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.page.add_init_script(CLOSED)
        await chat.open(server)
        await chat.ask("count to 5")
        await expect(chat.answer()).to_contain_text("1 2 3 4 5")
        await expect(chat.text("it is gone when the page is closed")).to_be_visible()
        await expect(chat.button("Chats")).to_have_count(0)


async def test_a_chat_that_is_deleted_while_its_answer_comes_stays_deleted(chat: ChatPage) -> None:
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    listed = await chats(chat)
    await listed.get_by_role("button", name="Delete count to 5").click()
    await expect(chat.button("Send")).to_have_count(1)
    await expect(chat.turns).to_have_count(0)
    assert await stored(chat) == []
    await listed.get_by_role("button", name="Undo deleting count to 5").click()
    await listed.locator("li button").first.click()
    await expect(chat.answer()).to_contain_text("1 2 3")
    await expect(chat.answer()).to_contain_text("Stopped.")


async def test_the_open_chat_is_left_as_it_is_by_a_click_in_a_list_that_is_older(chat: ChatPage) -> None:
    await chat.choose("slow")
    await chat.send("count to 12")
    listed = await chats(chat)
    await chat.ended()
    before = await stored(chat)
    await listed.locator("li button").first.click()
    await expect(listed).to_be_hidden()
    await expect(chat.answer()).to_contain_text("11 12")
    assert await stored(chat) == before


async def test_a_chat_is_called_by_its_first_question_until_it_is_renamed(chat: ChatPage) -> None:
    await chat.ask("count to 3")
    await replace_question(chat, "count to 4")
    listed = await chats(chat)
    await expect(titles(listed)).to_have_text(["count to 4"])
    await listed.get_by_role("button", name="Rename count to 4").click()
    await chat.page.keyboard.type("Four")
    await chat.page.keyboard.press("Enter")
    await chat.page.keyboard.press("Escape")
    await replace_question(chat, "count to 5")
    await expect(titles(await chats(chat))).to_have_text(["Four"])


@pytest.mark.parametrize("where", ["here", "in another tab"])
async def test_a_chat_can_be_called_by_its_first_question_again(where: str, chat: ChatPage, server: Server) -> None:
    await chat.ask("count to 3")
    renaming = chat
    if where == "in another tab":
        renaming = await chat.new_tab()
        await renaming.open(server)
    for old, new, question in (("count to 3", "Three", "count to 4"), ("Three", "count to 3", "count to 5")):
        listed = await chats(renaming)
        await listed.get_by_role("button", name=f"Rename {old}").click()
        await renaming.page.keyboard.type(new)
        await renaming.page.keyboard.press("Enter")
        await renaming.page.keyboard.press("Escape")
        await chat.ask(question)
        assert [kept["title"] for kept in await stored(chat)] == [new]


async def replace_question(chat: ChatPage, question: str) -> None:
    await chat.question().hover()
    await chat.question().get_by_role("button", name="Edit").click()
    await chat.question().get_by_role("textbox").fill(question)
    await chat.page.keyboard.press("Enter")
    await chat.ended()


async def test_two_tabs_that_go_on_with_one_chat_end_with_two(chat: ChatPage, server: Server) -> None:
    await chat.ask("count to 2")
    other = await chat.new_tab()
    await other.open(server)
    await (await chats(other)).locator("li button").first.click()
    await chat.ask("count to 3")
    await other.ask("count to 4")
    await chat.ask("count to 5")
    questions = [[turn["question"] for turn in kept["turns"]] for kept in await stored(chat)]
    assert questions == [["count to 2", "count to 3", "count to 5"], ["count to 2", "count to 4"]]
    await other.reload()
    await expect(other.question(1)).to_contain_text("count to 4")


async def test_a_chat_that_another_tab_deletes_is_stored_again_with_the_next_question(
    chat: ChatPage, server: Server
) -> None:
    await chat.choose("slow")
    await chat.send("count to 12")
    other = await chat.new_tab()
    await other.open(server)
    await (await chats(other)).get_by_role("button", name="Delete count to 12").click()
    await chat.ended()
    assert await stored(chat) == []
    await chat.ask("count to 3", "mock")
    assert [len(kept["turns"]) for kept in await stored(chat)] == [2]


async def test_a_chat_that_does_not_fit_costs_none_of_the_older_ones_and_keeps_its_question(chat: ChatPage) -> None:
    for question in ("count to 3", "count to 4"):
        await chat.ask(question)
        await chat.button("New chat").click()
    before = await stored(chat)
    await chat.page.evaluate(ROOM_FOR_TWO_CHATS)
    await chat.ask("count to 400")
    await expect(chat.text("this one is gone when the page is closed")).to_be_visible()
    assert (await stored(chat))[1:] == before
    assert (await stored(chat))[0]["turns"][0]["question"] == "count to 400"
    await chat.page.evaluate("() => { Storage.prototype.setItem = setItem; }")
    await chat.ask("count to 5")
    await expect(chat.text("this one is gone when the page is closed")).to_be_hidden()
    assert [len(kept["turns"]) for kept in await stored(chat)] == [2, 1, 1]


# As full as it is with two chats.
ROOM_FOR_TWO_CHATS = """() => {
  globalThis.setItem = Storage.prototype.setItem;
  const room = STORED_CHATS.length + 700; // and a question
  Storage.prototype.setItem = function (key, text) {
    if (text.length > room) throw new DOMException("full", "QuotaExceededError");
    setItem.call(this, key, text);
  };
}""".replace("STORED_CHATS", STORED_CHATS)


async def test_what_has_come_is_kept_when_the_page_is_hidden(chat: ChatPage) -> None:
    """A phone ends hidden pages without an event."""
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    await chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert (await stored(chat))[0]["turns"][0]["reply"]["text"].startswith("1 2 3")
    await expect(chat.button("Stop")).to_be_visible()


async def test_the_chosen_model_outlives_a_reload(chat: ChatPage) -> None:
    await chat.choose("echoes")
    await chat.reload()
    await chat.ask("Hello?")
    assert chat.bodies()[0]["model"] == "echoes"
    await chat.choose("")
    await chat.reload()
    await chat.ask("count to 3")
    assert "model" not in chat.bodies()[1]


# -- the page's title and address


async def test_back_leads_to_the_chat_before_and_an_address_to_its_chat(chat: ChatPage, server: Server) -> None:
    await chat.ask("count to 3")
    await expect(chat.page).to_have_title("count to 3")
    first = chat.page.url
    assert "#" in first
    await chat.button("New chat").click()
    await expect(chat.page).to_have_title("Chat")
    assert "#" not in chat.page.url
    await chat.ask("count to 4")
    await chat.page.go_back()
    await expect(chat.question()).to_contain_text("count to 3")
    await expect(chat.page).to_have_title("count to 3")
    await chat.page.go_forward()
    await expect(chat.question()).to_contain_text("count to 4")
    other = await chat.new_tab()
    await other.open(server, first.removeprefix(f"http://127.0.0.1:{server.port}"))
    await expect(other.question()).to_contain_text("count to 3")


async def test_the_title_follows_a_new_name_at_once(chat: ChatPage) -> None:
    await chat.ask("count to 3")
    listed = await chats(chat)
    await listed.get_by_role("button", name="Rename count to 3").click()
    await listed.get_by_role("textbox", name="Name").fill("Three")
    await listed.get_by_role("button", name="Save").click()
    await expect(chat.page).to_have_title("Three")


async def test_back_past_a_chat_that_was_deleted_goes_on(chat: ChatPage) -> None:
    await chat.ask("count to 3")
    await chat.button("New chat").click()
    await chat.ask("count to 4")
    listed = await chats(chat)
    await listed.get_by_role("button", name="Delete count to 4").click()
    await chat.page.keyboard.press("Escape")
    await chat.page.go_back()
    await expect(chat.turns).to_have_count(0)
    assert "#" not in chat.page.url
    await chat.page.go_back()
    await expect(chat.question()).to_contain_text("count to 3")


async def test_a_host_keeps_its_title_and_its_address(chat: ChatPage) -> None:
    await chat.page.evaluate(
        """() => {
          document.title = "Of the host";
          history.replaceState(null, "", "#of-the-host");
          document.body.replaceChildren(document.createElement("quart-chat"));
        }"""
    )
    await chat.ask("count to 3")
    await chat.button("New chat").click()
    await expect(chat.page).to_have_title("Of the host")
    assert chat.page.url.endswith("#of-the-host")
