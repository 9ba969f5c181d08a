"""Pictures of the pages of the examples, for their READMEs. No test: a person has to look at them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import Browser, Page, expect

from tests.support.pages import DONE
from tests.support.serving import Servers
from tests.support.tabs import new_context

POSTS = {
    "Second steep": "The leaves open slowly. The first cup is about the water, the second about the tea.\n\nI now "
    "throw the first one away, and nobody in the house has noticed.",
    "A kettle with a dial": "Eighty degrees for green tea. I did not believe it until I tried both cups next to each "
    "other.\n\nThe dial is worth its price.",
}
REPLY = (
    "Two of your posts fit:\n\n- **Second steep**: the first cup goes away, the second one is the tea.\n- **A kettle "
    "with a dial**: green tea at eighty degrees.\n\nA third post could compare the two."
)


class Scene(NamedTuple):
    """A picture of an example: its server, and what a user does before it is taken."""

    #: Of `Servers.start`.
    kind: str
    target: str
    environment: dict[str, str]
    act: Callable[[Page], Awaitable[None]]
    #: Of Playwright's context.
    options: dict[str, Any]


async def write_and_ask(page: Page) -> None:
    """Register in the blog, write two posts, and ask the chat about them."""
    await register(page, "ada")
    for title, text in POSTS.items():
        await write(page, title, text)
    records = [{"type": "start", "id": "1", "model": "fast"}, {"type": "delta", "text": REPLY}, DONE]
    body = "".join(json.dumps(record) + "\n" for record in records)
    await page.route("**/api/stream", lambda route: route.fulfill(body=body, content_type="application/x-ndjson"))
    await page.get_by_role("textbox", name="Your message").fill("Which of my posts are about green tea?")
    await page.get_by_role("button", name="Send", exact=True).click()
    await page.get_by_text("A third post").wait_for()


async def register(page: Page, name: str) -> None:
    await page.get_by_role("link", name="Register").first.click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill("a-password")
    await page.get_by_role("button", name="Register").click()
    await page.get_by_role("button", name=f"Log out {name}").wait_for()


async def write(page: Page, title: str, text: str) -> None:
    await page.get_by_role("link", name="Write", exact=True).click()
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Text").fill(text)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("heading", name=title).wait_for()


async def name_a_brand(page: Page) -> None:
    await page.get_by_label("Brand").fill("Morning Oats")
    await page.get_by_role("button", name="Write a campaign").click()
    await expect(page.get_by_role("status")).to_have_text("Complete.")


BLOG_PICTURE = {"viewport": {"width": 1180, "height": 760}}
CAMPAIGN_PICTURE = {"viewport": {"width": 760, "height": 720}}
SAMPLE = {"CHAT_MODEL": "sample"}
SCENES = {
    "blog.png": Scene("flask", "examples.flask_blog.app", {"FLASK_SECRET_KEY": "a"}, write_and_ask, BLOG_PICTURE),
    "campaign.png": Scene(
        "hypercorn", "examples.campaign.app:app", {"CHAT_MODEL": "sample"}, name_a_brand, CAMPAIGN_PICTURE
    ),
}


async def take_scenes(folder: Path, browser: Browser, servers: Servers, **options: Any) -> None:
    """Write the picture of each scene into the folder. `options` are added to those of the scenes."""
    for file, scene in SCENES.items():
        with tempfile.TemporaryDirectory() as instance:
            database = {"FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{instance}/blog.db"}
            server = servers.start(
                scene.kind,
                scene.target,
                **scene.environment,
                **database,
            )
            context = await new_context(browser, **{**scene.options, **options})
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{server.port}/")
            await scene.act(page)
            await page.mouse.move(0, 0)
            await page.screenshot(path=folder / file, animations="disabled", caret="initial")
            await context.close()
