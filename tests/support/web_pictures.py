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
TALL = {"viewport": {"width": 760, "height": 720}}
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


#: Stands for the mock model and a tool that takes a minute.
SLOW_TOOL = "slow tool"

#: The model and the actions of each state.
STATES: Mapping[str, tuple[str, Callable[[ExamplePage], Awaitable[None]]]] = {
    "empty": ("mock", empty),
    "complete": ("mock", complete),
    "truncated": ("fault-drop:12", truncated),
    "refused": ("fault-status:429", truncated),
    "answering": ("fault-stall:3", answering),
    "stopped": ("fault-stall:3", stopped),
}


async def approval(page: ExamplePage) -> None:
    await page.ask("Which orders do I have?")
    await page.ask("Cancel order 2")


async def approved(page: ExamplePage) -> None:
    await approval(page)
    await page.button("Approve").click()
    await expect(page.status).to_have_text("Done.")


async def denied(page: ExamplePage) -> None:
    await approval(page)
    await page.page.get_by_role("textbox", name="Reason to deny").fill("I still want it.")
    await page.button("Deny").click()
    await expect(page.status).to_have_text("Done.")


async def failed(page: ExamplePage) -> None:
    await page.ask("Cancel order 3")
    await page.button("Approve").click()
    await expect(page.status).to_have_text("Done.")


async def running(page: ExamplePage) -> None:
    await page.ask("Cancel order 2")
    await page.button("Approve").click()
    await expect(page.page.get_by_text("Running…")).to_be_visible()


async def stopped_tool(page: ExamplePage) -> None:
    await running(page)
    await page.button("Stop").click()
    await page.button("Ask").wait_for()


#: The further states of the page with tools.
TOOL_STATES: Mapping[str, tuple[str, Callable[[ExamplePage], Awaitable[None]]]] = {
    "approval": ("mock", approval),
    "approved": ("mock", approved),
    "denied": ("mock", denied),
    "failed": ("mock", failed),
    "running": (SLOW_TOOL, running),
    "stopped tool": (SLOW_TOOL, stopped_tool),
}
#: The state in the README of each example, and the size of its picture.
SHOWN: Mapping[str, tuple[str, Any]] = {
    "fetch_page": ("truncated", SIZE),
    "htmx_sse": ("truncated", SIZE),
    "react_use_chat": ("truncated", SIZE),
    "tools_page": ("approval", TALL),
}


def states_of(example: str) -> Mapping[str, tuple[str, Callable[[ExamplePage], Awaitable[None]]]]:
    return {**STATES, **TOOL_STATES} if example == "tools_page" else STATES


def server_of(servers: Servers, example: str, folder: Path, model: str) -> Server:
    if model == SLOW_TOOL:
        return servers.get("hypercorn", f"examples.{example}.app:app", DELAY_S="60", CHAT_MOCK_TOKENS_PER_S="0")
    settings = {"CHAT_MODEL": model, "CHAT_MOCK_TOKENS_PER_S": "0", "CHAT_RETRIES": "0"}
    if example == "react_use_chat":
        return serve(servers, folder, **settings)
    return servers.get("hypercorn", f"examples.{example}.app:app", **settings)


async def take(
    browser: Browser, server: Server, act: Callable[[ExamplePage], Awaitable[None]], path: Path, **options: Any
) -> None:
    async with opened_example(browser, server, **options) as page:
        await act(page)
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
            for example, (shown, size) in SHOWN.items():
                states = states_of(example)
                for state in states if folder else [shown]:
                    model, act = states[state]
                    server = server_of(servers, example, Path(built), model)
                    for view, options in VIEWS.items() if folder else [("", size)]:
                        name = f"{example} {state} {view}.png" if folder else f"{example}.png"
                        await take(browser, server, act, (folder or SCREENSHOTS) / name, **options)


if __name__ == "__main__":
    asyncio.run(main())
