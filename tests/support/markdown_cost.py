"""What Markdown costs a page, in figures: `python -m tests.support.markdown_cost`. No test, for it takes minutes.

It streams 100 kB of this project's own documents at 200 tokens a second, and then every text that is too much for a
careless reader, and prints how long `render` took in a frame and how long the tab did not answer.
"""

from __future__ import annotations

import asyncio
import shutil
import sys

from playwright.async_api import Page

from tests.support.serving import ROOT, servers_for_a_while
from tests.support.tabs import launched
from tests.support.xss import BOMBS

CHARS = 100_000
CHARS_PER_S = 200 * 4

STREAM = """async ([text, charsPerSecond]) => {
  const { Markdown } = await import("/static/element/markdown.js");
  const element = document.createElement("div");
  document.body.replaceChildren(element);
  const markdown = new Markdown(element);
  const tookMs = [];
  const begunMs = performance.now();
  for (let shown = 0; shown < text.length; ) {
    const due = Math.floor(((await new Promise(requestAnimationFrame)) - begunMs) * charsPerSecond / 1000);
    if (due > shown) markdown.append(text.slice(shown, due));
    shown = Math.max(shown, due);
    const before = performance.now();
    markdown.render();
    tookMs.push(performance.now() - before);
  }
  const before = performance.now();
  await markdown.finish();
  const finishMs = performance.now() - before;
  tookMs.sort((a, b) => a - b);
  const at = (share) => tookMs[Math.floor((tookMs.length - 1) * share)];
  return { frames: tookMs.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(1), finishMs };
}"""


def document() -> str:
    """100 kB of Markdown as this project writes it."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return "\n\n".join(path.read_text(encoding="utf-8") for path in paths)[:CHARS]


async def stream(page: Page) -> str:
    times = await page.evaluate(STREAM, [document(), CHARS_PER_S])
    figures = ", ".join(f"{name} {value:.1f}" for name, value in times.items())
    return f"{CHARS} characters at {CHARS_PER_S} a second, ms of render a frame: {figures}\n"


async def bomb(page: Page, name: str) -> str:
    text = BOMBS[name]
    results = [await page.evaluate("given => bomb(...given)", [text, chars]) for chars in (len(text), len(text) // 20)]
    return f"{name}: no answer for {results[0]['lagMs']:.0f} ms in one piece, {results[1]['lagMs']:.0f} ms in twenty\n"


async def main() -> None:
    program = shutil.which("chromium")
    assert program, "there is no chromium"
    with servers_for_a_while() as servers:
        server = servers.get("quartapp")
        async with launched(program) as chromium:
            page = await chromium.new_page()
            await page.add_init_script(path=ROOT / "tests" / "node" / "markdown.js")
            await page.goto(f"http://127.0.0.1:{server.port}/", wait_until="networkidle")
            for name in BOMBS:
                sys.stdout.write(await bomb(page, name))
            sys.stdout.write(await stream(page))


if __name__ == "__main__":
    asyncio.run(main())
