"""The example htmx_sse in Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from tests.support.example_pages import opened_example
from tests.support.sampling import SOAK
from tests.support.serving import ROOT, Server, Servers, upstream_settings

IN_A_BROWSER = pytest.mark.asyncio(loop_scope="module")

VENDOR = ROOT / "examples" / "htmx_sse" / "static" / "vendor"
PUBLISHED = ROOT / "tests" / "node" / "node_modules" / "htmx.org"


def example(servers: Servers, **settings: str) -> Server:
    """Serve the example. By default the model repeats each question."""
    pace = {"CHAT_MODEL": "mock-echo", "CHAT_MOCK_TOKENS_PER_S": "0", "CHAT_RETRIES": "0"}
    return servers.get("hypercorn", "examples.htmx_sse.app:app", **pace | settings)


@IN_A_BROWSER
async def test_the_page_shows_complete_answers(browser: Browser, servers: Servers) -> None:
    async with opened_example(browser, example(servers)) as page:
        await page.ask("one two  three 👩‍🚀")
        await page.ask("four")
        await expect(page.answer()).to_have_text("one two  three 👩‍🚀", use_inner_text=True)
        await expect(page.answer(1)).to_have_text("four")
        await expect(page.status).to_have_text("Done.")
        await expect(page.log.locator("[aria-busy=true]")).to_have_count(0)
        assert len(page.posts()) == 2


@IN_A_BROWSER
@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)><hx-partial hx-target='body'>&amp;</hx-partial>",
        '" onclick="alert(1)" {} {0}',
        "\none\n\ntwo\r\nevent: end\rdata: three",
    ],
)
@SOAK
async def test_questions_and_answers_are_text(text: str, browser: Browser, servers: Servers) -> None:
    async with opened_example(browser, example(servers)) as page:
        form = urlencode({"question": text})
        await page.page.route("**/questions", lambda route: route.continue_(post_data=form))
        await page.ask("anything")
        assert await page.log.locator(".question").text_content() == text
        assert (await page.answer().text_content() or "").strip() == text.strip()  # the mock model may strip it
        await expect(page.log.locator("article *")).to_have_count(0)


@IN_A_BROWSER
async def test_the_page_reports_a_truncated_answer(browser: Browser, servers: Servers) -> None:
    async with opened_example(browser, example(servers, CHAT_MODEL="fault-drop:3")) as page:
        await page.ask("count to 5")
        fault = "The model's server could not be reached or gave a broken answer."
        await expect(page.answer()).to_have_text(f"1 2 3This answer is incomplete. {fault}")
        await expect(page.status).to_have_text("")
        assert len(page.posts()) == 1


@IN_A_BROWSER
@SOAK
async def test_the_page_shows_the_reason_of_a_refusal(browser: Browser, servers: Servers) -> None:
    async with opened_example(browser, example(servers, CHAT_MODEL="fault-status:429")) as page:
        await page.ask("count to 5")
        await expect(page.answer()).to_have_text("There is no answer. The model is busy; try again later.")


@IN_A_BROWSER
@SOAK
async def test_the_page_reports_a_connection_that_ends_early(browser: Browser, servers: Servers) -> None:
    async with opened_example(browser, example(servers)) as page:
        body = 'data: <article class="answer" aria-busy="true">1 2</article>\n\n'
        kind = "text/event-stream"
        await page.page.route("**/questions", lambda route: route.fulfill(body=body, content_type=kind), times=1)
        await page.ask("count to 5")
        await expect(page.answer()).to_have_text("1 2This answer is incomplete. The connection ended early.")
        await page.page.route("**/questions", lambda route: route.fulfill(status=500, body="<h1>Oh"), times=1)
        await page.ask("count to 5")
        await expect(page.status).to_have_text("There is no answer. The connection ended early.")
        await expect(page.log.locator("article")).to_have_count(1)
        assert len(page.posts()) == 2


@IN_A_BROWSER
@SOAK
async def test_the_page_stops_an_answer_and_the_server_cancels_it(
    browser: Browser, servers: Servers, upstream: str
) -> None:
    server = example(servers, **upstream_settings(upstream) | {"CHAT_MODEL": "fault-stall:3"})
    async with opened_example(browser, server) as page:
        await page.send("count to 5")
        await page.box.press("Enter")  # sends nothing during an answer
        await page.stopped_at("1 2 3", server, upstream)
        await expect(page.answer()).to_have_text("1 2 3Stopped.")
        assert len(page.posts()) == 1


@IN_A_BROWSER
async def test_a_form_of_another_site_is_refused(servers: Servers) -> None:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{example(servers).port}") as client,
        client.post("/questions", data={"question": "count to 5"}) as refused,
    ):
        assert refused.status == 403


@IN_A_BROWSER
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=SOAK)])
async def test_axe_finds_nothing(browser: Browser, servers: Servers, scheme: str) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": 360, "height": 640}}
    async with opened_example(browser, example(servers, CHAT_MODEL="fault-drop:3"), **options) as page:
        assert await page.faults() == []
        await page.ask("count to 5")
        assert await page.faults() == []


def test_htmx_is_the_published_one(needs: Callable[[str], str]) -> None:
    needs("npm")
    files = {"htmx.min.js": "dist/htmx.min.js", "hx-sse.min.js": "dist/ext/hx-sse.min.js", "LICENSE": "LICENSE"}
    assert {path.name for path in VENDOR.iterdir()} == set(files)
    for name, published in files.items():
        assert (VENDOR / name).read_bytes() == (PUBLISHED / published).read_bytes(), name
    version = json.loads((PUBLISHED / "package.json").read_text("utf-8"))["version"]
    assert f"has htmx {version} and" in (VENDOR.parents[1] / "README.md").read_text("utf-8")
