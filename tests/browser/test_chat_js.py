"""The JavaScript module in a real Chromium: as the chat serves it, with every fault, and through bad lines."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Error, Page

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.conformance import chat_at
from tests.support.loopback import Loopback, reply
from tests.support.proxy import Proxy, Way, ends_after, falls_silent_after, in_slices, late, resets_after
from tests.support.serving import ROOT, Server, Servers, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "1 2 3 4 5"
CUT = "1 2 3"
USAGE = {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11, "cached_input_tokens": 0, "reasoning_tokens": 0}
DONE = {"type": "done", "finish_reason": "stop", "usage": USAGE}

TELL = "async ([module, job]) => tell(await import(module), job)"

# Asks, reads the first piece, and stays.
STAY = """async ([module, options]) => {
  const { ask } = await import(module);
  globalThis.staying = ask("count to 5", options);
  await globalThis.staying.next();
}"""

Told = Mapping[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context()
    context.set_default_timeout(20_000)
    await context.add_init_script(path=ROOT / "tests" / "node" / "contract.js")
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page of its own; none of its requests may leave the machine, and none of its scripts or promises fail."""
    page = await context.new_page()
    hosts: set[str | None] = set()
    errors: list[Error] = []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.on("pageerror", lambda error: errors.append(error))
    yield page
    await page.close()
    assert hosts <= {"127.0.0.1"}
    assert errors == []


@pytest.fixture(scope="module")
def chat(servers: Servers) -> Server:
    return servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


