"""The element on the page of a host: below its style sheet, under its policy, twice, and driven by its script."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.hosts.foreign_page import TOKEN
from tests.support.pages import ChatPage, opened
from tests.support.serving import ROOT, Server, Servers, eventually

IN_A_BROWSER = pytest.mark.asyncio(loop_scope="module")

CHAT = 'document.querySelector("quart-chat")'


@pytest_asyncio.fixture(loop_scope="module")
async def two(browser: Browser, host: Server) -> AsyncIterator[tuple[ChatPage, ChatPage]]:
    """The two chats of a page whose style sheet is hostile and whose policy allows nothing inline."""
    async with opened(browser) as first:
        await first.page.goto(f"http://127.0.0.1:{host.port}/")
        first.scope = first.page.locator("#first")
        second = first.neighbour("#second")
        await first.box.wait_for()
        yield first, second


Two = tuple[ChatPage, ChatPage]


@IN_A_BROWSER
async def test_a_hostile_style_sheet_and_a_strict_policy_do_no_harm(two: Two) -> None:
    chat, _ = two
    await chat.ask("Show me a table and code")
    for part in ("table", "code", "heading"):
        await expect(chat.answer().get_by_role(part).first).to_be_visible()
    for part, style in (("asked", "static"), ("prose", "static")):
        await expect(chat.scope.locator(f".{part}").first).to_have_css("position", style)
    await expect(chat.scope.locator(".asked")).to_have_css("letter-spacing", "normal")
    await expect(chat.scope.locator(".asked")).to_have_css("text-transform", "none")
    await expect(chat.button("Send")).not_to_have_css("color", "rgb(255, 0, 0)")
    box = await chat.scope.bounding_box()
    assert box
    assert box["height"] == 400


@IN_A_BROWSER
async def test_a_src_of_the_host_works_behind_a_proxy_that_takes_a_prefix_off(
    browser: Browser, servers: Servers, needs: Callable[[str], str]
) -> None:
    host = servers.get("hypercorn", "below_a_prefix:app")
    strip = "if ($request_uri !~ ^/team/app/) { return 404; } rewrite ^/team/app(/.*)$ $1 break; proxy_buffering off;"
    proxy = servers.proxy(needs("nginx"), host, strip)
    for port, path in ((host.port, "/"), (proxy.port, "/team/app/")):
        async with opened(browser) as chat:
            await chat.page.goto(f"http://127.0.0.1:{port}{path}")
            await chat.box.wait_for()
            await chat.ask("count to 3")
            await expect(chat.answer()).to_contain_text("1 2 3")


@IN_A_BROWSER
async def test_it_looks_the_same_there_as_at_home(browser: Browser, host: Server, two: Two) -> None:
    """Styles of the page for its own elements do not apply to elements within the chat."""
    styles = """(chat) => Array.from(chat.shadowRoot.querySelectorAll(".chat *"), (element) => {
      const { color, fontSize, fontFamily, display, visibility, letterSpacing, lineHeight } = getComputedStyle(element);
      return [element.className, color, fontSize, fontFamily, display, visibility, letterSpacing, lineHeight].join();
    }).join("\\n")"""
    chat, _ = two
    await chat.ask("count to 5")
    embedded = await chat.scope.evaluate(styles)
    async with opened(browser) as home:
        await home.open(host, "/open/")
        await home.ask("count to 5")
        assert await home.scope.evaluate(styles) == embedded


@IN_A_BROWSER
async def test_its_size_can_be_had_back_where_the_root_is_smaller(chat: ChatPage) -> None:
    places = """(chat) => Array.from(chat.shadowRoot.querySelectorAll(".chat *"), (element) => {
      const { x, y, width, height } = element.getBoundingClientRect();
      return [element.className, getComputedStyle(element).fontSize, x, y, width, height].join();
    })"""
    await chat.ask("Show me a table and code")
    await expect(chat.answer().locator(".token-kwd").first).to_be_visible()
    usual = await chat.scope.evaluate(places)
    await chat.page.evaluate("document.documentElement.style.fontSize = '62.5%'")
    assert await chat.scope.evaluate(places) != usual
    await chat.scope.evaluate("(chat) => chat.style.setProperty('--quart-chat-size', '16px')")
    assert await chat.scope.evaluate(places) == usual


@IN_A_BROWSER
async def test_it_has_the_height_that_its_page_sets(chat: ChatPage) -> None:
    await chat.scope.evaluate("(chat) => { chat.style.height = '300px'; }")
    box = await chat.scope.bounding_box()
    assert box
    assert box["height"] == 300


@IN_A_BROWSER
@pytest.mark.parametrize("height", [160, 300, 576])
async def test_what_is_written_leaves_room_for_the_conversation_in_a_low_box(
    height: int, browser: Browser, server: Server
) -> None:
    async with opened(browser, viewport={"width": 900, "height": 1440}) as chat:
        await chat.open(server)
        await chat.scope.evaluate("(chat, height) => { chat.style.height = `${height}px`; }", height)
        await chat.ask("count to 5")
        low = await chat.box.bounding_box()
        await chat.box.fill("line\n" * 40)
        log, send, box = [await part.bounding_box() for part in (chat.log, chat.button("Send"), chat.box)]
        assert low
        assert log
        assert send
        assert box
        assert log["height"] >= min(96, height / 4)
        assert log["y"] + log["height"] <= box["y"]
        assert box["height"] >= low["height"]
        assert box["y"] + box["height"] <= height
        assert send["y"] + send["height"] <= height


@IN_A_BROWSER
async def test_in_a_narrow_box_the_choice_of_a_model_leaves_room_for_the_rest(chat: ChatPage) -> None:
    await chat.choose("mock")
    await chat.scope.evaluate("(chat) => { chat.style.width = '260px'; }")
    box = await chat.scope.get_by_label("Model").bounding_box()
    assert box
    assert 50 < box["width"] <= 260 / 3


@IN_A_BROWSER
async def test_what_is_printed_is_the_conversation_and_all_of_its_code(chat: ChatPage) -> None:
    await chat.scope.evaluate("(chat) => chat.setAttribute('system-prompt', '')")
    await chat.ask("```\n" + "long " * 100 + "\n```", "echoes")
    await chat.page.emulate_media(media="print")
    await expect(chat.answer().locator("pre")).to_have_css("white-space-collapse", "preserve")
    wide = "(code) => code.scrollWidth - code.clientWidth"
    assert await chat.answer().locator("pre").evaluate(wide) == 0
    for unseen in (chat.box, chat.text("Instructions for this chat"), chat.button("Copy").first):
        await expect(unseen).to_be_hidden()


@IN_A_BROWSER
async def test_two_on_a_page_know_nothing_of_each_other(two: Two) -> None:
    first, second = two
    await first.ask("count to 5")
    await expect(second.turns).to_have_count(0)
    await second.page.evaluate(f"document.querySelector('#second').signIn('{TOKEN}')")
    await second.ask("count to 2")
    await expect(first.turns).to_have_count(2)
    paths = [request.url.split("/", 3)[3] for request in first.posts()]
    assert paths == ["open/api/stream", "guarded/api/stream"]
    for chat, title in ((first, "count to 5"), (second, "count to 2")):
        await chat.button("Chats").click()
        await expect(chat.scope.locator("dialog .title")).to_have_text([title])
        await chat.page.keyboard.press("Escape")


@IN_A_BROWSER
async def test_stopping_one_leaves_the_other_alone(browser: Browser, server: Server) -> None:
    async with opened(browser) as first:
        await first.open(server)
        await first.page.evaluate(
            """() => {
              const other = document.createElement("quart-chat");
              Object.assign(other, { id: "other" }).setAttribute("src", ".");
              document.body.append(other);
            }"""
        )
        first.scope = first.page.locator("main > quart-chat")
        other = first.neighbour("#other")
        for chat in (first, other):
            await chat.choose("stalls")
            await chat.send("count to 5")
        await first.box.focus()
        await first.page.keyboard.press("Escape")
        await expect(first.button("Send")).to_be_visible()
        await expect(other.button("Stop")).to_be_visible()
        await first.send("count to 5")
        await other.page.evaluate("document.querySelector('#other').ask('count to 7')")
        await first.page.evaluate("document.activeElement.shadowRoot.activeElement.blur()")
        await first.page.keyboard.press("Escape")
        await expect(other.button("Send")).to_be_visible()
        await expect(first.button("Stop")).to_be_visible()


@IN_A_BROWSER
async def test_the_modules_of_two_prefixes_do_not_get_in_each_others_way(two: Two) -> None:
    chat, _ = two
    await chat.page.evaluate("import('/guarded/static/quart-chat.js').then(() => {})")
    await chat.ask("count to 5")
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")


@IN_A_BROWSER
async def test_a_welcome_of_the_host_takes_the_place_of_ours(two: Two) -> None:
    first, second = two
    await expect(first.text("What would you like to know?")).to_be_visible()
    await expect(second.text("What would you like to know?")).to_be_hidden()
    assert await second.page.get_by_text("A welcome of our own").evaluate("(welcome) => welcome.assignedSlot.name") == (
        "empty"
    )


@IN_A_BROWSER
async def test_headings_and_placeholders_are_the_hosts(two: Two) -> None:
    first, second = two
    await expect(first.scope.get_by_role("heading", name="First")).to_be_visible()
    await expect(first.box).to_have_attribute("placeholder", "Ask the first")
    await expect(second.box).to_have_attribute("placeholder", "Ask something")
    await first.page.evaluate("document.querySelector('#first').setAttribute('heading', 'Renamed')")
    await expect(first.scope.get_by_role("heading", name="Renamed")).to_be_visible()


@pytest.mark.parametrize(
    "headers",
    [
        f"{{ Authorization: 'Bearer {TOKEN}' }}",
        f"() => ({{ Authorization: 'Bearer {TOKEN}' }})",
        f"async () => ({{ Authorization: 'Bearer {TOKEN}' }})",
        f"new Headers({{ Authorization: 'Bearer {TOKEN}' }})",
        f"[['Authorization', 'Bearer {TOKEN}']]",
    ],
    ids=["an object", "a function", "an async function", "Headers", "pairs"],
)
@IN_A_BROWSER
async def test_the_headers_of_the_host_go_with_every_request(headers: str, browser: Browser, host: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.page.add_init_script(
            f"""customElements.whenDefined("quart-chat").then(() => {{ {CHAT}.headers = {headers}; }});"""
        )
        await chat.open(host, "/guarded/")
        await chat.ask("count to 5")
        await expect(chat.answer()).to_contain_text("1 2 3 4 5")


@IN_A_BROWSER
async def test_properties_that_are_set_before_the_script_has_come_count(browser: Browser, host: Server) -> None:
    async with opened(browser) as chat:
        await chat.page.route("**/quart-chat.js", lambda route: route.abort())
        await chat.page.goto(f"http://127.0.0.1:{host.port}/guarded/")
        await chat.page.unroute("**/quart-chat.js")
        await chat.page.evaluate(
            f"""async (token) => {{
              const headers = {{ Authorization: `Bearer ${{token}}` }};
              Object.assign({CHAT}, {{ suggestions: ["count to 5"], headers }});
              const entry = document.querySelector("script[type=module]");
              await import(`${{entry.src}}?again`);
            }}""",
            TOKEN,
        )
        await chat.log.get_by_role("button", name="count to 5").click()
        await expect(chat.answer()).to_contain_text("1 2 3 4 5")


@IN_A_BROWSER
async def test_it_is_driven_by_its_methods(chat: ChatPage) -> None:
    await chat.page.evaluate(f"{CHAT}.ask('count to 5')")
    await chat.ended()
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")
    await chat.page.evaluate(f"{CHAT}.setAttribute('model', 'stalls')")
    await chat.page.evaluate(f"{CHAT}.ask('count to 7')")
    await chat.answer(1).get_by_text("1 2 3").wait_for()
    await chat.page.evaluate(f"{CHAT}.stop()")
    await expect(chat.answer(1)).to_contain_text("Stopped.")
    await chat.page.evaluate(f"{CHAT}.newChat()")
    await expect(chat.turns).to_have_count(0)
    await chat.button("Chats").focus()
    await chat.page.evaluate(f"{CHAT}.focus()")
    await expect(chat.box).to_be_focused()


@IN_A_BROWSER
async def test_suggestions_can_be_others_or_none(chat: ChatPage) -> None:
    await chat.page.evaluate(f"{CHAT}.suggestions = ['<b>One</b>', 'Two']")
    await expect(chat.log.get_by_role("button")).to_have_text(["<b>One</b>", "Two"])
    await chat.page.evaluate(f"{CHAT}.suggestions = []")
    await expect(chat.log.get_by_role("button")).to_have_count(0)


@IN_A_BROWSER
async def test_suggestions_that_are_null_are_none_and_those_set_before_it_is_on_the_page_count(chat: ChatPage) -> None:
    await chat.page.evaluate(f"{CHAT}.suggestions = null")
    await expect(chat.log.get_by_role("button")).to_have_count(0)
    await chat.page.evaluate("""() => {
      const other = document.createElement("quart-chat");
      Object.assign(other, { id: "other", suggestions: ["One"] });
      document.body.append(other);
    }""")
    other = chat.neighbour("#other")
    await expect(other.log.get_by_role("button")).to_have_text(["One"])


@IN_A_BROWSER
async def test_escape_that_stops_an_answer_leaves_the_hosts_dialog_open(chat: ChatPage) -> None:
    await chat.page.evaluate(f"""() => {{
      const dialog = document.createElement("dialog");
      document.body.append(dialog);
      dialog.append({CHAT});
      dialog.showModal();
    }}""")
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()
    await chat.page.keyboard.press("Escape")
    await expect(chat.answer()).to_contain_text("Stopped.")
    await expect(chat.box).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await expect(chat.box).to_be_hidden()


@IN_A_BROWSER
async def test_the_list_of_chats_is_closed_when_it_is_put_back_on_the_page(chat: ChatPage) -> None:
    await chat.button("Chats").click()
    await expect(chat.page.get_by_role("dialog", name="Chats")).to_be_visible()
    await chat.page.evaluate(f"{{ const chat = {CHAT}; chat.remove(); document.body.append(chat); }}")
    await expect(chat.page.get_by_role("dialog", name="Chats")).to_be_hidden()
    await chat.button("Chats").click()
    await expect(chat.page.get_by_role("dialog", name="Chats")).to_be_visible()


@IN_A_BROWSER
async def test_another_src_is_for_another_element(chat: ChatPage) -> None:
    await chat.page.evaluate(f"{CHAT}.setAttribute('src', '/elsewhere')")
    await chat.ask("count to 5")
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")


async def events_of(chat: ChatPage, question: str, model: str) -> Any:
    """Send a question, and return the chat's events that the document of the page receives."""
    await chat.page.evaluate(
        """() => {
          globalThis.received = [];
          for (const name of ["chat-ask", "chat-answer", "chat-error"]) {
            document.addEventListener(name, ({ type, detail, target, composed }) => {
              const { error, ...more } = detail;
              received.push([type, target.localName, composed, error ? error.code : more]);
            });
          }
        }"""
    )
    await chat.ask(question, model)
    return await chat.page.evaluate("received")


