"""JavaScript's clients in Node: openai-node, Vercel's ai in three major versions, and parsers of events.

The scripts below `tests/node` send the requests and print their client's result of each answer. The expected results
are here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.conformance import CLIENTS, IMAGE, TOLD_OF_IMAGE, Client, chat_at, each, each_of
from tests.support.serving import ROOT, Server, Servers, eventually

NODE = ROOT / "tests" / "node"
PARSERS = ("eventsource-parser", "fetch-event-source")
SCRIPTS = {"openai-node": "openai.mjs", **dict.fromkeys(PARSERS, "sse.mjs")}
AI_SDK = [name for name in CLIENTS if name.startswith("Vercel")]

#: Models with a server of their own in `chat_at`; the mock model has the others.
APART = ("weather", "busy", "fault-drop", "fault-no-finish")

COUNT = "1 2 3 4 5"
PARTIAL = "1 2 3"

#: The cases of a truncated answer, and the code that reports it.
CODES = {"error": "upstream_error", "dropped": "upstream_error", "truncated": "upstream_truncated"}

Result = Mapping[str, Any]
Run = Callable[[Client, str], Result]


@pytest.fixture(scope="session")
def chat(servers: Servers, upstream: str) -> Callable[[str], Server]:
    return lambda model: chat_at(servers, upstream, model)


@pytest.fixture(scope="session")
def result_of(needs: Callable[[str], str], chat: Callable[[str], Server]) -> Run:
    """Return a function that gives a client's result of a case; its script runs once, with all of its cases."""
    origins = {model: f"http://127.0.0.1:{chat(model).port}" for model in ("mock", *APART)}

    @cache
    def run(name: str) -> Mapping[str, Result]:
        if not (NODE / "node_modules").is_dir():
            pytest.fail("the npm packages are not installed: make setup")
        command = [needs("node"), SCRIPTS.get(name, "ai_sdk.mjs"), package(name), json.dumps(origins), IMAGE]
        done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        lines = map(json.loads, done.stdout.split("\n")[:-1])
        return {line.pop("name"): line for line in lines}

    def run_client(client: Client, case: str) -> Result:
        needs("node")
        return run(client.name)[case]

    return run_client


def package(name: str) -> str:
    return str(CLIENTS[name].package).removeprefix("npm:")


def tag(client: Client, case: str) -> str:
    return f"{package(client.name)}-{case}"


async def endings(server: Server, client: Client, case: str, count: int) -> list[str]:
    """Return the endings of the case's answers in the log, once there are `count`."""
    await eventually(lambda: len(server.answer_lines(client_id=tag(client, case))) >= count)
    return [line["ending"] for line in server.answer_lines(client_id=tag(client, case))]


# -- openai-node


@each_of(("streamed", "whole"), "openai-node")
def test_openai_node_gets_a_complete_answer(client: Client, case: str, result_of: Run) -> None:
    answer = result_of(client, case)
    assert (answer["text"], answer["finish"]) == (COUNT, "stop")
    assert "error" not in answer


@each("usage", "openai-node")
@pytest.mark.parametrize("case", ["streamed", "whole"])
def test_openai_node_knows_the_usage(client: Client, case: str, result_of: Run) -> None:
    assert result_of(client, case)["tokens"] == 11


@each("tools", "openai-node")
@pytest.mark.parametrize("case", ["tools", "tools-whole"])
def test_openai_node_runs_a_tool_and_sends_its_result(client: Client, case: str, result_of: Run) -> None:
    assert result_of(client, case) == {"calls": [{"city": "count to 5"}], "text": "The tool answered: sunny"}


@each("image", "openai-node")
def test_openai_node_sends_an_image_that_reaches_the_model(client: Client, result_of: Run) -> None:
    assert result_of(client, "image")["text"] == TOLD_OF_IMAGE


