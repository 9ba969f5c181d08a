"""Pictures of the examples' pages. No test: a person has to look at them.

`python -m tests.support.web_pictures` writes those of the READMEs; `python -m tests.support.web_pictures FOLDER` puts
every state of each page there, in light and in dark.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, expect

from tests.support.example_pages import ExamplePage, opened_example
from tests.support.react_example import build, serve
from tests.support.serving import ROOT, Server, Servers, servers_for_a_while
from tests.support.tabs import launched

SCREENSHOTS = ROOT / "docs" / "screenshots"
SIZE = {"viewport": {"width": 760, "height": 480}}
PHONE = {"viewport": {"width": 360, "height": 640}}
#: How the pages look at a user: the name of each view and its options of Playwright's context.
VIEWS: Mapping[str, Any] = {"light": SIZE, "dark": {**SIZE, "color_scheme": "dark"}, "phone": PHONE}


async def complete(page: ExamplePage) -> None:
    await page.ask("Count to 5")
    await page.ask("Show me several scripts")


async def truncated(page: ExamplePage) -> None:
    await page.ask("Count to 20")


async def answering(page: ExamplePage) -> None:
    await page.send("Count to 20")
    await expect(page.answer()).to_have_text("1 2 3")


async def stopped(page: ExamplePage) -> None:
    await answering(page)
    await page.button("Stop").click()
    await page.button("Ask").wait_for()


async def empty(page: ExamplePage) -> None:
    await page.box.blur()


#: The model and the actions of each state.
STATES: Mapping[str, tuple[str, Callable[[ExamplePage], Awaitable[None]]]] = {
    "empty": ("mock", empty),
    "complete": ("mock", complete),
    "truncated": ("fault-drop:12", truncated),
    "refused": ("fault-status:429", truncated),
    "answering": ("fault-stall:3", answering),
    "stopped": ("fault-stall:3", stopped),
}


def server_of(servers: Servers, example: str, folder: Path, model: str) -> Server:
    settings = {"CHAT_MODEL": model, "CHAT_MOCK_TOKENS_PER_S": "0", "CHAT_RETRIES": "0"}
    if example == "react_use_chat":
        return serve(servers, folder, **settings)
    return servers.get("hypercorn", f"examples.{example}.app:app", **settings)


async def take(browser: Browser, server: Server, state: str, path: Path, **options: Any) -> None:
    async with opened_example(browser, server, **options) as page:
        await STATES[state][1](page)
        await page.page.mouse.move(0, 0)
        await page.page.screenshot(path=path, animations="disabled", caret="initial")


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.web_pictures", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where every state is to go; without it, the READMEs' own")
    folder: Path | None = parser.parse_args().folder
    program = shutil.which("chromium")
    assert program, "there is no chromium"
    with servers_for_a_while() as servers, tempfile.TemporaryDirectory() as built:
        build(Path(built))
        async with launched(program) as browser:
            for example in ("fetch_page", "htmx_sse", "react_use_chat"):
                for state, (model, _) in STATES.items() if folder else [("truncated", STATES["truncated"])]:
                    server = server_of(servers, example, Path(built), model)
                    for view, options in VIEWS.items() if folder else [("", SIZE)]:
                        name = f"{example} {state} {view}.png" if folder else f"{example}.png"
                        await take(browser, server, state, (folder or SCREENSHOTS) / name, **options)


if __name__ == "__main__":
    asyncio.run(main())
