"""Each example runs, and a browser reads what it serves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.serving import Servers

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKEN = "a-token-of-alice"
WAIT_S = 20


def flask_project(servers: Servers, **settings: str) -> str:
    """Serve the project and return its base URL."""
    pace = {"CHAT_MOCK_TOKENS_PER_S": "0"}
    server = servers.get("hypercorn", "flask_page:asgi", **pace, **settings)
    return f"http://127.0.0.1:{server.port}"


async def test_the_quart_project_answers_a_client_with_a_token(servers: Servers) -> None:
    settings = {"ALICE_TOKEN": TOKEN, "CHAT_MOCK_TOKENS_PER_S": "0"}
    server = servers.get("hypercorn", "examples.quart_project.app:app", **settings)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        assert (await (await client.get("/")).text()).startswith("A project of its own")
        question = {"message": "count to 5"}
        for headers in ({}, {"X-Auth": ""}, {"X-Auth": "another"}, {"X-Auth": "é"}):
            refused = await client.post("/ai/api/stream", json=question, headers=headers)
            assert (refused.status, (await refused.json())["error"]["code"]) == (401, "unauthorized")
        for headers in ({"X-Auth": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"bearer  {TOKEN}"}):
            answered = await client.post("/ai/api/stream", json=question, headers=headers)
            assert (answered.status, await answered.text()) == (200, "1 2 3 4 5")
        # As with OpenAI's clients, a wrong Authorization counts before a right X-Auth.
        both = {"Authorization": "Bearer another", "X-Auth": TOKEN}
        async with client.post("/ai/api/stream", json=question, headers=both) as refused:
            assert refused.status == 401


async def test_the_flask_project_has_the_chat_next_to_its_page(servers: Servers) -> None:
    async with aiohttp.ClientSession(flask_project(servers)) as client:
        assert await (await client.get("/")).text() == (EXAMPLES / "page.html").read_text(encoding="utf-8")
        answered = await client.post("/ai/api/stream", json={"message": "count to 5"})
        assert (answered.status, await answered.text()) == (200, "1 2 3 4 5")


# -- the page in a browser


class Tab:
    """A tab of a browser, driven by Chromium's own protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def call(self, method: str, **params: Any) -> Any:
        await self._socket.send_json({"id": 1, "method": method, "params": params})
        return (await self._next("id"))["result"]

    async def open(self, url: str) -> None:
        await self.call("Page.enable")
        await self.call("Page.navigate", url=url)
        while (await self._next("method"))["method"] != "Page.loadEventFired":
            pass

    async def evaluate(self, expression: str) -> Any:
        """Return the result of a promise in the page."""
        response = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in response, response
        return response["result"]["value"]

    async def _next(self, field: str) -> Any:
        """Return the next message with `field`: an answer has an id, an event a method."""
        while field not in (message := await self._socket.receive_json()):
            pass
        return message


@contextlib.asynccontextmanager
async def browser(program: str, profile: Path) -> AsyncIterator[str]:
    """Return the address of Chromium's own protocol, which Chromium prints once it listens."""
    flags = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--disable-gpu"]
    flags += ["--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]
    process = await asyncio.create_subprocess_exec(program, *flags, stderr=PIPE)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(WAIT_S):
            while not (found := re.search(rb"listening on ws://([\d.:]+)/", await process.stderr.readline())):
                assert process.returncode is None
        yield f"http://{found[1].decode()}"
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), WAIT_S)


@pytest.fixture
async def tab(needs: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Tab]:
    program = needs("chromium")
    async with browser(program, tmp_path) as address, asyncio.timeout(WAIT_S), aiohttp.ClientSession() as client:
        async with client.put(f"{address}/json/new") as made:
            protocol = (await made.json())["webSocketDebuggerUrl"]
        async with client.ws_connect(protocol) as connected:
            yield Tab(connected)


SEND_QUESTION = """new Promise((resolve) => {
    const form = document.forms[0];
    const status = document.getElementById("status");
    const answer = document.getElementById("answer");
    new MutationObserver((_, observer) => {
        if (form.send.disabled) {
            if (answer.textContent === %(stop_at)s) form.stop.click();
        } else if (status.textContent) {
            observer.disconnect();
            resolve([answer.textContent, status.textContent]);
        }
    }).observe(document.body, { childList: true, subtree: true });
    form.question.value = %(question)s;
    form.send.click();
})"""


async def answer_to(tab: Tab, question: str, stop_at: str | None = None) -> tuple[str, str]:
    """Return the answer and the status on the page after its end. If the answer is `stop_at`, Stop is clicked."""
    answer, status = await tab.evaluate(
        SEND_QUESTION % {"question": json.dumps(question), "stop_at": json.dumps(stop_at)}
    )
    return answer, status


async def test_a_browser_shows_a_complete_answer(servers: Servers, tab: Tab) -> None:
    await tab.open(flask_project(servers))
    assert await answer_to(tab, "count to 30") == (" ".join(map(str, range(1, 31))), "Done.")
    text, status = await answer_to(tab, "scripts and emoji")
    assert "�" not in text
    assert len(text) > 100
    assert status == "Done."


async def test_a_browser_reports_a_truncated_answer(servers: Servers, tab: Tab) -> None:
    await tab.open(flask_project(servers, CHAT_MODEL="fault-drop:3"))
    text, status = await answer_to(tab, "count")
    assert "1 2 3".startswith(text)
    assert status.startswith("The answer is not whole: ")


async def test_a_browser_shows_the_message_of_a_refusal(servers: Servers, tab: Tab) -> None:
    await tab.open(flask_project(servers, CHAT_MODEL="fault-status:429"))
    assert await answer_to(tab, "count") == ("", "The answer is not whole: The model is busy; try again later.")


async def test_a_browser_stops_an_answer(servers: Servers, tab: Tab) -> None:
    await tab.open(flask_project(servers, CHAT_MODEL="fault-stall:3"))
    assert await answer_to(tab, "count", stop_at="1 2 3") == ("1 2 3", "Stopped.")
