"""Screenshots of the page. No test: a person has to look at them.

`python -m tests.support.screenshots` writes those of the README and of the examples. With FOLDER it puts every state of
the page there, in every way of looking at it.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser

from tests.support.example_pictures import take_scenes
from tests.support.page_states import STATES, VIEWS
from tests.support.pages import opened, page_server
from tests.support.serving import ROOT, Server, servers_for_a_while
from tests.support.tabs import launched

SCREENSHOTS = ROOT / "docs" / "screenshots"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


class Picture(NamedTuple):
    path: Path
    state: str
    #: Of Playwright's context.
    options: dict[str, Any]
    #: Done to the page before the state is gone to.
    script: str = "0"


README = [
    Picture(SCREENSHOTS / "answer.png", "finished", {"viewport": {"width": 760, "height": 1800}}),
    Picture(SCREENSHOTS / "dark.png", "finished", {**PHONE, "color_scheme": "dark"}),
]


def everything(folder: Path) -> Iterator[Picture]:
    views = {**VIEWS, "on a phone": (PHONE, "0")}
    for view, (options, script) in views.items():
        for state in STATES:
            yield Picture(folder / f"{state} {view}.png", state, options, script)


async def take(picture: Picture, browser: Browser, server: Server) -> None:
    async with opened(browser, reduced_motion="reduce", **picture.options) as chat:
        await chat.open(server)
        await chat.page.evaluate(picture.script)
        await STATES[picture.state](chat)
        await chat.page.mouse.move(0, 0)
        await chat.page.screenshot(path=picture.path, animations="disabled", caret="initial")


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.screenshots", description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="where every state is to go; without it, those of the docs are written"
    )
    folder: Path | None = parser.parse_args().folder
    program = shutil.which("chromium")
    assert program, "there is no chromium"
    with servers_for_a_while() as servers:
        async with launched(program) as browser:
            for picture in everything(folder) if folder else README:
                await take(picture, browser, page_server(servers))
            if folder is None:
                await take_scenes(SCREENSHOTS, browser, servers)


if __name__ == "__main__":
    asyncio.run(main())
