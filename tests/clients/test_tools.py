"""Tools in Python as clients see them: `useChat` of three versions with approvals, and OpenAI's client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import openai
import pytest
import pytest_asyncio

from tests.support.endpoints import chunk, event_stream
from tests.support.loopback import reply
from tests.support.serving import ROOT, Server, Servers, upstream_settings
from tests.support.tool_upstreams import Scripts, Turn, answering, call, calling

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = ROOT / "tests" / "node"
LIMIT_S = 30

Json = dict[str, Any]

WEATHER = call("weather", {"city": "Bern"})
#: The question, which names its turns in `SCRIPTS`, and the decisions about the approvals in its answer.
DECISIONS: dict[str, list[bool]] = {
    "plain": [],
    "silent": [],
    "failing": [],
    "approve": [True],
    "deny": [False],
    "twice": [True, True],
}

SCRIPTS: dict[str, list[Turn]] = {
    "plain": [calling(WEATHER, text="Let me look."), answering("It is sunny.")],
    "silent": [calling(WEATHER), event_stream(chunk({}, "stop"))],
    "failing": [calling(WEATHER), reply(400, b"{}")],
    "approve": [
        calling(WEATHER, call("delete_order", {"order": 7}, id="c1"), text="May I?"),
        calling(WEATHER),
        answering("It is deleted."),
    ],
    "deny": [calling(WEATHER, call("delete_order", {"order": 8}, id="c1")), answering("It is still there.")],
    "twice": [
        calling(call("delete_order", {"order": 10}, id="c1")),
        calling(call("delete_order", {"order": 11}, id="c1")),
        answering("Both are deleted."),
    ],
}

PLAIN = [
    ("step-start", None),
    ("text", "Let me look."),
    ("tool-weather", "output-available"),
    ("step-start", None),
    ("text", "It is sunny."),
]
#: The requests and the parts of the one message of the assistant.
SHOWN: dict[str, tuple[int, list[tuple[str, Any]]]] = {
    "plain": (1, PLAIN),
    "silent": (1, [("step-start", None), ("tool-weather", "output-available"), ("step-start", None)]),
    "failing": (1, [("step-start", None), ("tool-weather", "output-available")]),
    "approve": (
        2,
        [
            ("step-start", None),
            ("text", "May I?"),
            ("tool-weather", "output-available"),
            ("tool-delete_order", "output-available"),
            ("step-start", None),
            ("tool-weather", "output-available"),
            ("step-start", None),
            ("text", "It is deleted."),
        ],
    ),
    "deny": (
        2,
        [
            ("step-start", None),
            ("tool-weather", "output-available"),
            ("tool-delete_order", "approval-responded"),
            ("step-start", None),
            ("text", "It is still there."),
        ],
    ),
    "twice": (
        3,
        [
            ("step-start", None),
            ("tool-delete_order", "output-available"),
            ("step-start", None),
            ("tool-delete_order", "output-available"),
            ("step-start", None),
            ("text", "Both are deleted."),
        ],
    ),
}


class Served(NamedTuple):
    """The server of the model, and the app with the tools."""

    upstream: Scripts
    app: Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(servers: Servers) -> AsyncIterator[Served]:
    async with Scripts(SCRIPTS) as upstream:
        settings = upstream_settings(upstream.base_url)
        app = await asyncio.to_thread(servers.start, "hypercorn", "tools_host:app", **settings)
        yield Served(upstream, app)


async def run_node(program: str, client: str, served: Served, decisions: Json) -> dict[str, Json]:
    origin = f"http://127.0.0.1:{served.app.port}"
    process = await asyncio.create_subprocess_exec(
        *(program, "tools.mjs", client, origin, json.dumps(decisions)),
        cwd=NODE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, errors.decode()
    found = map(json.loads, output.decode().splitlines())
    return {each["name"]: each for each in found}


def deletions(served: Served, order: int) -> int:
    return served.app.log_text().count(f"order {order} is deleted")


@pytest.mark.parametrize("client", ["ai5", "ai6", "ai7"])
async def test_a_page_shows_calls_results_and_approvals_in_one_message(
    client: str, served: Served, needs: Callable[[str], str]
) -> None:
    names = [name for name, decided in DECISIONS.items() if client != "ai5" or not decided]  # ai5 has no approvals
    before = [deletions(served, order) for order in (7, 8, 10, 11)]
    found = await run_node(needs("node"), client, served, {name: DECISIONS[name] for name in names})
    for name in names:
        shown = found[name]
        assert [message["role"] for message in shown["messages"]] == ["user", "assistant"], shown
        parts = shown["messages"][1]["parts"]
        seen = [(part["type"], part["text"] if part["type"] == "text" else part.get("state")) for part in parts]
        assert (shown["requests"], seen) == SHOWN[name]
        assert (shown["status"] == "error") == (name == "failing")
    after = [deletions(served, order) for order in (7, 8, 10, 11)]
    expected = [0, 0, 0, 0] if client == "ai5" else [1, 0, 1, 1]
    assert [late - early for early, late in zip(before, after, strict=True)] == expected


async def test_openais_client_gets_the_text_of_all_turns(served: Served) -> None:
    base_url = f"http://127.0.0.1:{served.app.port}/v1"
    question: Any = {"model": "the-model", "messages": [{"role": "user", "content": "plain"}]}
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        completion = await client.chat.completions.create(**question)
        stream = client.chat.completions.stream(**question, stream_options={"include_usage": True})
        async with stream as events:
            async for _ in events:
                pass
            streamed = events.current_completion_snapshot
    for each in (completion, streamed):
        message, usage = each.choices[0].message, each.usage
        assert (message.content, message.tool_calls or []) == ("Let me look.\n\nIt is sunny.", [])
        assert each.choices[0].finish_reason == "stop"
        assert usage is not None
        assert usage.total_tokens == 24
