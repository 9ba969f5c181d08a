"""OpenAI's Responses API of the mock model: its events and its response by the types of the official client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response

from quartapp.mock import ASGIApp, Reply, create_mock
from tests.support.mock_model import Exchange, parse, request
from tests.support.responses_upstream import EVENTS

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}


def body(model: str, input: Any = "count to 3", **fields: Any) -> bytes:
    return json.dumps({"model": model, "input": input, **fields}).encode()


async def events(app: ASGIApp, model: str = "mock", **fields: Any) -> list[Any]:
    """Return the events of a stream that is complete, each checked by the client's types."""
    exchange = Exchange(app, "POST", PATH, body(model, stream=True, **fields))
    await exchange.task
    messages = [exchange.sent.get_nowait() for _ in range(exchange.sent.qsize())]
    parsed = parse(b"".join(message.get("body", b"") for message in messages))
    for event in parsed:
        EVENTS.validate_python(event)
    return parsed


async def test_a_stream_has_the_text_in_deltas_and_in_its_last_event() -> None:
    sent = await events(create_mock(0))
    assert [event["delta"] for event in sent if event["type"] == "response.output_text.delta"] == ["1", " 2", " 3"]
    assert [event["type"] for event in sent[:3]] == [
        *("response.created", "response.output_item.added", "response.content_part.added")
    ]
    last = sent[-1]["response"]
    assert (sent[-1]["type"], last["status"]) == ("response.completed", "completed")
    assert last["output"][0]["content"][0]["text"] == "1 2 3"
    assert last["usage"]["output_tokens"] == 3


async def test_a_response_without_streaming_is_one_object() -> None:
    reply = await request("POST", PATH, body("mock-count"))
    response = Response.model_validate(reply.json)
    assert (reply.status, response.output_text) == (200, "1 2 3")


async def test_a_limit_of_tokens_makes_the_response_incomplete() -> None:
    reply = await request("POST", PATH, body("mock-count", max_output_tokens=2))
    assert reply.json["status"] == "incomplete"
    assert reply.json["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_the_mock_calls_a_named_function_unless_tool_choice_is_none() -> None:
    items = {}
    for choice in ("auto", "none"):
        reply = await request("POST", PATH, body("mock", "the weather", tools=[TOOL], tool_choice=choice))
        items[choice] = [item["type"] for item in reply.json["output"]]
    assert items == {"auto": ["function_call"], "none": ["message"]}


async def test_reasoning_and_a_call_are_items_of_their_own() -> None:
    sent = await events(create_mock(0), "mock-reasoning")
    assert [item["type"] for item in sent[-1]["response"]["output"]] == ["reasoning", "message"]
    sent = await events(create_mock(0), "mock-tool-call", tools=[TOOL], input="Bern")
    (call,) = sent[-1]["response"]["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "weather", {"city": "Bern"})


async def test_the_output_of_a_call_is_understood() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Bern"}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    ]
    reply = await request("POST", PATH, body("mock-tool-call", items, instructions="Be brief.", tools=[TOOL]))
    assert reply.json["output"][0]["content"][0]["text"] == "The tool answered: sunny"


async def test_annotations_images_and_custom_calls_of_a_test_are_sent() -> None:
    custom = {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "shell", "input": "l"}}
    page = {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}}
    deltas = (
        {"content": "See A."},
        {"annotations": [page]},
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
        {"tool_calls": [custom]},
        {"tool_calls": [{"index": 0, "custom": {"input": "s"}}]},
    )
    app = create_mock(0, choose=lambda _: Reply(deltas=deltas, finish_reason="tool_calls"))
    exchange = Exchange(app, "POST", PATH, body("gpt-5"))
    await exchange.task
    exchange.sent.get_nowait()
    message, image, call = json.loads(exchange.sent.get_nowait()["body"])["output"]
    assert message["content"][0]["annotations"] == [{"type": "url_citation", "url": "https://a.example/", "title": "A"}]
    assert image["result"] == "iVBO"
    assert (call["type"], call["input"]) == ("custom_tool_call", "ls")


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b"{", None),
        (body("mock", 7), "input"),
        (body("mock", []), "input"),
        (body("fault-usage-null", stream=True), "model"),
    ],
)
async def test_a_request_that_it_cannot_answer_is_refused(content: bytes, param: str | None) -> None:
    reply = await request("POST", PATH, content)
    assert (reply.status, reply.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize("fault", ["fault-drop:2", "fault-no-finish:2"])
async def test_a_fault_of_streams_truncates_the_events(fault: str) -> None:
    reply = await request("POST", PATH, body(fault, stream=True))
    types = [event["type"] for event in parse(reply.body)]
    assert types.count("response.output_text.delta") == 2
    assert types[-1] == "response.output_text.delta"
    assert reply.is_complete is (fault == "fault-no-finish:2")
