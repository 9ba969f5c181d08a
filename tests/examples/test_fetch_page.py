"""The example fetch_page in Chromium."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.support.example_pages import opened_example, settings_of_models
from tests.support.sampling import SOAK
from tests.support.serving import Server, Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server(servers: Servers, upstream: str) -> Server:
    return servers.get("hypercorn", "examples.fetch_page.app:app", **settings_of_models(upstream))


async def test_the_page_shows_complete_answers_and_sends_the_conversation(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.ask("count to 5")
        await page.ask("<b>scripts</b> and emoji")
        await expect(page.answer()).to_have_text("1 2 3 4 5")
        await expect(page.answer(1)).to_contain_text("👩")
        await expect(page.answer(1)).not_to_contain_text("�")
        await expect(page.log.locator(".question").nth(1)).to_have_text("<b>scripts</b> and emoji")
        await expect(page.status).to_have_text("Done.")
        first = [{"role": "user", "content": "count to 5"}, {"role": "assistant", "content": "1 2 3 4 5"}]
        second = {"role": "user", "content": "<b>scripts</b> and emoji"}
        assert page.conversations() == [first[:1], [*first, second]]


async def test_the_page_reports_a_truncated_answer(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-drop:3")
        await page.ask("count to 5")
        fault = "The model's server could not be reached or gave a broken answer."
        await expect(page.answer()).to_have_text(f"1 2 3This answer is incomplete. {fault}")
        await expect(page.status).to_have_text("")


@SOAK
async def test_the_page_reports_an_answer_whose_connection_ends_early(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        lines = '{"type":"start","id":"1","model":"mock"}\n{"type":"delta","text":"1 2"}\n{"type":"del'
        await page.page.route("**/api/stream", lambda route: route.fulfill(body=lines))
        await page.ask("count to 5")
        await expect(page.answer()).to_have_text("1 2This answer is incomplete. The connection ended early.")


@SOAK
async def test_the_page_reports_an_answer_at_its_longest_length(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-length")
        await page.ask("count to 5")
        await expect(page.answer()).to_have_text("1 2 3 4 5The answer has reached its longest length.")


@SOAK
async def test_the_page_shows_the_reason_of_a_refusal_and_does_not_send_its_question_again(
    browser: Browser, server: Server
) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-status:429")
        await page.ask("count to 5")
        await expect(page.answer()).to_have_text("There is no answer. The model is busy; try again later.")
        await page.ask("count to 6")
        assert page.conversations()[1] == [{"role": "user", "content": "count to 6"}]


@SOAK
async def test_the_page_stops_an_answer_and_the_server_cancels_it(
    browser: Browser, server: Server, upstream: str
) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-stall:3")
        await page.send("count to 5")
        await page.box.press("Enter")  # sends nothing during an answer
        await page.stopped_at("1 2 3", server, upstream)
        await expect(page.answer()).to_have_text("1 2 3Stopped.")
        assert len(page.posts()) == 1


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=SOAK)])
async def test_axe_finds_nothing(browser: Browser, server: Server, scheme: str) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": 360, "height": 640}}
    async with opened_example(browser, server, **options) as page:
        await page.choose("fault-length")
        assert await page.faults() == []
        await page.ask("long")
        assert await page.faults() == []
