"""The example react_use_chat in Chromium, built with the packages of tests/node."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from examples.react_use_chat import app as unbuilt
from tests.support.example_pages import opened_example, settings_of_models
from tests.support.react_example import EXAMPLE, NODE, PACKAGE, build, serve
from tests.support.sampling import SOAK
from tests.support.serving import Server, Servers

IN_A_BROWSER = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server(
    needs: Callable[[str], str], servers: Servers, tmp_path_factory: pytest.TempPathFactory, upstream: str
) -> Server:
    needs("node")
    folder = tmp_path_factory.mktemp("react")
    build(folder)
    return serve(servers, folder, **settings_of_models(upstream))


@IN_A_BROWSER
async def test_the_page_shows_complete_answers(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.ask("count to 5")
        await page.ask("<b>scripts</b> and emoji")
        await expect(page.answer()).to_have_text("1 2 3 4 5")
        await expect(page.answer(1)).to_contain_text("👩")
        await expect(page.log.locator(".question").nth(1)).to_have_text("<b>scripts</b> and emoji")
        assert [len(conversation) for conversation in page.conversations()] == [1, 3]


@IN_A_BROWSER
async def test_the_page_reports_a_truncated_answer_until_a_new_one_is_complete(
    browser: Browser, server: Server
) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-drop:3")
        await page.ask("count to 5")
        fault = "This answer is incomplete. The model's server could not be reached or gave a broken answer."
        await expect(page.answer()).to_have_text("1 2 3")
        await expect(page.log.get_by_text(fault)).to_be_visible()
        await page.choose("mock")
        await page.button("Try again").click()
        await expect(page.answer()).to_have_text("1 2 3 4 5")
        await expect(page.log.locator(".note")).to_have_count(0)


@IN_A_BROWSER
@SOAK
async def test_the_page_reports_an_answer_whose_connection_ends_early(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        parts = [
            {"type": "start"},
            {"type": "text-start", "id": "1"},
            {"type": "text-delta", "id": "1", "delta": "1 2"},
        ]
        body = "".join(f"data: {json.dumps(part)}\n\n" for part in parts)
        kind = "text/event-stream"
        await page.page.route("**/api/ui", lambda route: route.fulfill(body=body, content_type=kind))
        await page.ask("count to 5")
        await expect(page.answer()).to_have_text("1 2This answer is incomplete. The connection ended early.")


@IN_A_BROWSER
@SOAK
async def test_the_page_reports_an_answer_at_its_longest_length(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-length")
        await page.ask("count to 5")
        await expect(page.answer()).to_have_text("1 2 3 4 5The answer has reached its longest length.")


@IN_A_BROWSER
@SOAK
async def test_the_page_shows_the_reason_of_a_refusal(browser: Browser, server: Server) -> None:
    async with opened_example(browser, server) as page:
        await page.choose("fault-status:429")
        await page.ask("count to 5")
        await expect(page.log.locator(".note")).to_contain_text(
            "There is no answer. The model is busy; try again later."
        )


@IN_A_BROWSER
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
@IN_A_BROWSER
async def test_axe_finds_nothing(browser: Browser, server: Server, scheme: str) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": 360, "height": 640}}
    async with opened_example(browser, server, **options) as page:
        assert await page.faults() == []
        await page.choose("fault-drop:3")
        await page.ask("count to 5")
        assert await page.faults() == []


async def test_the_app_explains_how_the_page_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(unbuilt, "BUILT", tmp_path)
    response = await unbuilt.app.test_client().get("/")
    text = await response.get_data(as_text=True)
    assert response.status_code == 503
    assert "npm ci --prefix examples/react_use_chat" in text


def test_the_example_has_the_versions_of_the_tests() -> None:
    packages = json.loads((NODE / "package-lock.json").read_text("utf-8"))["packages"]
    named = PACKAGE["dependencies"] | PACKAGE["devDependencies"]
    assert named == {name: packages[f"node_modules/{name}"]["version"] for name in named}
    locked = json.loads((EXAMPLE / "package-lock.json").read_text("utf-8"))["packages"]
    assert named == {name: locked[f"node_modules/{name}"]["version"] for name in named}
    assert locked[""] == {"dependencies": PACKAGE["dependencies"], "devDependencies": PACKAGE["devDependencies"]}