@IN_A_BROWSER
async def test_questions_and_answers_are_events_of_the_page(chat: ChatPage) -> None:
    usage = {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11, "cached_input_tokens": 0, "reasoning_tokens": 0}
    answer = {"text": "1 2 3 4 5", "finishReason": "stop", "usage": usage}
    assert await events_of(chat, "count to 5", "mock") == [
        ["chat-ask", "quart-chat", True, {"text": "count to 5"}],
        ["chat-answer", "quart-chat", True, answer],
    ]


@IN_A_BROWSER
async def test_the_page_may_send_a_question_when_an_answer_has_come(chat: ChatPage) -> None:
    await chat.listen()
    await chat.page.evaluate(f"""() => {CHAT}.addEventListener(
      "chat-answer", ({{ target }}) => target.ask("count to 2"), {{ once: true }})""")
    await chat.send("count to 5")
    await expect(chat.answer(1)).to_contain_text("1 2")
    await chat.ended()
    announced = await chat.announcements()
    assert (announced[-1], "Stopped" in announced) == ("Answer finished, 2 words", False)


@IN_A_BROWSER
async def test_errors_are_events_of_the_page(chat: ChatPage) -> None:
    assert (await events_of(chat, "count to 5", "drops"))[1:] == [["chat-error", "quart-chat", True, "upstream_error"]]


