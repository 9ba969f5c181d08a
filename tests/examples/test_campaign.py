"""The campaign writer: which brands it takes, how campaigns end, and what its page shows."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from examples.campaign.brand import MAX_CODE_POINTS, InvalidBrand, brand_of, characters
from tests.support.pages import opened
from tests.support.raw_upstreams import RawUpstream
from tests.support.sampling import SOAK
from tests.support.serving import Server, Servers, upstream_settings

FAMILY = "👩‍👩‍👧‍👦"  # seven code points
FLAG = "🏴󠁧󠁢󠁳󠁣󠁴󠁿"  # of Scotland, seven code points
ACCENT = "e\u0323\u0302"  # a letter with two combining marks


def campaign_server(servers: Servers, model: str) -> Server:
    settings = {"CHAT_MODEL": model, "CHAT_MOCK_TOKENS_PER_S": "0", "CHAT_RETRIES": "0"}
    return servers.get("hypercorn", "examples.campaign.app:app", **settings)


async def post(server: Server, body: Any) -> tuple[aiohttp.ClientResponse, str]:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
        client.post("/campaign", json=body) as response,
    ):
        return response, await response.text()


# -- the brand


@pytest.mark.parametrize(
    "brand", ["x" * 20, FAMILY * 20, FLAG * 20, ACCENT * 20, "🇩🇪" * 20, "क्षि" * 20, f"  {'x' * 20} \n"]
)
def test_a_brand_of_twenty_characters_is_valid_as_a_person_counts(brand: str) -> None:
    assert characters(brand_of({"brand": brand})) == 20


@pytest.mark.parametrize("character", ["x", FAMILY, FLAG, ACCENT, "🇩🇪"])
def test_a_brand_of_twenty_one_characters_is_not(character: str) -> None:
    with pytest.raises(InvalidBrand, match="This one has 21"):
        brand_of({"brand": character * 21})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "Send the brand as JSON"),
        (["brand"], "Send the brand as JSON"),
        ({"brand": 5}, "Send the brand as JSON"),
        ({"brand": " \n"}, "Enter the name"),
        ({"brand": "a\nb"}, "one line"),
        ({"brand": "a\u2028b"}, "one line"),
        ({"brand": "a\ud800"}, "one line"),
        ({"brand": "e" + "\u0301" * (MAX_CODE_POINTS + 1)}, "too many marks"),
    ],
)
def test_other_bodies_have_a_message_for_the_user(body: Any, message: str) -> None:
    with pytest.raises(InvalidBrand, match=message) as raised:
        brand_of(body)
    assert raised.value.path == "brand"


async def test_a_refused_brand_is_a_422_with_the_path_of_the_field(servers: Servers) -> None:
    server = campaign_server(servers, "mock-echo")
    response, text = await post(server, {"brand": "x" * 21})
    error = json.loads(text)["error"]
    assert (response.status, error["code"], error["path"]) == (422, "invalid_request", "brand")
    assert error["message"] == "A brand has at most 20 characters. This one has 21."
    response, text = await post(server, {"brand": FAMILY * 20})
    assert response.status == 200
    lines = [json.loads(line) for line in text.splitlines()]
    assert ("".join(line["text"] for line in lines[:-1]), lines[-1]) == (FAMILY * 20, {"type": "done"})


# -- the campaign


@pytest.fixture
def directed(servers: Servers, raw_upstream: RawUpstream) -> Server:
    """Return the server whose model does what the brand names."""
    settings = {"CHAT_RETRIES": "0", **upstream_settings(raw_upstream.base_url)}
    return servers.get("hypercorn", "examples.campaign.app:app", **settings)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("fault-drop:3", "upstream_error"),
        ("mock-refusal", "refusal"),
        pytest.param("fault-length", "length", marks=SOAK),
    ],
)
async def test_only_a_complete_campaign_ends_in_done(servers: Servers, model: str, code: str) -> None:
    _, text = await post(campaign_server(servers, model), {"brand": "count to 9"})
    types = [json.loads(line)["type"] for line in text.splitlines()]
    assert "done" not in types
    last = json.loads(text.splitlines()[-1])
    assert (last["type"], last["code"]) == ("error", code)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_model_is_a_503_with_the_time_of_the_next_attempt(directed: Server, status: int) -> None:
    response, text = await post(directed, {"brand": f"status:{status} {uuid.uuid4().hex[:8]}"})
    assert (response.status, response.headers["Retry-After"]) == (503, "7")
    assert json.loads(text)["error"]["message"] == "The model is busy right now. Try again in 7 seconds."


async def test_another_fault_keeps_its_status(directed: Server) -> None:
    response, text = await post(directed, {"brand": f"status:403 {uuid.uuid4().hex[:8]}"})
    assert (response.status, json.loads(text)["error"]["code"]) == (400, "upstream_refused")
    assert "Retry-After" not in response.headers


async def test_text_arrives_at_once_and_a_disconnect_cancels_the_campaign(
    directed: Server, raw_upstream: RawUpstream
) -> None:
    tag = uuid.uuid4().hex[:10]
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{directed.port}") as client,
        client.post("/campaign", json={"brand": f"stall:2 {tag}"}) as response,
    ):
        assert json.loads(await response.content.readline()) == {"type": "delta", "text": "token token "}
        exchange = await raw_upstream.exchange(tag)
        assert exchange.request.json["messages"][0]["content"].startswith("Write a marketing campaign")
        assert not exchange.closed.done()
    async with asyncio.timeout(5):
        await asyncio.wrap_future(exchange.closed)
    await directed.wait_for_log(r"campaign of 12 characters: client_disconnected")


# -- the page


async def named(page: Page, server: Server, brand: str) -> None:
    await page.goto(f"http://127.0.0.1:{server.port}/")
    await page.get_by_label("Brand").fill(brand)
    await page.get_by_role("button", name="Write a campaign").click()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_page_shows_a_campaign_with_its_headline(browser: Browser, servers: Servers) -> None:
    async with opened(browser) as chat:
        await named(chat.page, campaign_server(servers, "sample"), "Morning Oats")
        await expect(chat.page.get_by_role("status")).to_have_text("Complete.")
        await expect(chat.page.get_by_role("heading", level=2)).to_have_text("Morning Oats. Begin with it.")
        await expect(chat.page.locator(".text")).to_contain_text("The idea: people trust")
        await expect(chat.page.get_by_role("button", name="Write a campaign")).to_be_visible()


@pytest.mark.asyncio(loop_scope="module")
@SOAK
async def test_the_page_counts_as_a_person_and_shows_the_message_of_the_server(
    browser: Browser, servers: Servers
) -> None:
    async with opened(browser) as chat:
        page = chat.page
        await named(page, campaign_server(servers, "mock-echo"), FAMILY * 21)
        await expect(page.get_by_text("21 of 20")).to_be_visible()
        await expect(page.get_by_role("alert")).to_have_text("A brand has at most 20 characters. This one has 21.")
        await expect(page.get_by_label("Brand")).to_be_focused()
        await expect(page.get_by_role("article")).to_have_count(0)
        await page.get_by_label("Brand").fill(FAMILY * 20)
        await expect(page.get_by_text("20 of 20")).to_be_visible()
        await expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.asyncio(loop_scope="module")
@SOAK
async def test_the_page_tells_that_the_model_is_busy_and_waits(browser: Browser, servers: Servers) -> None:
    async with opened(browser, fresh=True) as chat:
        page = chat.page
        await page.clock.install()
        await named(page, campaign_server(servers, "fault-status:429"), "Oats")
        await expect(page.get_by_role("alert")).to_have_text("The model is busy right now. Try again in 7 seconds.")
        await expect(page.get_by_role("button", name="Try again in 7 s")).to_be_disabled()
        await page.clock.run_for(7100)
        await expect(page.get_by_role("button", name="Try again", exact=True)).to_be_enabled()


@pytest.mark.asyncio(loop_scope="module")
@SOAK
async def test_the_page_shows_a_truncated_campaign_as_such(browser: Browser, servers: Servers) -> None:
    async with opened(browser) as chat:
        await named(chat.page, campaign_server(servers, "fault-drop:3"), "count to 9")
        await expect(chat.page.get_by_role("heading", level=2)).to_have_text("1 2 3")
        await expect(chat.page.get_by_role("status")).to_contain_text("The campaign is not complete.")