@each("429", "openai-node")
def test_openai_node_gets_retry_after_of_a_busy_model(client: Client, result_of: Run) -> None:
    error = {"kind": "RateLimitError", "status": 429, "code": "rate_limit_exceeded", "type": "rate_limit_error"}
    assert result_of(client, "429") == {"text": "", "error": error | {"retryAfter": "7"}}


@each("429", "openai-node")
async def test_openai_node_retries_a_busy_model_twice(
    client: Client, result_of: Run, chat: Callable[[str], Server]
) -> None:
    assert result_of(client, "429-retried")["error"]["kind"] == "RateLimitError"
    assert await endings(chat("busy"), client, "429-retried", 3) == ["upstream_busy"] * 3


ONCE = {
    "500": ("fault-status:500", "upstream_error"),
    "dropped-whole": ("fault-drop", "upstream_error"),
    "truncated-whole": ("fault-no-finish", "upstream_truncated"),
}


@each("500", "openai-node")
@pytest.mark.parametrize("case", ONCE)
async def test_openai_node_does_not_retry_what_may_have_been_billed(
    client: Client, case: str, result_of: Run, chat: Callable[[str], Server]
) -> None:
    model, code = ONCE[case]
    error = result_of(client, case)["error"]
    assert (error["kind"], error["status"], error["code"]) == ("InternalServerError", 502, code)
    assert await endings(chat(model), client, case, 1) == [code]


@each_of(CODES, "openai-node")
def test_openai_node_raises_the_error_of_a_stream(client: Client, case: str, result_of: Run) -> None:
    result = result_of(client, case)
    assert (result["text"], result.get("finish")) == (PARTIAL, None)
    assert (result["error"]["kind"], result["error"]["code"]) == (client.cut, CODES[case])


def test_openai_node_lists_the_models(result_of: Run) -> None:
    listed = result_of(CLIENTS["openai-node"], "models")
    assert listed["one"] == "mock"
    assert "mock" in listed["names"]
    assert not [name for name in listed["names"] if name.startswith("fault")]


# -- Vercel's ai


@each("streamed", *AI_SDK)
def test_the_ai_sdk_shows_a_complete_answer(client: Client, result_of: Run) -> None:
    answer = result_of(client, "answer")
    assert answer["status"] == "ready"
    assert "error" not in answer
    assert answer["parts"] == [{"type": "step-start"}, text(COUNT)]


@each("usage", *AI_SDK)
def test_the_ai_sdk_knows_the_usage(client: Client, result_of: Run) -> None:
    assert result_of(client, "answer")["usage"] == {
        "inputTokens": 6,
        "outputTokens": 5,
        "totalTokens": 11,
        "cachedInputTokens": 0,
        "reasoningTokens": 0,
    }


@each("streamed", *AI_SDK)
def test_the_ai_sdk_shows_reasoning_and_refusals(client: Client, result_of: Run) -> None:
    _, reasoning, answer = result_of(client, "reasoning")["parts"]
    assert (reasoning["type"], reasoning["state"]) == ("reasoning", "done")
    assert answer == text("After some thought: count to 5.")
    assert result_of(client, "refusal")["parts"][1]["text"].startswith("I'm sorry")


@each("streamed", *AI_SDK)
def test_the_ai_sdk_continues_a_conversation_and_regenerates_an_answer(client: Client, result_of: Run) -> None:
    regenerated = result_of(client, "again")
    for answer in (regenerated["second"], regenerated):
        assert answer["status"] == "ready"
        assert answer["parts"][-1] == text("After some thought: second.")


@each("tools", *AI_SDK)
def test_the_ai_sdk_gets_a_call_and_sends_its_result(client: Client, result_of: Run) -> None:
    tool = result_of(client, "tool")
    called = {"type": "tool-weather", "toolCallId": "call_1", "state": "input-available", "input": {"city": "Oslo"}}
    assert tool["first"]["parts"] == [{"type": "step-start"}, text("Let me see."), called]
    assert (tool["status"], tool["parts"][-1]) == ("ready", text("The weather: sunny"))


