"""The JavaScript module in a real Chromium, as the chat serves it: with each fault, and on bad connections."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.conformance import chat_at
from tests.support.loopback import Loopback, reply
from tests.support.proxy import Proxy, Way, ends_after, falls_silent_after, in_slices, late, resets_after
from tests.support.serving import ROOT, Server, Servers, eventually
from tests.support.tabs import PageRecord, Tabs

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "1 2 3 4 5"
PARTIAL = "1 2 3"
USAGE = {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11, "cached_input_tokens": 0, "reasoning_tokens": 0}
DONE = {"type": "done", "finish_reason": "stop", "usage": USAGE}

READ = "async ([module, job]) => tell(await import(module), job)"

# Reads the first piece of an answer, and keeps the response open.
STAY = """async ([module, options]) => {
  const { ask } = await import(module);
  globalThis.staying = ask("count to 5", options);
  await globalThis.staying.next();
}"""

Result = Mapping[str, Any]


@pytest.fixture(scope="module")
def tabs(browser: Browser) -> Tabs:
    return Tabs(browser, ROOT / "tests" / "node" / "contract.js")


@pytest_asyncio.fixture(loop_scope="module")
async def page(tabs: Tabs) -> AsyncIterator[Page]:
    """An empty page; none of its requests may leave the machine, and none of its scripts or promises may fail."""
    async with tabs.tab() as page:
        record = PageRecord(page)
        yield page
    record.close()
    assert {host for _, host in record.places()} <= {"127.0.0.1"}
    assert record.errors == []


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


def origin(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


async def read(page: Page, model: str = "mock", module: str = "/static/chat.js", **more: Any) -> Result:
    """Return the result of one question, by the module that the page's own server has."""
    job = {"question": "count to 5", "body": {"model": model}, **more}
    result: Result = await page.evaluate(READ, [module, job])
    return result


def text(result: Result) -> str:
    return "".join(result["yielded"])


def tagged(tag: str) -> dict[str, str]:
    """Return the header that gives a request its id in the server's log."""
    return {"X-Request-ID": tag}


async def endings(server: Server, tag: str) -> list[str]:
    """Wait for an answer to a request with this tag, and return how each ended."""
    await eventually(lambda: server.answer_lines(client_id=tag))
    return [line["ending"] for line in server.answer_lines(client_id=tag)]


async def test_a_page_with_a_strict_policy_reads_an_answer(page: Page, server: Server) -> None:
    """The chat's own page allows scripts of its server alone."""
    await page.goto(origin(server))
    result = await read(page, headers=tagged("page-text"))
    assert (text(result), result["returned"]) == (COUNT, DONE)
    assert await endings(server, "page-text") == ["done"]
    result = await read(page, each="records")
    assert [record["type"] for record in result["yielded"]][::6] == ["start", "done"]


async def test_a_page_below_a_prefix_uses_its_own_chat(page: Page, servers: Servers) -> None:
    """Run the first script of the page on JavaScript."""
    server = servers.get("hypercorn", "flask_page:asgi", CHAT_MOCK_TOKENS_PER_S="0")
    written = (ROOT / "docs" / "reference" / "javascript.md").read_text(encoding="utf-8")
    script = re.findall(r'<script type="module">\n(.*?)</script>', written, re.DOTALL)[0]
    await page.goto(origin(server))
    await page.add_script_tag(content=script.replace("Why is the sky blue?", "count to 5"), type="module")
    await page.get_by_text(COUNT).wait_for()


async def test_a_page_of_another_origin_reads_answers_and_errors(page: Page, servers: Servers) -> None:
    async with Loopback(reply(200, b"", {"Content-Type": "text/html"})) as elsewhere:
        server = servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0", CHAT_ORIGINS=elsewhere.origin)
        await page.goto(elsewhere.origin)
        module = f"{origin(server)}/static/chat.js"
        result = await read(page, module=module, headers={"X-Auth": "a-token"})
        assert text(result) == COUNT
        result = await read(page, "fault-status:429", module=module, retries=0)
        assert (result["error"]["code"], result["error"]["retryAfterSeconds"]) == ("upstream_busy", 7)
        assert re.fullmatch("[0-9a-f]{32}", result["error"]["id"])


#: The code, the status and the text before it, for each fault of a model.
FAULTS: Mapping[str, tuple[str, int, str]] = {
    "fault-error-object": ("upstream_error", 200, PARTIAL),
    "fault-drop": ("upstream_error", 200, PARTIAL),
    "fault-no-finish": ("upstream_truncated", 200, PARTIAL),
    "fault-status:500": ("upstream_error", 502, ""),
    "fault-status:503": ("upstream_overloaded", 503, ""),
    "fault-context-too-long": ("context_too_long", 400, ""),
}


