"""Errors and truncated answers on the page, which never sends a request again by itself."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.hosts.foreign_page import TOKEN
from tests.support.pages import ChatPage, opened
from tests.support.proxy import Proxy, resets_after
from tests.support.serving import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


#: By model: the code, the advice, and the text before the error.
FAULTS = {
    "drops": ("upstream_error", "Try again in a moment.", "1 2 3"),
    "too-long": ("context_too_long", "New chat", ""),
    "busy": ("upstream_busy", "Try again in", ""),
}


@pytest.mark.parametrize("model", FAULTS)
async def test_an_error_and_its_advice_are_shown_below_the_partial_answer(model: str, chat: ChatPage) -> None:
    code, advice, text = FAULTS[model]
    await chat.ask("count to 5", model)
    for words in (KINDS[code].message, advice, text):
        await expect(chat.answer()).to_contain_text(words)
    await expect(chat.answer()).to_contain_text(re.compile("For whoever runs this chat: [0-9a-f]{32}"))
    assert len(chat.bodies()) == 1


async def test_a_retry_sends_the_same_request_once_and_replaces_the_error(chat: ChatPage) -> None:
    await chat.ask("count to 5", "drops")
    await chat.choose("mock")
    await chat.button("Try again").click()
    await chat.ended()
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")
    await expect(chat.text(KINDS["upstream_error"].message)).to_have_count(0)
    assert [body["messages"] for body in chat.bodies()] == [[{"role": "user", "content": "count to 5"}]] * 2


async def test_a_retry_after_is_counted_down_and_the_retry_needs_a_click(browser: Browser, server: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.page.clock.install()
        await chat.open(server)
        await chat.choose("busy")
        await chat.send("count to 5")
        await expect(chat.button("Try again in 7 s")).to_be_disabled()
        await chat.page.clock.run_for(3000)
        await expect(chat.button("Try again in 4 s")).to_be_disabled()
        await chat.page.clock.run_for(60_000)
        await expect(chat.button("Try again")).to_be_enabled()
        assert len(chat.bodies()) == 1
        await chat.button("Try again").click()
        await expect(chat.button("Try again in 7 s")).to_be_disabled()
        assert len(chat.bodies()) == 2


async def test_a_countdown_goes_on_while_the_element_is_off_the_page(browser: Browser, server: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.page.clock.install()
        await chat.open(server)
        await chat.choose("busy")
        await chat.send("count to 5")
        await expect(chat.button("Try again in 7 s")).to_be_disabled()
        await chat.page.evaluate("{ globalThis.chat = document.querySelector('quart-chat'); chat.remove(); }")
        await chat.page.clock.run_for(2000)
        await chat.page.evaluate("document.body.append(chat)")
        await chat.page.clock.run_for(1000)
        await expect(chat.button("Try again in 4 s")).to_be_disabled()
        await chat.page.clock.run_for(5000)
        await expect(chat.button("Try again")).to_be_enabled()


async def test_a_clock_that_is_set_back_lengthens_no_countdown(browser: Browser, server: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.page.clock.install()
        await chat.open(server)
        await chat.choose("busy")
        await chat.send("count to 5")
        await expect(chat.button("Try again in 7 s")).to_be_disabled()
        await chat.page.evaluate("() => { const { now } = Date; Date.now = () => now() - 3_600_000; }")
        await chat.page.clock.run_for(8000)
        await expect(chat.button("Try again")).to_be_enabled()


async def test_a_countdown_ends_with_its_card(browser: Browser, server: Server) -> None:
    """A chat that was removed from the page may come back; a card that was removed from its chat does not."""
    async with opened(browser, fresh=True) as chat:
        await chat.page.clock.install()
        await chat.page.add_init_script(TIMERS)
        await chat.open(server)
        await chat.choose("busy")
        await chat.send("count to 5")
        await expect(chat.button("Try again in 7 s")).to_be_disabled()
        assert await chat.page.evaluate("timers.size") == 1
        await chat.button("New chat").click()
        await chat.page.clock.run_for(1000)
        assert await chat.page.evaluate("timers.size") == 0


# Notes which intervals are under way.
TIMERS = """(() => {
  globalThis.timers = new Set();
  const { setInterval, clearInterval } = globalThis;
  globalThis.setInterval = (act, ms) => {
    const timer = setInterval(act, ms);
    timers.add(timer);
    return timer;
  };
  globalThis.clearInterval = (timer) => {
    timers.delete(timer);
    clearInterval(timer);
  };
})()"""


async def test_a_broken_connection_is_reported_and_the_partial_answer_stays(browser: Browser, server: Server) -> None:
    async with Proxy(server.port, resets_after(100_000)) as proxy, opened(browser) as chat:
        await chat.page.goto(proxy.origin)
        await chat.ask("Write a long explanation")
        await expect(chat.answer()).to_contain_text("How an answer streams")
    async with opened(browser) as chat:
        await chat.open(server)
        await chat.page.context.set_offline(True)
        await expect(chat.text("You are offline.")).to_be_visible()
        await chat.page.context.set_offline(False)
        await expect(chat.text("You are offline.")).to_be_hidden()
        await chat.page.route("**/api/stream", lambda route: route.abort(), times=1)
        await chat.ask("count to 5")
        await expect(chat.answer()).to_contain_text("The connection failed.")
        await expect(chat.answer()).to_contain_text("Check your connection, then try again.")
        assert len(chat.bodies()) == 1
        await chat.button("Try again").click()
        await chat.ended()
        await expect(chat.answer()).to_contain_text("1 2 3 4 5")


async def test_an_error_is_shown_again_after_a_reload(chat: ChatPage) -> None:
    await chat.ask("count to 5", "drops")
    await chat.reload()
    await expect(chat.answer()).to_contain_text("1 2 3")
    await expect(chat.answer()).to_contain_text(KINDS["upstream_error"].message)
    await expect(chat.button("Try again")).to_be_visible()


async def test_an_older_question_is_not_tried_again_for_that_would_undo_what_follows(chat: ChatPage) -> None:
    await chat.ask("count to 5", "drops")
    await chat.ask("count to 2", "mock")
    await expect(chat.button("Try again")).to_have_count(0)
    await expect(chat.answer()).to_contain_text(KINDS["upstream_error"].message)


@pytest.mark.parametrize("thrown", ["new Error('no token')", "'no token'"])
async def test_an_exception_of_a_hosts_function_is_shown_as_an_error(thrown: str, chat: ChatPage) -> None:
    await chat.page.evaluate(f"() => {{ document.querySelector('quart-chat').headers = () => {{ throw {thrown}; }}; }}")
    await chat.ask("count to 5")
    await expect(chat.answer()).to_contain_text("no token")
    await expect(chat.button("Try again")).to_be_enabled()
    assert chat.bodies() == []


async def test_an_id_that_is_a_number_is_shown(chat: ChatPage) -> None:
    error = {"error": {"message": "Nope", "id": 5}}
    await chat.page.route("**/api/stream", lambda route: route.fulfill(status=500, json=error))
    await chat.ask("count to 5")
    await expect(chat.answer()).to_contain_text("Nope")
    await expect(chat.answer()).to_contain_text("For whoever runs this chat: 5")


async def test_an_id_that_cannot_be_converted_to_text_is_left_out(chat: ChatPage) -> None:
    throw = "throw Object.assign(new Error('odd'), { id: { toString() { throw new Error('untold'); } } })"
    await chat.page.evaluate(f"() => {{ document.querySelector('quart-chat').headers = () => {{ {throw}; }}; }}")
    await chat.ask("count to 5")
    await expect(chat.answer()).to_contain_text("odd")
    await expect(chat.button("Try again")).to_be_visible()
    await expect(chat.text("For whoever runs this chat")).to_have_count(0)


async def test_a_message_that_is_very_long_is_shortened_for_eye_and_ear(chat: ChatPage) -> None:
    throw = 'document.querySelector("quart-chat").headers = () => { throw new Error("Y".repeat(5000)); }'
    await chat.page.evaluate(f"() => {{ {throw}; }}")
    await chat.ask("count to 5")
    short = "Y" * 300 + "…"
    await expect(chat.answer().get_by_text("YYY")).to_have_text(short)
    await expect(chat.status).to_have_text(f"Error: {short}")
    await chat.reload()
    await expect(chat.answer().get_by_text("YYY")).to_have_text(short)


async def test_a_404_is_shown_without_a_sign_in(chat: ChatPage) -> None:
    await chat.page.route("**/api/stream", lambda route: route.fulfill(status=404, body="nothing here"))
    await chat.ask("count to 5")
    await expect(chat.answer()).to_contain_text("There is no chat at this address.")
    await expect(chat.answer()).not_to_contain_text("sign in")


#: The text on the page for each model.
ENDS = {
    "filtered": "A content filter ended the answer.",
    "cut": "The answer was cut at its limit.",
}


@pytest.mark.parametrize("model", ENDS)
async def test_a_truncated_answer_shows_the_reason(model: str, chat: ChatPage) -> None:
    await chat.ask("count to 5", model)
    await expect(chat.answer()).to_contain_text(ENDS[model])


START = {"type": "start", "model": "mock"}
DONE = {"type": "done", "finish_reason": "stop"}
#: The records of answers without a text, the status, and if the page reports that there is no answer.
TEXTLESS: dict[str, tuple[list[dict[str, object]], str, bool]] = {
    "nothing at all": ([], "The model gave no answer", True),
    "white space": ([{"type": "delta", "text": " \n"}], "The model gave no answer", True),
    "thoughts": ([{"type": "reasoning", "text": "Well."}], "The model gave no answer", True),
    "a call": ([{"type": "tool_call", "index": 0, "name": "look", "arguments": "{}"}], "Answer finished", False),
}


@pytest.mark.parametrize("name", TEXTLESS)
async def test_an_answer_without_a_text_is_not_counted_in_words(name: str, chat: ChatPage) -> None:
    records, status, is_none = TEXTLESS[name]
    lines = "".join(json.dumps(record) + "\n" for record in [START, *records, DONE])
    answer = {"body": lines, "content_type": "application/x-ndjson"}
    await chat.page.route("**/api/stream", lambda route: route.fulfill(**answer))
    await chat.ask("count to 5")
    await expect(chat.status).to_have_text(status)
    await expect(chat.text("The model gave no answer.")).to_have_count(int(is_none))


@pytest.mark.parametrize("model", ["calls", "refuses", "mock"])
async def test_an_answer_without_text_may_be_one(model: str, chat: ChatPage) -> None:
    await chat.ask("count to 5", model)
    await expect(chat.answer()).not_to_contain_text("no answer")


# -- signing in


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(browser: Browser, host: Server) -> AsyncIterator[ChatPage]:
    """The page of a chat that requires a token."""
    async with opened(browser) as chat:
        await chat.open(host, "/guarded/")
        yield chat


async def test_after_a_sign_in_the_question_is_sent_again(guarded: ChatPage) -> None:
    await guarded.ask("count to 5")
    token = guarded.answer().get_by_label("Access token")
    await token.fill("wrong")
    await guarded.button("Sign in").click()
    await expect(guarded.text("This token was not accepted.")).to_be_visible()
    await token.fill(TOKEN)
    await token.press("Enter")
    await guarded.ended()
    await expect(guarded.answer()).to_contain_text("1 2 3 4 5")
    assert len(guarded.bodies()) == 3
    await guarded.ask("count to 2")
    await expect(guarded.turns).to_have_count(4)


async def test_a_token_that_no_request_can_carry_is_not_accepted_and_another_may_be_given(guarded: ChatPage) -> None:
    await guarded.ask("count to 5")
    token = guarded.answer().get_by_label("Access token")
    for unsendable in ("schlüssel", "two words", "   "):
        await token.fill(unsendable)
        await guarded.button("Sign in").click()
        await expect(guarded.text("This token was not accepted.")).to_be_visible()
    assert len(guarded.bodies()) == 1
    await token.fill(TOKEN)
    await guarded.button("Sign in").click()
    await expect(guarded.answer()).to_contain_text("1 2 3 4 5")


async def test_what_a_sign_in_is_for_can_be_read_in_a_small_box(guarded: ChatPage) -> None:
    await guarded.page.set_viewport_size({"width": 320, "height": 320})
    await guarded.ask("count to 5")
    await expect(guarded.text("Sign in to ask.")).to_be_in_viewport(ratio=1)
    await expect(guarded.button("Sign in")).to_be_in_viewport(ratio=1)


async def test_a_token_is_kept_nowhere_but_in_memory(guarded: ChatPage) -> None:
    await guarded.ask("count to 5")
    await guarded.answer().get_by_label("Access token").fill(TOKEN)
    await guarded.button("Sign in").click()
    await expect(guarded.answer()).to_contain_text("1 2 3 4 5")
    kept = await guarded.page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])")
    assert "count to 5" in kept
    assert TOKEN not in kept
    assert all(TOKEN not in request.url for request in guarded.record.requests)


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_host_can_show_a_sign_in_of_its_own(when: str, guarded: ChatPage) -> None:
    await guarded.page.evaluate(
        """([token, when]) => {
          const chat = document.querySelector("quart-chat");
          chat.addEventListener("chat-sign-in", (event) => {
            event.preventDefault();
            chat.headers = async () => ({ Authorization: `Bearer ${token}` });
            document.body.dataset.state = "signing in";
            if (when === "at once") chat.signIn();
          });
        }""",
        [TOKEN, when],
    )
    await guarded.listen()
    await guarded.ask("count to 5")
    assert await guarded.page.evaluate("document.body.dataset.state") == "signing in"
    await expect(guarded.answer().get_by_label("Access token")).to_have_count(0)
    if when == "later":
        await guarded.page.evaluate('document.querySelector("quart-chat").signIn()')
    await expect(guarded.answer()).to_contain_text("1 2 3 4 5")
    announced = await guarded.announcements()
    assert announced[-1] == "Answer finished, 5 words"
    assert any(text.startswith("Error") for text in announced) == (when == "later")
    assert len(guarded.bodies()) == 2


#: The bodies of a 401 from a host's own sign-in in front of the chat.
FOREIGN_401 = {
    "a page": "<h1>401</h1>",
    "a text": '{"error": "login required"}',
    "a detail": '{"detail": "Not authenticated"}',
    "a code of its own": '{"error": {"message": "Log in", "code": "login_required"}}',
}


@pytest.mark.parametrize("name", FOREIGN_401)
async def test_any_401_is_an_event_for_the_host_and_shows_no_field_for_a_token(name: str, chat: ChatPage) -> None:
    refusal = {"status": 401, "body": FOREIGN_401[name]}
    await chat.page.route("**/api/stream", lambda route: route.fulfill(**refusal), times=1)
    await chat.page.evaluate(
        """() => {
          globalThis.received = [];
          for (const name of ["chat-sign-in", "chat-error"])
            document.addEventListener(name, ({ type, detail }) => received.push([type, detail.error.status]));
        }"""
    )
    await chat.ask("count to 5")
    assert await chat.page.evaluate("received") == [["chat-sign-in", 401], ["chat-error", 401]]
    await expect(chat.answer()).to_contain_text("Sign in, then try again.")
    await expect(chat.answer().get_by_label("Access token")).to_have_count(0)
    await expect(chat.button("Try again")).to_be_enabled()
    await chat.page.evaluate('document.querySelector("quart-chat").signIn()')
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")