@each("429", *AI_SDK)
def test_the_ai_sdk_shows_a_refusal_as_one_sentence(client: Client, result_of: Run) -> None:
    refused = result_of(client, "429")
    assert (refused["status"], refused["error"]) == ("error", KINDS["upstream_busy"].message)


@each("500", *AI_SDK)
async def test_the_ai_sdk_shows_a_failure_and_does_not_retry(
    client: Client, result_of: Run, chat: Callable[[str], Server]
) -> None:
    failed = result_of(client, "500")
    assert (failed["status"], failed["error"]) == ("error", KINDS["upstream_error"].message)
    assert await endings(chat("mock"), client, "500", 1) == ["upstream_error"]


@each_of(CODES, *AI_SDK)
def test_the_ai_sdk_shows_a_truncated_answer_as_an_error(client: Client, case: str, result_of: Run) -> None:
    result = result_of(client, case)
    assert (f"status {result['status']}", result["error"]) == (client.cut, KINDS[CODES[case]].message)
    assert result["parts"] == [{"type": "step-start"}, text(PARTIAL)]


@each("streamed", *AI_SDK)
def test_the_ai_sdk_finds_nothing_to_resume(client: Client, result_of: Run) -> None:
    assert result_of(client, "resumed") == {"status": "ready", "parts": []}


def text(content: str) -> dict[str, str]:
    return {"type": "text", "text": content, "state": "done"}


@each("image", *AI_SDK)
def test_the_ai_sdk_sends_an_image_that_reaches_the_model(client: Client, result_of: Run) -> None:
    assert result_of(client, "image")["parts"] == [{"type": "step-start"}, text(TOLD_OF_IMAGE)]


# -- parsers of event streams


@each("streamed", *PARSERS)
def test_a_parser_of_event_streams_finds_every_record(client: Client, result_of: Run) -> None:
    first, *deltas, last = result_of(client, "streamed")["events"]
    assert (first["id"], first["event"], first["record"]["type"]) == ("0", "start", "start")
    assert (last["event"], last["record"]["type"], last["record"]["finish_reason"]) == ("end", "done", "stop")
    assert [delta.keys() for delta in deltas] == [{"record"}] * len(deltas)
    assert "".join(delta["record"]["text"] for delta in deltas) == COUNT


@each("usage", *PARSERS)
def test_a_parser_of_event_streams_finds_the_usage(client: Client, result_of: Run) -> None:
    usage = {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11, "cached_input_tokens": 0, "reasoning_tokens": 0}
    assert result_of(client, "streamed")["events"][-1]["record"]["usage"] == usage


@each("streamed", *PARSERS)
def test_a_parser_of_event_streams_never_mistakes_text_of_a_model_for_events(client: Client, result_of: Run) -> None:
    events = result_of(client, "scripts")["events"]
    text = "".join(event["record"].get("text", "") for event in events)
    assert text == "one\ntwo\r\nthree\rfour\u2028five\ndata: [DONE]\n\n日本語 👩‍👩‍👧"


@each("429", *PARSERS)
def test_a_refusal_is_not_an_event_stream(client: Client, result_of: Run) -> None:
    refused = result_of(client, "429")
    assert (refused["status"], refused["error"]["code"]) == (429, "upstream_busy")


@each_of(CODES, *PARSERS)
def test_a_parser_of_event_streams_finds_the_error_last(client: Client, case: str, result_of: Run) -> None:
    *deltas, last = result_of(client, case)["events"]
    assert (last["event"], f"{last['record']['type']} record") == ("end", client.cut)
    assert last["record"]["code"] == CODES[case]
    assert "".join(event["record"].get("text", "") for event in deltas) == PARTIAL


# -- all of them


@each("left", "openai-node", *AI_SDK)
async def test_the_answer_ends_when_its_client_disconnects(
    client: Client, result_of: Run, chat: Callable[[str], Server]
) -> None:
    assert "error" not in result_of(client, "left")
    assert await endings(chat("mock"), client, "left", 1) == ["client_disconnected"]
