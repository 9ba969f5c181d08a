"""Real clients and the chat: the servers they ask, what is tried with each, and the table that tells of it.

`python -m tests.support.conformance` writes the table into docs/reference/protocol.md.
"""

from __future__ import annotations

import json
import logging
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from quart import Quart

from quartapp import ChatError, ChatRequest, Model, chat_blueprint
from quartapp.core.events import Batch, Batches, Delta, ToolCall
from tests.support.serving import ROOT, Server, Servers, upstream_settings

PROTOCOL = ROOT / "docs" / "reference" / "protocol.md"
MARKS = ("<!-- conformance -->\n", "<!-- /conformance -->\n")

#: What is tried, and what passes for right.
CASES = {
    "streamed": "the answer arrives in pieces and ends as complete",
    "whole": "the answer arrives in one piece",
    "tools": "the model calls a function, and the result that the client sends back is understood",
    "image": "an image that the client sends reaches the model",
    "usage": "the client gets the number of tokens",
    "429": "shown as that; retried only if the client does so by itself",
    "500": "shown as an error; the model was called once",
    "error": "the model's server reports an error after three tokens",
    "dropped": "its connection breaks after three tokens",
    "truncated": "it ends after three tokens without a finish reason",
    "left": "the client disconnects, and the connection to the model's server is closed",
}


class Client(NamedTuple):
    """One way of asking. `package` is what pins its version, None for a program of the system; `cut` is what the
    client makes of an answer that is not whole: the name of what it raises, or says."""

    name: str
    package: str | None
    path: str
    tried: str
    cut: str


_ALL = " ".join(CASES)
_CUT = "error dropped truncated"
_API, _UI, _OURS = "/v1", "/api/ui", "/api/stream"

_TABLE = (
    ("openai-python", "openai", _API, _ALL, "APIError"),
    ("openai-node", "npm:openai", _API, _ALL, "APIError"),
    ("LangChain ChatOpenAI", "langchain-openai", _API, _ALL, "APIError"),
    ("llm", "llm", _API, _ALL, "exit status 1"),
    ("Vercel ai 5", "npm:ai5", _UI, f"streamed tools image usage 429 500 {_CUT} left", "status error"),
    ("Vercel ai 6", "npm:ai6", _UI, f"streamed tools image usage 429 500 {_CUT} left", "status error"),
    ("Vercel ai 7", "npm:ai7", _UI, f"streamed tools image usage 429 500 {_CUT} left", "status error"),
    ("requests, NDJSON", "requests", _OURS, _ALL, "error record"),
    ("requests, text", "requests", _OURS, f"streamed whole 429 500 {_CUT} left", "ChunkedEncodingError"),
    ("httpx-sse", "httpx-sse", _OURS, f"streamed 429 500 {_CUT} left", "error record"),
    ("curl -N, NDJSON", None, _OURS, _ALL, "error record"),
    ("curl -N, text", None, _OURS, f"streamed whole 429 500 {_CUT} left", "exit status 18"),
    ("eventsource-parser", "npm:eventsource-parser", _OURS, f"streamed usage 429 {_CUT}", "error record"),
    ("fetch-event-source", "npm:@microsoft/fetch-event-source", _OURS, f"streamed usage 429 {_CUT}", "error record"),
    ("EventSource in Chromium", None, _OURS, f"streamed usage 429 {_CUT} left", "error record"),
    ("fetch in Chromium, text", None, _OURS, f"streamed 429 {_CUT} left", "TypeError"),
    ("fetch in Chromium, NDJSON", None, _OURS, f"streamed usage 429 {_CUT} left", "error record"),
    ("fetch in Chromium, SSE", None, _OURS, f"streamed usage 429 {_CUT} left", "error record"),
)

CLIENTS = {row[0]: Client(*row) for row in _TABLE}

#: An image of one pixel, and what the mock model says of it.
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
)
TOLD_OF_IMAGE = "I was sent 1 image (image/png, 67 bytes). You said: count to 5"

#: Names of clients and cases that some test has asked for.
TRIED: set[tuple[str, str]] = set()


