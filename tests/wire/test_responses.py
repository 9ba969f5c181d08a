"""A model of the Responses API through every route of a real app: an answer is the same, and so is a failure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from quartapp.core.errors import ERROR_KINDS as KINDS
from tests.support.endpoints import Client, Log, Reply, serving
from tests.support.parsers import read_openai
from tests.support.responses_upstream import (
    Document,
    ResponsesServer,
    begun,
    call,
    encode,
    ended,
    message,
    refusal,
    stream,
    thinking,
    told,
)
from tests.support.ui_parser import read_ui_message
from tests.support.upstream_models import KEY
from tests.support.wire_formats import (
    CHUNKS,
    COMPLETION,
    DONE,
    FORMATS,
    JSON,
    NDJSON,
    SSE,
    SSE_GET,
    TEXT,
    UI,
    Format,
    events,
    records,
)

PROMPT = "a question canary-prompt"


class Answer(NamedTuple):
    """The answer that a client of any format reads; `calls` are names and arguments."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = "stop"


ROME = '{"city": "Rome"}'
COMPLETE: dict[str, tuple[list[Document], Answer]] = {
    "text": (stream(message("Hello, world.")), Answer("Hello, world.")),
    "reasoning": (
        stream(thinking("First this.", "Then that."), message("Yes.")),
        Answer("Yes.", "First this.\n\nThen that."),
    ),
    "calls": (
        stream(message("See:"), call(), call("clock", "{}", 2)),
        Answer("See:", calls=(("weather", ROME), ("clock", "{}")), finish_reason="tool_calls"),
    ),
    "refusal": (stream(message(refusal("I will not."))), Answer(refusal="I will not.")),
    "incomplete": (
        stream(message("Hel"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        Answer("Hel", finish_reason="length"),
    ),
    "filtered": (
        stream(message("Hel"), status="incomplete", incomplete_details={"reason": "content_filter"}),
        Answer("Hel", finish_reason="content_filter"),
    ),
}
SERVER_ERROR = {"code": "server_error", "message": f"{KEY} {PROMPT}"}
BEFORE: dict[str, tuple[list[Document] | bytes, str]] = {
    "failed": (stream(status="failed", error=SERVER_ERROR), "upstream_error"),
    "busy": (stream(status="failed", error={**SERVER_ERROR, "code": "rate_limit_exceeded"}), "upstream_busy"),
    "an error event": ([*begun(), {"type": "error", **SERVER_ERROR}], "upstream_error"),
    "cut": (begun(), "upstream_truncated"),
    "garbage": (encode(begun()) + b"data: {\n\n", "upstream_error"),
}
HELLO = [*begun(), *told(message("Hello"))]
AFTER: dict[str, tuple[list[Document] | bytes, str]] = {
    "failed": ([*HELLO, *ended(status="failed", error=SERVER_ERROR)], "upstream_error"),
    "an error event": ([*HELLO, {"type": "error", **SERVER_ERROR}], "upstream_error"),
    "cut": (HELLO, "upstream_truncated"),
    "garbage": (encode(HELLO) + b"data: {\n\n", "upstream_error"),
}


def folded(fragments: Sequence[Document], finish_reason: str | None) -> Answer:
    """Return the joined records or deltas of a stream."""
    texts = dict.fromkeys(("text", "reasoning", "refusal"), "")
    calls: dict[int, list[str]] = {}
    for each in fragments:
        for name, value in each.items():
            if name in texts:
                texts[name] += value
        if "index" in each:
            known = calls.setdefault(each["index"], ["", ""])
            known[0] += each.get("name", "")
            known[1] += each.get("arguments", "")
    return Answer(
        **texts, calls=tuple((name, arguments) for name, arguments in calls.values()), finish_reason=finish_reason
    )


_OF_RECORDS = {"delta": "text", "reasoning": "reasoning", "refusal": "refusal"}


def folded_records(received: Sequence[Document]) -> Answer:
    fragments = [{_OF_RECORDS[each["type"]]: each["text"]} if "text" in each else each for each in received]
    return folded(fragments, received[-1]["finish_reason"])


def folded_message(message: Document, finish_reason: str) -> Answer:
    calls = tuple((each["function"]["name"], each["function"]["arguments"]) for each in message.get("tool_calls", ()))
    texts = {field: message.get(name) or "" for name, field in _OF_OPENAI.items()}
    return Answer(**texts, calls=calls, finish_reason=finish_reason)


def folded_chunks(body: bytes) -> Answer:
    completion = read_openai(body)
    assert completion.error is None
    deltas = [
        {_OF_OPENAI[name]: value for name, value in delta.items() if name != "tool_calls"}
        for delta in completion.deltas
    ]
    fragments = [call for delta in completion.deltas for call in delta.get("tool_calls", ())]
    return folded(
        [*deltas, *({"index": each["index"], **each["function"]} for each in fragments)], completion.finish_reason
    )


_OF_OPENAI = {"content": "text", "reasoning_content": "reasoning", "refusal": "refusal"}
_OF_UI = {"tool-calls": "tool_calls", "content-filter": "content_filter"}


def folded_parts(body: bytes) -> Answer:
    """Return the answer in a message of the AI SDK, where a refusal is text."""
    message = read_ui_message(body)
    texts = {
        kind: "".join(part["text"] for part in message.parts if part["type"] == kind) for kind in ("text", "reasoning")
    }
    calls = tuple(
        (part["type"].removeprefix("tool-"), json.dumps(part["input"])) for part in message.parts if "input" in part
    )
    reason = message.finish_reason or ""
    return Answer(**texts, calls=calls, finish_reason=_OF_UI.get(reason, reason))


def folded_answer(document: Document) -> Answer:
    calls = tuple((each["name"], each["arguments"]) for each in document.get("tool_calls", ()))
    texts = {name: document.get(name, "") for name in _OF_RECORDS.values()}
    return Answer(**texts, calls=calls, finish_reason=document["finish_reason"])


def folded_completion(body: bytes) -> Answer:
    [choice] = json.loads(body)["choices"]
    return folded_message(choice["message"], choice["finish_reason"])


def folded_events(body: bytes) -> Answer:
    return folded_records([json.loads(event["data"]) for event in events(body)])


READ: dict[Format, Callable[[bytes], Answer]] = {
    TEXT: lambda body: Answer(body.decode(), finish_reason=None),
    NDJSON: lambda body: folded_records(records(body)),
    SSE: folded_events,
    SSE_GET: folded_events,
    JSON: lambda body: folded_answer(json.loads(body)),
    CHUNKS: folded_chunks,
    COMPLETION: folded_completion,
    UI: folded_parts,
}


def expected(format: Format, answer: Answer) -> Answer:
    """Return the part of an answer that the format can encode: text alone, or a refusal as text."""
    if format is TEXT:
        return Answer(answer.text + answer.refusal, finish_reason=None)
    return answer._replace(text=answer.text + answer.refusal, refusal="") if format is UI else answer


async def post(client: Client, format: Format) -> Reply:
    request = format.request(PROMPT, "careful", ())
    top, _, body = request.partition(b"\r\n\r\n")
    method, target, _ = top.split(b"\r\n")[0].decode().split(" ")
    headers = {"Accept": format.accept} | ({"Content-Type": "application/json"} if body else {})
    return await client.send(body, path=f"/ai{target}", method=method, headers=headers)


@asynccontextmanager
async def chat(answer: list[Document] | bytes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """Open an app whose table has one model, of the kind `responses`, with that answer."""
    monkeypatch.setenv("RESPONSES_KEY", KEY)
    async with ResponsesServer({PROMPT: answer}, key=KEY) as server:
        entry = {"kind": "responses", "base_url": server.base_url, "key_env": "RESPONSES_KEY", "retries": 0}
        async with serving(CHAT_MODELS={"careful": entry}) as client:
            yield client
        assert server.faults == []


each_format = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)


@each_format
@pytest.mark.parametrize("name", COMPLETE)
async def test_an_answer_is_the_same_in_every_format(
    name: str, format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, expected_answer = COMPLETE[name]
    async with chat(answer, monkeypatch) as client:
        reply = await post(client, format)
    assert reply.status == 200
    assert format.ending(reply.body) == (None if format is TEXT else DONE)
    assert READ[format](reply.body) == expected(format, expected_answer)


@each_format
@pytest.mark.parametrize("name", BEFORE)
async def test_a_failure_before_the_first_token_is_a_true_status_in_every_format(
    name: str, format: Format, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer, code = BEFORE[name]
    log = Log(caplog)
    async with chat(answer, monkeypatch) as client:
        reply = await post(client, format)
    assert (reply.status, format.refused(reply.body)) == (KINDS[code].status, code)
    assert "canary" not in reply.body.decode() + log.text


@each_format
@pytest.mark.parametrize("name", AFTER)
async def test_a_failure_after_the_first_token_is_reported_in_every_format(
    name: str, format: Format, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer, code = AFTER[name]
    log = Log(caplog)
    async with chat(answer, monkeypatch) as client:
        reply = await post(client, format)
    if format.is_streamed:
        assert (reply.status, format.ending(reply.body)) == (200, None if format is TEXT else code)
        assert b"Hell" in reply.body
    else:
        assert (reply.status, format.refused(reply.body)) == (KINDS[code].status, code)
    assert "canary" not in reply.body.decode() + log.text
