"""Pings in each stream of events, read by the clients' own parsers: none fails, and none delivers an empty event."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import openai
import pytest
from httpx_sse import connect_sse

from tests.support.serving import ROOT, Server, Servers

NODE = ROOT / "tests" / "node"
PATHS = ("/api/stream", "/v1/chat/completions", "/api/ui")

# Silent long enough for several pings, before its first token.
MODEL = "fault-slow-first-token:0.5"
QUESTION = "count to 3"
ANSWER = "1 2 3"

_TURN = {"role": "user", "content": QUESTION}
_UI_TURN = {"id": "1", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}
BODY: dict[str, Any] = {
    "/api/stream": {"message": QUESTION, "model": MODEL},
    "/v1/chat/completions": {"messages": [_TURN], "model": MODEL, "stream": True},
    "/api/ui": {"id": "c", "messages": [_UI_TURN], "model": MODEL},
}


@pytest.fixture(scope="module")
def server(servers: Servers) -> Server:
    return servers.get("quartapp", CHAT_MOCK_TOKENS_PER_S="0", CHAT_STATUS_TIMEOUT_S="0.05", CHAT_KEEP_ALIVE_S="0.05")


@pytest.fixture(scope="module")
def results(server: Server, needs: Callable[[str], str]) -> Any:
    """Return the results of the JavaScript clients."""
    if not (NODE / "node_modules").is_dir():
        pytest.fail("the npm packages are not installed: make setup")
    command = [needs("node"), "pings.mjs", f"http://127.0.0.1:{server.port}", MODEL]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def read(path: str, events: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Return the number of pings in an answer's events, given by name and data, and its text.

    Raises ValueError for an event whose data is not what a client expects: JSON, or `[DONE]`.
    """
    documents = [(name, json.loads(data)) for name, data in events if data != "[DONE]"]
    if path == "/api/stream":
        pings = [record for name, record in documents if name == "ping"]
        assert pings == [{"type": "ping"}] * len(pings)
        return len(pings), "".join(record["text"] for _, record in documents if record["type"] == "delta")
    if path == "/api/ui":
        kinds = [part["type"] for _, part in documents]
        return kinds.count("data-ping"), "".join(part.get("delta", "") for _, part in documents)
    choices = [chunk["choices"][0] for _, chunk in documents]
    pings = [choice for choice in choices if choice["delta"] == {} and choice["finish_reason"] is None]
    return len(pings), "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("path", PATHS)
def test_httpx_sse_delivers_no_empty_event(path: str, server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}{path}"
    with httpx.Client(trust_env=False) as client, connect_sse(client, "POST", url, json=BODY[path]) as source:
        pings, text = read(path, [(event.event, event.data) for event in source.iter_sse()])
    assert pings >= 1
    assert text == ANSWER


@pytest.mark.parametrize("parser", ["fetch-event-source", "eventsource-parser"])
@pytest.mark.parametrize("path", PATHS)
def test_parsers_of_javascript_deliver_no_empty_event(parser: str, path: str, results: Any) -> None:
    pings, text = read(path, [(event["event"], event["data"]) for event in results[f"{parser} {path}"]])
    assert pings >= 1
    assert text == ANSWER


@pytest.mark.parametrize("stream", ["chunks", "helper"])
def test_openai_python_reads_a_ping_as_an_empty_chunk(stream: str, server: Server) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)
    messages: Any = [_TURN]
    with client:
        if stream == "helper":
            with client.chat.completions.stream(model=MODEL, messages=messages) as events:
                answer = events.get_final_completion().choices[0]
            assert (answer.message.role, answer.message.content, answer.finish_reason) == ("assistant", ANSWER, "stop")
            return
        choices = [
            chunk.choices[0] for chunk in client.chat.completions.create(model=MODEL, messages=messages, stream=True)
        ]
    assert "".join(choice.delta.content or "" for choice in choices) == ANSWER
    assert choices[0].delta.content is None
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]


def test_openai_node_reads_a_ping_as_an_empty_chunk(results: Any) -> None:
    answer = results["openai-node"]
    assert answer.pop("pings") >= 1
    assert answer == {"text": ANSWER, "role": "assistant", "finish": "stop"}


@pytest.mark.parametrize("version", ["ai5", "ai6", "ai7"])
def test_a_ping_reaches_on_data_and_no_message_of_the_ai_sdk(version: str, results: Any) -> None:
    answer = results[version]
    assert answer.pop("pings") >= 1
    assert answer == {"status": "ready", "kinds": ["text"], "text": ANSWER}