@pytest.mark.parametrize("model", FAULTS)
async def test_each_fault_is_an_error_with_its_code_after_one_request(
    model: str, page: Page, servers: Servers, upstream: str
) -> None:
    code, status, partial = FAULTS[model]
    server = chat_at(servers, upstream, model)
    tag = f"page-{model.replace(':', '-')}"
    await page.goto(origin(server))
    result = await read(page, model, headers=tagged(tag), maxRetryAfterSeconds=1)
    error = result["error"]
    assert (error["name"], error["code"], error["status"]) == ("ChatError", code, status)
    assert (error["message"], error["text"], text(result)) == (KINDS[code].message, partial, partial)
    assert await endings(server, tag) == [code]


@pytest.mark.parametrize(("way", "name"), [("break", None), ("abort", "AbortError")])
async def test_a_page_that_stops_reading_ends_the_answer(
    way: str, name: str | None, page: Page, server: Server
) -> None:
    await page.goto(origin(server))
    result = await read(page, "fault-stall:3", headers=tagged(f"page-{way}"), leave={"after": "3", "way": way})
    assert (text(result), result.get("error", {}).get("name")) == (PARTIAL, name)
    assert await endings(server, f"page-{way}") == ["client_disconnected"]


async def test_closing_the_tab_ends_the_answer(page: Page, server: Server) -> None:
    await page.goto(origin(server))
    options = {"body": {"model": "fault-stall:3"}, "headers": tagged("page-closed")}
    await page.evaluate(STAY, ["/static/chat.js", options])
    await page.close()
    assert await endings(server, "page-closed") == ["client_disconnected"]


# -- bad connections

#: A number of bytes within the body of an answer.
WITHIN_BYTES = 430


async def through(page: Page, server: Server, way: Way, **more: Any) -> tuple[Result, int]:
    """Ask through a proxy, on the connection that carried the page; return the result and the number of requests."""
    async with Proxy(server.port, way) as proxy:
        await page.goto(proxy.origin)
        return await read(page, **more), proxy.posts


@pytest.mark.parametrize("way", [in_slices(1), in_slices(2, most_bytes=3), late(0.05)], ids=["slices", "bits", "late"])
async def test_an_answer_in_small_or_late_pieces_is_the_same(way: Way, page: Page, server: Server) -> None:
    question = "日本語 👩‍👩‍👧 é"
    result, posts = await through(page, server, way, model="mock-echo", question=question)
    assert (text(result), result["returned"]["type"], posts) == (question, "done", 1)


@pytest.mark.parametrize("truncate", [ends_after, resets_after])
@pytest.mark.parametrize("count", [WITHIN_BYTES, 480, 530, 10_000])
async def test_a_truncated_answer_is_an_error_after_one_request(
    count: int, truncate: Callable[[int], Way], page: Page, server: Server
) -> None:
    result, posts = await through(page, server, truncate(count))
    assert posts == 1
    if "error" in result:
        assert (result["error"]["code"], result["error"]["text"]) == ("network", text(result))
        assert COUNT.startswith(text(result))
        assert count < 10_000
    else:
        assert (text(result), result["returned"]) == (COUNT, DONE)
        assert count > WITHIN_BYTES


@pytest.mark.parametrize("truncate", [ends_after, resets_after])
@pytest.mark.parametrize("count", [0, 100])
async def test_a_response_that_is_truncated_in_its_head_is_an_error_and_ends_the_answer(
    count: int, truncate: Callable[[int], Way], page: Page, server: Server
) -> None:
    """Chromium accepts half a head as a complete one, and repeats a request that got no answer on a used connection."""
    tag = f"page-{truncate.__name__}-{count}"
    result, posts = await through(page, server, truncate(count), model="fault-stall:4", headers=tagged(tag))
    assert result["yielded"] == []
    assert result["error"]["code"] in ("network", "bad_answer")
    await eventually(lambda: len(server.answer_lines(client_id=tag, ending="client_disconnected")) == posts)


async def test_a_silent_connection_is_closed_and_ends_the_answer(page: Page, server: Server) -> None:
    silent = falls_silent_after(WITHIN_BYTES)
    result, posts = await through(
        page, server, silent, model="fault-stall:4", idleSeconds=0.5, headers=tagged("page-silent")
    )
    assert (result["error"]["code"], result["error"]["status"], posts) == ("idle", 200, 1)
    assert await endings(server, "page-silent") == ["client_disconnected"]