@pytest.mark.parametrize(("storage", "local", "session"), [("none", 0, 0), ("session", 0, 2), ("local", 1, 1)])
@IN_A_BROWSER
async def test_the_attribute_storage_sets_where_chats_are_kept(
    storage: str, local: int, session: int, browser: Browser, server: Server
) -> None:
    async with opened(browser) as chat:
        await chat.page.goto(f"http://127.0.0.1:{server.port}/docs")
        await chat.page.evaluate(
            """async (storage) => {
              await import("/static/quart-chat.js");
              const chat = document.createElement("quart-chat");
              chat.setAttribute("storage", storage);
              document.body.replaceChildren(chat);
            }""",
            storage,
        )
        await chat.ask("count to 5")
        assert await chat.page.evaluate("[localStorage.length, sessionStorage.length]") == [local, session]
        await expect(chat.button("Chats")).to_have_count(0 if storage == "none" else 1)


@IN_A_BROWSER
async def test_it_takes_its_colours_and_fonts_from_the_page_where_it_is_given_them(chat: ChatPage) -> None:
    await chat.page.evaluate(
        f"""() => {{
          {CHAT}.style.setProperty("--quart-chat-paper", "rgb(1, 2, 3)");
          {CHAT}.style.setProperty("--quart-chat-reading-font", "monospace");
        }}"""
    )
    await expect(chat.scope.locator(".chat")).to_have_css("background-color", "rgb(1, 2, 3)")
    await expect(chat.log.get_by_role("button").first).to_have_css("font-family", "monospace")