def origin(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


async def tell(page: Page, model: str = "mock", module: str = "/static/chat.js", **more: Any) -> Told:
    """What comes of asking with the module that the page's own server has."""
    job = {"question": "count to 5", "body": {"model": model}, **more}
    told: Told = await page.evaluate(TELL, [module, job])
    return told


def text(told: Told) -> str:
    return "".join(told["yielded"])


def tagged(tag: str) -> dict[str, str]:
    """The header under which the server's log knows a request."""
    return {"X-Request-ID": tag}


async def endings(server: Server, tag: str) -> list[str]:
    """How the answers to requests with this tag ended, once there is one."""
    await eventually(lambda: server.answer_lines(client_id=tag))
    return [line["ending"] for line in server.answer_lines(client_id=tag)]


async def test_a_page_under_a_strict_policy_reads_an_answer(page: Page, chat: Server) -> None:
    """The chat's own page allows scripts of its server alone."""
    await page.goto(origin(chat))
    told = await tell(page, headers=tagged("page-text"))
    assert (text(told), told["returned"]) == (COUNT, DONE)
    assert await endings(chat, "page-text") == ["done"]
    told = await tell(page, each="records")
    assert [record["type"] for record in told["yielded"]][::6] == ["start", "done"]


async def test_a_page_below_a_prefix_asks_its_own_chat(page: Page, servers: Servers) -> None:
    """As the page on JavaScript begins."""
    server = servers.get("hypercorn", "examples.flask_project.app:asgi", CHAT_MOCK_TOKENS_PER_S="0")
    written = (ROOT / "docs" / "reference" / "javascript.md").read_text(encoding="utf-8")
    script = re.findall(r'<script type="module">\n(.*?)</script>', written, re.DOTALL)[0]
    await page.goto(origin(server))
    await page.add_script_tag(content=script.replace("Why is the sky blue?", "count to 5"), type="module")
    await page.get_by_text(COUNT).wait_for()


async def test_a_page_of_another_origin_reads_answers_and_refusals(page: Page, servers: Servers) -> None:
    async with Loopback(reply(200, b"", {"Content-Type": "text/html"})) as elsewhere:
        server = servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0", CHAT_ORIGINS=elsewhere.origin)
        await page.goto(elsewhere.origin)
        module = f"{origin(server)}/static/chat.js"
        told = await tell(page, module=module, headers={"X-Auth": "a-token"})
        assert text(told) == COUNT
        told = await tell(page, "fault-status:429", module=module, retries=0)
        assert (told["error"]["code"], told["error"]["retryAfterSeconds"]) == ("upstream_busy", 7)
        assert re.fullmatch("[0-9a-f]{32}", told["error"]["id"])


#: What each fault of a model comes to: the code, the status, and the text before it.
FAULTS: Mapping[str, tuple[str, int, str]] = {
    "fault-error-object": ("upstream_error", 200, CUT),
    "fault-drop": ("upstream_error", 200, CUT),
    "fault-no-finish": ("upstream_truncated", 200, CUT),
    "fault-status:500": ("upstream_error", 502, ""),
    "fault-status:503": ("upstream_overloaded", 503, ""),
    "fault-context-too-long": ("context_too_long", 400, ""),
}


@pytest.mark.parametrize("model", FAULTS)
async def test_each_fault_is_told_as_what_it_is_and_asked_once(
    model: str, page: Page, servers: Servers, upstream: str
) -> None:
    code, status, partial = FAULTS[model]
    server = chat_at(servers, upstream, model)
    tag = f"page-{model.replace(':', '-')}"
    await page.goto(origin(server))
    told = await tell(page, model, headers=tagged(tag), maxRetryAfterSeconds=1)
    error = told["error"]
    assert (error["name"], error["code"], error["status"]) == ("ChatError", code, status)
    assert (error["message"], error["text"], text(told)) == (KINDS[code].message, partial, partial)
    assert await endings(server, tag) == [code]


@pytest.mark.parametrize(("way", "name"), [("break", None), ("abort", "AbortError")])
async def test_whoever_leaves_ends_the_answer(way: str, name: str | None, page: Page, chat: Server) -> None:
    await page.goto(origin(chat))
    told = await tell(page, "fault-stall:3", headers=tagged(f"page-{way}"), leave={"after": "3", "way": way})
    assert (text(told), told.get("error", {}).get("name")) == (CUT, name)
    assert await endings(chat, f"page-{way}") == ["reader_left"]


async def test_closing_the_tab_ends_the_answer(page: Page, chat: Server) -> None:
    await page.goto(origin(chat))
    options = {"body": {"model": "fault-stall:3"}, "headers": tagged("page-closed")}
    await page.evaluate(STAY, ["/static/chat.js", options])
    await page.close()
    assert await endings(chat, "page-closed") == ["reader_left"]


# -- bad lines

#: More than the head of an answer has, and less than the whole.
WITHIN_BYTES = 430


async def through(page: Page, chat: Server, way: Way, **more: Any) -> tuple[Told, int]:
    """What comes of asking through a proxy, on the connection that carried the page, and how often it was sent."""
    async with Proxy(chat.port, way) as proxy:
        await page.goto(proxy.origin)
        return await tell(page, **more), proxy.posts


@pytest.mark.parametrize("way", [in_slices(1), in_slices(2, most_bytes=3), late(0.05)], ids=["slices", "bits", "late"])
async def test_an_answer_that_comes_oddly_is_the_same(way: Way, page: Page, chat: Server) -> None:
    said = "日本語 👩‍👩‍👧 é"
    told, posts = await through(page, chat, way, model="mock-echo", question=said)
    assert (text(told), told["returned"]["type"], posts) == (said, "done", 1)


@pytest.mark.parametrize("cut", [ends_after, resets_after])
@pytest.mark.parametrize("count", [WITHIN_BYTES, 480, 530, 10_000])
async def test_an_answer_that_is_cut_is_told_from_a_whole_one_and_asked_once(
    count: int, cut: Callable[[int], Way], page: Page, chat: Server
) -> None:
    told, posts = await through(page, chat, cut(count))
    assert posts == 1
    if "error" in told:
        assert (told["error"]["code"], told["error"]["text"]) == ("network", text(told))
        assert COUNT.startswith(text(told))
        assert count < 10_000
    else:
        assert (text(told), told["returned"]) == (COUNT, DONE)
        assert count > WITHIN_BYTES


@pytest.mark.parametrize("cut", [ends_after, resets_after])
@pytest.mark.parametrize("count", [0, 100])
async def test_a_response_that_is_cut_in_its_head_is_an_error_and_its_model_is_let_go_of(
    count: int, cut: Callable[[int], Way], page: Page, chat: Server
) -> None:
    """Chromium takes half a head for a whole one, and sends what got no answer on a used connection again by itself."""
    tag = f"page-{cut.__name__}-{count}"
    told, posts = await through(page, chat, cut(count), model="fault-stall:4", headers=tagged(tag))
    assert told["yielded"] == []
    assert told["error"]["code"] in ("network", "bad_answer")
    await eventually(lambda: len(chat.answer_lines(client_id=tag, ending="reader_left")) == posts)


async def test_a_line_that_falls_silent_is_given_up_and_the_answer_with_it(page: Page, chat: Server) -> None:
    silent = falls_silent_after(WITHIN_BYTES)
    told, posts = await through(
        page, chat, silent, model="fault-stall:4", idleSeconds=0.5, headers=tagged("page-silent")
    )
    assert (told["error"]["code"], told["error"]["status"], posts) == ("idle", 200, 1)
    assert await endings(chat, "page-silent") == ["reader_left"]
