"""The images and the sources of an answer: shown, kept, copied, and safe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.support.loopback import EVENT_STREAM, Loopback, reply
from tests.support.pages import STORED_CHATS, ChatPage, opened
from tests.support.png import noise
from tests.support.serving import Server, Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")


def image(url: str) -> dict[str, Any]:
    return {"type": "image", "url": url}


def text(words: str) -> dict[str, Any]:
    return {"type": "delta", "text": words}


def source(url: str | None = None, **more: str) -> dict[str, Any]:
    return {"type": "annotation", "kind": "url_citation", **({"url": url} if url else {}), **more}


async def stored(chat: ChatPage) -> str:
    found: str = await chat.page.evaluate(STORED_CHATS)
    return found


# -- from a model's server to the page


async def test_the_images_and_sources_of_a_model_are_in_its_answer(browser: Browser, servers: Servers) -> None:
    citation = {"url": "https://fox.example/a", "title": "Foxes", "start_index": 0, "end_index": 1}
    deltas: list[dict[str, Any]] = [
        {"content": "A fox:"},
        {"images": [{"type": "image_url", "image_url": {"url": noise(8)}}]},
        {"annotations": [{"type": "url_citation", "url_citation": citation}]},
    ]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    async with Loopback(reply(200, lines.encode(), EVENT_STREAM)) as upstream, opened(browser) as chat:
        await chat.open(servers.start("quartapp", OPENAI_BASE_URL=upstream.base_url))
        await chat.ask("What is a fox?")
        await expect(chat.answer().get_by_role("img", name="Image 1 of the answer")).to_have_js_property(
            "naturalWidth", 8
        )
        await expect(chat.answer().get_by_role("link", name="Foxes (fox.example)")).to_be_visible()


# -- images


async def test_an_answer_of_images_alone_is_an_answer(chat: ChatPage) -> None:
    await chat.listen()
    await chat.answered(image(noise(4)), image(noise(5)))
    await expect(chat.answer().get_by_role("img")).to_have_count(2)
    await expect(chat.answer().get_by_role("img", name="Image 2 of the answer")).to_have_js_property("naturalWidth", 5)
    await expect(chat.text("The model gave no answer.")).to_have_count(0)
    assert await chat.announcements() == ["Answering", "Answer finished, 2 images"]


async def test_a_small_image_survives_a_reload_and_a_large_one_is_reported_as_not_kept(chat: ChatPage) -> None:
    small, large = noise(32), noise(200)
    await chat.answered(image(large), image(small))
    await expect(chat.answer().get_by_text("too large to be kept")).to_be_visible()
    async with chat.page.expect_download() as download:
        await chat.answer().get_by_role("link", name="Save it").click()
    assert (await download.value).suggested_filename == "image-1.png"
    assert small in await stored(chat)
    assert large not in await stored(chat)
    await chat.reload()
    await expect(chat.answer().get_by_role("img")).to_have_count(1)
    await expect(chat.answer().get_by_role("img", name="Image 2 of the answer")).to_have_js_property("naturalWidth", 32)
    await expect(chat.answer().get_by_text("The image was too large to be kept.")).to_be_visible()


async def test_an_image_of_several_megabytes_is_shown(chat: ChatPage) -> None:
    url = noise(700)
    assert len(url) > 1_900_000
    await chat.answered(image(url))
    await expect(chat.answer().get_by_role("img")).to_have_js_property("naturalWidth", 700)


async def test_an_image_that_is_elsewhere_is_a_link_and_not_loaded(chat: ChatPage) -> None:
    await chat.answered(image("https://fox.example/fox.png"))
    link = chat.answer().get_by_role("link", name="Image 1 of the answer (fox.example)")
    await expect(link).to_have_attribute("href", "https://fox.example/fox.png")
    await expect(chat.answer().get_by_role("img")).to_have_count(0)


@pytest.mark.parametrize(
    "url",
    ["data:image/svg+xml,<svg/>", "data:text/html,<p>", "javascript:alert(1)", "blob:x", "x", "data:image/png,broken"],
)
async def test_what_is_no_image_is_neither_shown_nor_linked(url: str, chat: ChatPage) -> None:
    await chat.answered(image(url))
    await expect(chat.answer().get_by_text("The image cannot be shown.")).to_be_visible()
    await expect(chat.answer().locator("img, a")).to_have_count(0)


async def test_the_next_question_can_be_sent_after_an_image(chat: ChatPage) -> None:
    await chat.answered(image(noise(4)))
    await chat.ask("count to 3")
    await expect(chat.answer(1)).to_contain_text("1 2 3")
    await expect(chat.answer().get_by_role("img")).to_have_count(1)


# -- sources


SOURCES = (
    source("https://fox.example/a", title="Foxes [1]"),
    source("https://fox.example/a", title="Foxes again"),
    source("https://den.example"),
    source("https://den.example/", title="Dens"),
    source(filename="fox.pdf", file_id="1"),
    source(),
)


async def test_the_sources_of_an_answer_are_numbered_links_each_of_them_once(chat: ChatPage) -> None:
    await chat.answered(text("Foxes jump."), *SOURCES)
    await expect(chat.answer().get_by_role("heading", name="Sources")).to_be_visible()
    found = chat.answer().locator(".sources").get_by_role("listitem")
    words = ["Foxes [1] (fox.example)", "Dens (den.example)", "fox.pdf"]
    await expect(found).to_have_text(words)
    await expect(found.get_by_role("link")).to_have_count(2)
    await expect(found.first.get_by_role("link")).to_have_attribute("href", "https://fox.example/a")
    await chat.reload()
    await expect(found).to_have_text(words)


async def test_the_copied_markdown_ends_with_the_sources(browser: Browser, server: Server) -> None:
    async with opened(browser, permissions=["clipboard-read", "clipboard-write"]) as chat:
        await chat.open(server)
        await chat.answered(text("Foxes jump."), *SOURCES)
        await chat.answer().get_by_role("button", name="Copy").click()
        await expect(chat.answer().get_by_role("button", name="Copied")).to_be_visible()
        assert await chat.page.evaluate("navigator.clipboard.readText()") == (
            "Foxes jump.\n\nSources:\n\n"
            "1. [Foxes \\[1\\]](<https://fox.example/a>)\n2. [Dens](<https://den.example/>)\n3. fox.pdf"
        )


@pytest.mark.parametrize("ending", ["failed", "cut"])
async def test_a_truncated_answer_has_its_sources(ending: str, chat: ChatPage) -> None:
    fault = {"type": "error", "code": "upstream_error", "message": "Broken."}
    end = fault if ending == "failed" else {"type": "done", "finish_reason": "length"}
    await chat.answered(text("Foxes"), source("https://fox.example/a", title="Foxes"), end=end)
    await expect(chat.answer().get_by_role("link", name="Foxes (fox.example)")).to_be_visible()


async def test_a_source_that_leads_nowhere_safe_is_no_link(chat: ChatPage) -> None:
    hostile = ["javascript:alert(1)", "data:text/html,<p>", "//fox.example", "file:///etc/passwd"]
    await chat.answered(text("Foxes"), *(source(url, title=f"Source {url}") for url in hostile))
    await expect(chat.answer().locator(".sources").get_by_role("listitem")).to_have_count(len(hostile))
    await expect(chat.answer().get_by_role("link")).to_have_count(0)


async def test_hostile_images_and_sources_in_the_store_do_no_harm(chat: ChatPage) -> None:
    await chat.answered(text("Foxes"))
    for images, sources in (
        ("x", 1),
        ([None, 1, "javascript:alert(1)"], [None, {"url": "javascript:alert(1)", "title": {}}, "x"]),
    ):
        await chat.page.evaluate(
            """([images, sources]) => {
              const [[key, kept]] = Object.entries(localStorage);
              const chats = JSON.parse(kept);
              Object.assign(chats[0].turns[0].reply, { images, sources });
              localStorage.setItem(key, JSON.stringify(chats));
            }""",
            [images, sources],
        )
        await chat.reload()
        await expect(chat.answer()).to_contain_text("Foxes")
        await expect(chat.answer().locator("img, a")).to_have_count(0)


async def test_a_module_that_could_not_be_loaded_is_reported_and_the_text_is_shown(chat: ChatPage) -> None:
    await chat.page.route("**/element/beside.js", lambda route: route.fulfill(status=404))
    await chat.answered(text("Foxes"), *SOURCES)
    await expect(chat.answer()).to_contain_text("Foxes")
    await expect(chat.text("Reload the page.")).to_be_visible()
