"""Uses of the element by a host: moving it, calling it while the focus is elsewhere, and unusual properties."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Locator, Route, expect

from tests.support.hosts.foreign_page import TOKEN
from tests.support.pages import ChatPage, opened
from tests.support.serving import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = 'document.querySelector("quart-chat")'

# In one go, as frameworks do.
MOVE = f"document.body.append({CHAT})"


async def field(chat: ChatPage) -> Locator:
    """Add a field of the host, and give it the focus."""
    await chat.page.evaluate("document.body.prepend(document.createElement('input'))")
    field = chat.page.locator("body > input")
    await field.focus()
    return field


# -- the focus


@pytest.mark.parametrize("call", ["ask('count to 5')", "stop()", "newChat()"])
async def test_no_method_takes_the_focus_from_a_field_of_the_hosts(call: str, chat: ChatPage) -> None:
    theirs = await field(chat)
    await chat.page.evaluate(f"{CHAT}.{call}")
    await expect(theirs).to_be_focused()


async def test_a_method_takes_the_focus_back_from_its_own_buttons(chat: ChatPage) -> None:
    await chat.button("New chat").focus()
    await chat.page.evaluate(f"{CHAT}.newChat()")
    await expect(chat.box).to_be_focused()


@pytest.mark.parametrize("call", ["ask('count to 5')", "stop()", "newChat()"])
async def test_no_method_takes_the_focus_where_nothing_has_it(call: str, chat: ChatPage) -> None:
    await chat.page.evaluate("document.activeElement.blur()")
    await chat.page.evaluate(f"{CHAT}.{call}")
    assert await chat.page.evaluate("document.activeElement.localName") == "body"


async def test_what_else_is_sent_and_how_is_the_hosts(chat: ChatPage) -> None:
    await chat.page.evaluate(f"""() => Object.assign({CHAT}, {{
      body: {{ temperature: 0.5 }},
      fetch: (url, init) => fetch(url, {{ ...init, headers: {{ ...init.headers, "X-Of-The-Host": "yes" }} }}),
    }})""")
    await chat.ask("count to 5", "echoes")
    (request,) = chat.posts()
    assert request.headers["x-of-the-host"] == "yes"
    (body,) = chat.bodies()
    assert (body["temperature"], body["model"]) == (0.5, "echoes")


async def test_a_silent_connection_ends_after_the_hosts_timeout(chat: ChatPage) -> None:
    await chat.page.evaluate(f"{CHAT}.idleSeconds = 0.2")
    await chat.ask("count to 5", "silent")
    await expect(chat.answer()).to_contain_text("The connection fell silent.")


async def test_the_box_has_the_focus_at_first_and_not_again_when_it_is_moved(chat: ChatPage) -> None:
    await expect(chat.box).to_be_focused()
    theirs = await field(chat)
    await chat.scope.locator("link").evaluate(
        "(sheet) => { globalThis.again = new Promise((loaded) => sheet.addEventListener('load', loaded)); }"
    )
    await chat.page.evaluate(MOVE)
    await chat.page.evaluate("again.then(() => {})")
    await expect(theirs).to_be_focused()


# -- the place


async def test_an_answer_goes_on_where_the_element_is_moved_to(chat: ChatPage) -> None:
    await chat.choose("slow")
    await chat.send("count to 12")
    await chat.answer().get_by_text("1 2").wait_for()
    await chat.page.evaluate(MOVE)
    await chat.ended()
    await expect(chat.answer()).to_contain_text("11 12")
    assert len(chat.bodies()) == 1


async def test_what_is_watched_is_neither_lost_nor_doubled_by_a_move(chat: ChatPage) -> None:
    await chat.page.evaluate(f"""() => {{
      globalThis.watched = 0;
      const add = globalThis.addEventListener;
      globalThis.addEventListener = (type, act, options) => {{
        if (type === "keydown") {{
          watched++;
          options.signal.addEventListener("abort", () => watched--);
        }}
        add(type, act, options);
      }};
      for (let count = 3; count; count--) {MOVE};
    }}""")
    assert await chat.page.evaluate("watched") == 1
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    await chat.page.keyboard.press("Escape")
    await expect(chat.answer()).to_contain_text("Stopped.")
    await chat.page.evaluate(f"{CHAT}.remove()")
    assert await chat.page.evaluate("watched") == 0


async def test_an_element_that_is_taken_away_stops_its_answer(chat: ChatPage) -> None:
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    await chat.page.evaluate(f"{{ globalThis.chat = {CHAT}; chat.remove(); }}")
    await chat.page.evaluate("document.body.append(chat)")
    await expect(chat.answer()).to_contain_text("Stopped.")


# -- requests


@pytest.mark.parametrize("src", ["/ai", "/ai/", "/ai?x=1", "/ai#a", "ai"])
async def test_its_routes_are_in_the_folder_of_src(src: str, chat: ChatPage) -> None:
    await chat.page.evaluate(
        """(src) => {
          const chat = document.createElement("quart-chat");
          chat.setAttribute("src", src);
          document.body.replaceChildren(chat);
        }""",
        src,
    )
    await chat.ask("count to 5")
    assert [request.url.split("/", 3)[3] for request in chat.posts()] == ["ai/api/stream"]


@pytest.mark.parametrize(
    "headers",
    [
        f"new Headers({{ Authorization: 'Bearer {TOKEN}' }})",
        f"() => new Headers({{ Authorization: 'Bearer {TOKEN}', 'Content-Type': 'text/plain' }})",
        f"async () => [['Authorization', 'Bearer {TOKEN}']]",
        "null",
    ],
    ids=["Headers", "a function that gives Headers", "a function that gives pairs", "none"],
)
async def test_headers_may_be_whatever_fetch_takes(headers: str, browser: Browser, host: Server) -> None:
    async with opened(browser) as chat:
        await chat.open(host, "/guarded/")
        await chat.page.evaluate(f"() => {{ {CHAT}.headers = {headers}; }}")
        await chat.ask("count to 5")
        if headers == "null":
            await chat.answer().get_by_label("Access token").fill(TOKEN)
            await chat.button("Sign in").click()
        await expect(chat.answer()).to_contain_text("1 2 3 4 5")


async def test_stop_ends_an_answer_whose_headers_never_come(chat: ChatPage) -> None:
    await chat.page.evaluate(f"() => {{ {CHAT}.headers = () => new Promise(() => {{}}); }}")
    await chat.listen()
    await chat.send("count to 5")
    await chat.button("Stop").click()
    await chat.ended()
    await expect(chat.answer()).to_contain_text("Stopped.")
    assert await chat.announcements() == ["Answering", "Stopped"]


@pytest.mark.parametrize("what", ["an answer", "the network"])
async def test_a_list_of_models_that_failed_is_requested_again(what: str, browser: Browser, server: Server) -> None:
    async with opened(browser) as chat:
        await chat.page.route("**/api/models", lambda route: route.abort(), times=1)
        async with chat.page.expect_event("requestfailed"):
            await chat.open(server)
        await expect(chat.scope.get_by_label("Model", exact=True)).to_be_hidden()
        if what == "an answer":
            await chat.ask("count to 5")
        else:
            await chat.page.context.set_offline(True)
            await expect(chat.text("You are offline.")).to_be_visible()
            await chat.page.context.set_offline(False)
        await expect(chat.scope.get_by_label("Model", exact=True)).to_be_visible()


async def test_a_list_of_models_that_is_missing_is_requested_twice_at_most(browser: Browser, server: Server) -> None:
    urls: list[str] = []

    async def refuse(route: Route) -> None:
        urls.append(route.request.url)
        await route.fulfill(status=404)

    async with opened(browser) as chat:
        await chat.page.route("**/api/models", refuse)
        await chat.open(server)
        for _ in range(3):
            await chat.ask("count to 2")
        assert len(urls) == 2