@IN_A_BROWSER
@pytest.mark.parametrize(
    ("scheme", "preferred", "seen"),
    [(None, "dark", "dark"), (None, "light", "light"), ("light", "dark", "light")],
)
async def test_it_has_the_color_scheme_of_the_system_or_the_host(
    scheme: str | None, preferred: Literal["dark", "light"], seen: str, browser: Browser, server: Server
) -> None:
    async with opened(browser, color_scheme=preferred) as chat:
        await chat.open(server)
        if scheme:
            await chat.page.evaluate(f"{CHAT}.setAttribute('scheme', '{scheme}')")
        await expect(chat.scope.locator(".chat")).to_have_css("color-scheme", seen)


@IN_A_BROWSER
async def test_moving_it_keeps_its_conversation(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.page.evaluate(f"document.body.append({CHAT})")
    await expect(chat.answer()).to_contain_text("1 2 3 4 5")
    await chat.ask("count to 2")
    await expect(chat.turns).to_have_count(4)


@IN_A_BROWSER
async def test_nothing_is_seen_before_the_style_sheet_has_come(browser: Browser, server: Server) -> None:
    async with opened(browser) as chat:
        held: list[Any] = []
        await chat.page.route("**/quart-chat.css", lambda route: held.append(route))
        await chat.page.goto(f"http://127.0.0.1:{server.port}/", wait_until="commit")
        await expect(chat.scope.locator("link")).to_have_count(1)
        await expect(chat.scope.locator(".chat")).to_be_hidden()
        await eventually(lambda: held)
        for route in held:
            await route.continue_()
        await expect(chat.box).to_be_visible()


@IN_A_BROWSER
async def test_the_example_is_a_page_with_it(browser: Browser, servers: Servers) -> None:
    """Serve the example from a project with the chat at /ai."""
    server = servers.get("hypercorn", "flask_page:asgi", CHAT_MOCK_TOKENS_PER_S="0")
    html = (ROOT / "examples" / "element.html").read_text(encoding="utf-8")
    async with opened(browser) as chat:
        await chat.page.route("**/page", lambda route: route.fulfill(body=html, content_type="text/html"))
        await chat.open(server, "/page")
        await chat.log.get_by_role("button", name="Count to 20").click()
        await expect(chat.page.get_by_text("1 answered, the last in 50 characters.")).to_be_visible()
        assert chat.posts()[0].headers["x-page"] == "/page"


# -- the documentation

DOC = (ROOT / "docs" / "reference" / "element.md").read_text(encoding="utf-8")
STATIC = ROOT / "quartapp" / "static"
SCRIPTS = [STATIC / "quart-chat.js", *STATIC.glob("element/*.js")]
SOURCES = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
STYLES = (STATIC / "quart-chat.css").read_text(encoding="utf-8")


def documented(section: str, table: str) -> set[str]:
    """Return the names in the first column of the table with that head."""
    rows = DOC.partition(f"## {section}")[2].partition(f"| {table} |")[2].partition("\n\n")[0]
    return {name for row in rows.splitlines() for name in re.findall(r"`([\w-]+)", row.split("|")[1]) if "|" in row}


def test_each_attribute_is_documented() -> None:
    read = re.findall(r'(?:has|get)Attribute\("([\w-]+)"\)', SOURCES)
    assert documented("Attributes", "attribute") == {*read, "model", "user"}


def test_each_event_is_documented() -> None:
    assert documented("Properties", "event") == set(re.findall(r'emit\("([\w-]+)"', SOURCES))


def test_each_custom_property_is_documented() -> None:
    assert documented("Looks", "property") == {
        f"--{name}" for name in re.findall(r"var\(--(quart-chat-[\w-]+)", STYLES)
    }


def test_each_part_is_documented() -> None:
    listed = DOC.partition("there are parts: ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([\w-]+)`", listed)) == set(re.findall(r'part: "([\w-]+)"', SOURCES))
