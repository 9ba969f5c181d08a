"""The costs of the page: bytes, consecutive requests, and script per frame."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect

from tests.support.pages import opened
from tests.support.serving import ROOT, Server, Servers

STATIC = ROOT / "quartapp" / "static"

#: The question, an element of the complete answer, and the limit. The first code loads the colours of code.
MOST_GZIPPED_BYTES = {
    "an answer without code": ("Write a long explanation", "h5", 69_000),
    "code in two languages": ("Show me a table", "figure:nth-of-type(2) .token-kwd", 72_000),
}


def file_of(path: str) -> Path:
    return STATIC / re.sub("^/static/([0-9a-f]{16}/)?", "", path) if path != "/" else STATIC / "index.html"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", MOST_GZIPPED_BYTES)
async def test_all_that_the_page_loads_is_light(name: str, browser: Browser, server: Server) -> None:
    question, found, most_bytes = MOST_GZIPPED_BYTES[name]
    async with opened(browser, fresh=True) as chat:
        await chat.open(server)
        await chat.ask(question)
        await expect(chat.answer().locator(found).first).to_be_visible()
        paths = {urlsplit(request.url).path for request in chat.record.requests if request.url.startswith("http")}
    loaded = [file_of(path) for path in paths - {"/api/stream", "/api/models"}]
    weights = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in loaded}
    assert sum(weights.values()) <= most_bytes, weights


def imported(module: Path, known: set[Path]) -> set[Path]:
    """Return the modules that `module` imports, directly or not."""
    for name in re.findall(r'^(?:import|export)[^"]*?from "(\.[^"]+)";', module.read_text(), re.MULTILINE):
        path = (module.parent / name).resolve()
        if path not in known:
            known |= {path}
            imported(path, known)
    return known


def test_all_modules_are_requested_together_with_the_page() -> None:
    html = (STATIC / "index.html").read_text()
    linked = {STATIC / path for path in re.findall(r'"modulepreload" href="static/([^"]+)"', html)}
    assert linked == imported(STATIC / "quart-chat.js", set())


# Notes how long each frame's script takes.
TIMED = """(() => {
  globalThis.frames_ms = [];
  const frame = requestAnimationFrame;
  globalThis.requestAnimationFrame = (draw) => frame((now) => {
    const begun = performance.now();
    draw(now);
    frames_ms.push(performance.now() - begun);
  });
})()"""

LONG_TEXT = (ROOT / "quartapp" / "mock" / "texts" / "tour.md").read_text(encoding="utf-8") * 30


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="module")
async def test_a_long_answer_leaves_the_frames_to_the_page(browser: Browser, servers: Servers) -> None:
    """Ten times faster than the fastest models, 95 frames of 100 have half of their 16 ms left."""
    server = servers.get("quartapp", CHAT_MODEL="mock-echo", CHAT_MOCK_TOKENS_PER_S="2000")
    async with opened(browser, fresh=True) as chat:
        await chat.page.add_init_script(TIMED)
        await chat.open(server)
        await chat.page.evaluate("(text) => document.querySelector('quart-chat').ask(text)", LONG_TEXT[:50_000])
        await chat.button("Send").wait_for(timeout=30_000)
        frames_ms = sorted(await chat.page.evaluate("frames_ms"))
        assert len(frames_ms) > 100
        assert frames_ms[len(frames_ms) * 95 // 100] < 8, frames_ms[-20:]


SHORT_TEXT = "# One\n\n- of *each*\n\n```js\nconst two = 2;\n```\n\n| three | four |\n|---|---|\n| 5 | 6 |\n" * 5

# Has questions answered, each in a chat of its own.
ANSWER = """async ([text, count]) => {
  const chat = document.querySelector("quart-chat");
  for (; count; count--) {
    chat.newChat();
    const answered = new Promise((resolve) => chat.addEventListener("chat-answer", resolve, { once: true }));
    chat.ask(text);
    await answered;
  }
  chat.newChat();
}"""


@pytest.mark.asyncio(loop_scope="module")
async def test_fifty_answers_leave_nothing_behind(browser: Browser, server: Server) -> None:
    async with opened(browser, fresh=True) as chat:
        await chat.open(server)
        devtools = await chat.page.context.new_cdp_session(chat.page)

        async def held() -> tuple[float, float]:
            """Return the megabytes of the page's script, and its nodes, after a garbage collection."""
            await devtools.send("HeapProfiler.collectGarbage")
            metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
            values = {metric["name"]: metric["value"] for metric in metrics}
            return values["JSHeapUsedSize"] / 1e6, values["Nodes"]

        await devtools.send("Performance.enable")
        await chat.choose("echoes")
        await chat.page.evaluate(ANSWER, [SHORT_TEXT, 10])
        before_mb, before_nodes = await held()
        await chat.page.evaluate(ANSWER, [SHORT_TEXT, 50])
        for _ in range(50):  # the last answers' code is still being coloured
            after_mb, after_nodes = await held()
            if after_nodes < before_nodes + 300:  # an answer has more
                break
        assert after_nodes < before_nodes + 300
        assert after_mb < before_mb + 1
