"""The states of the chat's page, the steps to each, and the views of the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from playwright.async_api import expect

from tests.support.pages import ChatPage
from tests.support.png import dusk, noise

LARGE = "document.documentElement.style.fontSize = '200%'"
RIGHT_TO_LEFT = "document.documentElement.dir = 'rtl'"


async def waiting(chat: ChatPage) -> None:
    await chat.choose("silent")
    await chat.send("count to 5")
    await expect(chat.button("Stop")).to_be_visible()


async def streaming(chat: ChatPage) -> None:
    await chat.choose("stalls")
    await chat.send("count to 5")
    await chat.text("1 2 3").wait_for()


async def stopped(chat: ChatPage) -> None:
    await streaming(chat)
    await chat.button("Stop").click()
    await chat.text("Stopped.").wait_for()


async def finished(chat: ChatPage) -> None:
    await chat.ask("Show me Markdown: a list, some code and a table")
    await chat.answer().locator(".token-kwd").first.wait_for()
    await expect(chat.answer().get_by_role("table")).to_have_count(1)


async def thinking(chat: ChatPage) -> None:
    await chat.ask("Why?", "thinks")
    await chat.text("Thought for").click()


async def failed(chat: ChatPage) -> None:
    await chat.ask("count to 5", "drops")


async def counting_down(chat: ChatPage) -> None:
    await chat.ask("count to 5", "busy")


async def sourced(chat: ChatPage) -> None:
    """Images, one of them elsewhere and one too large to be kept, sources, and a call of a tool."""
    images = (dusk(360, 200), noise(170), "https://fox.example/fox.png", "data:image/svg+xml,x")
    sources = ("Red fox", "The red fox, its dens and its young: a survey of three summers", "الثعلب الأحمر", "")
    await chat.answered(
        {"type": "delta", "text": "A fox at dusk, as [the survey](https://fox.example/survey) has it."},
        *({"type": "image", "url": url} for url in images),
        *(
            {"type": "annotation", "kind": "url_citation", "url": f"https://fox{n}.example/a", "title": title}
            for n, title in enumerate(sources)
        ),
        {"type": "annotation", "kind": "file_citation", "filename": "foxes-of-the-north.pdf"},
        {"type": "tool_call", "index": 0, "id": "1", "name": "find_image", "arguments": '{"of": "fox"}'},
    )
    await chat.answer().get_by_role("heading", name="Sources").wait_for()


async def editing(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.question().hover()
    await chat.button("Edit").click()


async def list_open(chat: ChatPage) -> None:
    await chat.ask("count to 5")
    await chat.button("Chats").click()
    await chat.page.get_by_role("button", name="Rename count to 5").wait_for()


async def empty(chat: ChatPage) -> None:
    await expect(chat.log.get_by_role("button")).to_have_count(4)


STATES: dict[str, Callable[[ChatPage], Awaitable[None]]] = {
    state.__name__: state
    for state in (
        empty, waiting, streaming, stopped, finished, thinking, sourced, failed, counting_down, editing, list_open,
    )
}  # fmt: skip

#: Options of the tab for each view, and a script to run before the state.
VIEWS: dict[str, tuple[dict[str, Any], str]] = {
    "in the light": ({}, "0"),
    "in the dark": ({"color_scheme": "dark"}, "0"),
    "with colours forced": ({"forced_colors": "active"}, "0"),
    "320 px wide": ({"viewport": {"width": 320, "height": 640}}, "0"),
    "at twice the text": ({"viewport": {"width": 640, "height": 800}}, LARGE),
    "right to left": ({}, RIGHT_TO_LEFT),
}
