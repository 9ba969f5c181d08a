"""Pages over plain http, where browsers send no Sec-Fetch headers: the requests that call a model, and the others."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.loopback import Exchange, Loopback, head
from tests.support.serving import Server, Servers, eventually
from tests.support.tabs import launched

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Each element that has loaded or failed is counted; a form and a link lead into a frame of their own.
ELEMENTS = """<!doctype html><meta charset="utf-8"><body><script>
window.over = 0;
const ours = document.createElement.bind(document);
function add(name, attributes) {
  const element = Object.assign(ours(name), attributes);
  element.onload = element.onerror = () => { window.over += 1; };
  document.body.append(element);
  return element;
}
const address = "%s";
add("img", {src: address + "image"});
add("script", {src: address + "script"});
add("link", {rel: "stylesheet", href: address + "style"});
add("iframe", {src: address + "frame"});
add("iframe", {name: "of_form"});
add("iframe", {name: "of_link"});
const form = add("form", {action: address.split("?")[0], target: "of_form"});
form.append(Object.assign(ours("input"), {name: "message", value: "form"}));
form.submit();
add("a", {href: address + "link", target: "of_link"}).click();
add("a", {href: address + "link", target: "of_link", referrerPolicy: "no-referrer"}).click();
fetch(address + "script", {mode: "no-cors"}).finally(() => { window.over += 1; });
for (const accept of ["application/x-ndjson", "text/event-stream"]) {
  const options = {mode: "no-cors", referrerPolicy: "no-referrer", cache: "no-store", headers: {Accept: accept}};
  fetch(address + "hidden", options).finally(() => { window.over += 1; });
}
const source = new EventSource(address + "source");
source.onerror = source.onmessage = () => { source.close(); window.over += 1; };
</script>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Chromium, which finds every name that ends with `.test` at 127.0.0.1."""
    async with launched(chromium, "MAP *.test 127.0.0.1") as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    async with await browser.new_page() as page:
        yield page


async def refused(server: Server, messages: int) -> None:
    """Wait until `messages` requests were refused, and check that no model was called."""
    codes = re.compile('"error": "(forbidden|not_acceptable)"')
    await eventually(lambda: len(codes.findall(server.log_text())) >= messages, 20)
    assert server.answer_lines() == []


async def last_event(page: Page) -> str:
    """Return the last event of an EventSource of the page."""
    return str(
        await page.evaluate("""() => new Promise((resolve) => {
            const source = new EventSource("/api/stream?message=" + encodeURIComponent("count to 3"));
            source.addEventListener("end", (event) => { source.close(); resolve(event.data); });
            source.onerror = () => { source.close(); resolve("an error"); };
        })""")
    )


async def test_nothing_on_a_foreign_page_over_plain_http_calls_a_model(page: Page, servers: Servers) -> None:
    server = servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0")
    html = (ELEMENTS % f"http://chat.test:{server.port}/api/stream?message=").encode()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(head(headers={"Content-Type": "text/html", "Content-Length": str(len(html))}) + html)

    async with Loopback(answer) as foreign:
        await page.goto(foreign.origin.replace("127.0.0.1", "evil.test"))
        await page.wait_for_function("window.over >= 9")
        assert "sec-fetch-site" not in foreign.requests[0].headers
        await refused(server, 10)


async def test_on_the_chats_own_page_a_script_calls_a_model_and_an_image_does_not(page: Page, servers: Servers) -> None:
    server = servers.start("quartapp", CHAT_MOCK_TOKENS_PER_S="0")
    await page.goto(f"http://chat.test:{server.port}/")
    address = f"/api/stream?message={quote('count to 3')}"
    await page.evaluate(
        """(address) => new Promise((resolve) => {
            const image = document.createElement("img");
            image.onerror = image.onload = resolve;
            image.src = address;
            document.body.append(image);
        })""",
        address,
    )
    await refused(server, 1)
    assert '"type":"done"' in await last_event(page)
    await eventually(lambda: server.answer_lines(ending="done"))