def tried(case: str, *names: str) -> list[Client]:
    """Those of the clients of these names with whom the case is tried; a test of it asks for them."""
    clients = [CLIENTS[name] for name in names if case in CLIENTS[name].tried.split()]
    TRIED.update((client.name, case) for client in clients)
    return clients


def each_of(cases: Iterable[str], *names: str) -> pytest.MarkDecorator:
    """Runs a test of (client, case) for each of the cases with each of the clients with whom it is tried."""
    pairs = [(client, case) for case in cases for client in tried(case, *names)]
    return pytest.mark.parametrize(("client", "case"), pairs, ids=[f"{client.name}-{case}" for client, case in pairs])


def each(case: str, *names: str) -> pytest.MarkDecorator:
    """Runs a test of `client` for each of the clients with whom the case is tried."""
    return pytest.mark.parametrize("client", tried(case, *names), ids=lambda client: client.name)


# -- the servers


def chat_at(servers: Servers, upstream: str, model: str) -> Server:
    """A chat that offers `model`; one that breaks its connection off does so on a real one."""
    if model in OWN_MODELS:
        return servers.get("hypercorn", "tests.support.conformance:project()")
    if model.startswith(("fault-drop", "fault-no-finish")):
        return servers.get("quartapp", **upstream_settings(upstream) | {"CHAT_MODEL": model})
    return servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0")


class Weather:
    """Calls a function that nobody offered it, as a project's own model may, and repeats what it is told."""

    async def stream(self, request: ChatRequest, /) -> Batches:
        last = request.messages[-1]
        if last["role"] == "tool":
            yield Batch(1, [Delta(f"The weather: {last['content']}")], finish_reason="stop")
            return
        yield Batch(1, [Delta("Let me see."), ToolCall(0, "call_1", "weather", "")])
        yield Batch(1, [ToolCall(0, arguments='{"city": "O')])
        yield Batch(1, [ToolCall(0, arguments='slo"}')], finish_reason="tool_calls")


class Busy:
    """Is always busy, and does not say for how long: who asks again does so soon."""

    async def stream(self, _: ChatRequest, /) -> Batches:
        for nothing in list[Batch]():
            yield nothing
        raise ChatError("upstream_busy")


OWN_MODELS: Mapping[str, Model] = {"weather": Weather(), "busy": Busy()}


def project() -> Quart:
    """A project with models of its own, whose log shows our lines too."""
    logging.basicConfig(level=logging.INFO)
    app = Quart("project")
    app.register_blueprint(chat_blueprint(models=OWN_MODELS))
    return app


# -- the table


def version(package: str) -> str:
    """The version that `package` is pinned to. Raises LookupError where it is not."""
    if package.startswith("npm:"):
        dependencies = json.loads((ROOT / "tests" / "node" / "package.json").read_text())["dependencies"]
        return str(dependencies[package.removeprefix("npm:")]).rpartition("@")[2]
    extras: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pins: dict[str, str] = dict(pin.split("==") for pin in extras["dev"] if "==" in pin)
    return pins[package]


def table() -> str:
    """The table, and what its words mean, in Markdown."""
    meanings = "".join(f"| {name} | {meaning} |\n" for name, meaning in CASES.items())
    rows = "".join(
        f"| {client.name} | {version(client.package) if client.package else 'as installed'} "
        f"| `{{prefix}}{client.path}` | {', '.join(client.tried.split())} | {client.cut} |\n"
        for client in CLIENTS.values()
    )
    return (
        f"| case | expected |\n|---|---|\n{meanings}\n"
        f"| client | version | route | cases | a truncated answer is |\n|---|---|---|---|---|\n{rows}"
    )


def split_page(page: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what stands behind it."""
    before, told, after = re.split("|".join(MARKS), page)
    return before, told, after


def write(path: Path = PROTOCOL) -> None:
    """Puts the table between its marks."""
    before, _, after = split_page(path.read_text(encoding="utf-8"))
    path.write_text(before + MARKS[0] + table() + MARKS[1] + after, encoding="utf-8")


if __name__ == "__main__":
    write()
