"""The content of the mock model's answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from quartapp.mock import Reply, Request, create_mock
from tests.support.mock_model import (
    CHAT_PATH,
    WEATHER,
    Exchange,
    ask,
    ask_with_usage,
    chat_body,
    finish_reasons,
    request,
    text_of,
)


@pytest.mark.parametrize(
    ("question", "ends_with"),
    [("Count to 12", " 12"), ("please count up to 3!", " 3"), ("count to 999999999999999999", " 100000")],
)
async def test_it_counts_to_the_requested_number_but_not_over_the_limit(question: str, ends_with: str) -> None:
    text = (await ask("mock", question, stream=False)).json["choices"][0]["message"]["content"]
    assert text.startswith("1 2 3")
    assert text.endswith(ends_with)


async def test_the_tour_shows_each_element_of_markdown() -> None:
    text = (await ask("mock", "a Markdown tour")).text
    for element in ("# ", "\n   - ", "\n1. ", "```js\n", "|:--", "\n> ", "](https://", "`inline code`", "**"):
        assert element in text or text.startswith(element), element


async def test_the_long_answer_is_long_and_repeats_no_paragraph() -> None:
    text = (await ask("mock", "a long answer")).text
    paragraphs = text.split("\n\n")
    assert 1400 <= len(text.split()) <= 1700
    assert len(set(paragraphs)) == len(paragraphs)


async def test_the_scripts_hold_families_flags_and_both_directions() -> None:
    text = (await ask("mock", "some languages and emoji")).text
    for sample in ("Grüße", "Καλημέρα", "Привет", "مرحبا", "שלום", "नमस्ते", "你好", "こんにちは", "안녕하세요", "สวัสดี"):
        assert sample in text
    assert "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}" in text
    assert "\N{REGIONAL INDICATOR SYMBOL LETTER E}\N{REGIONAL INDICATOR SYMBOL LETTER U}" in text


async def test_anything_else_is_echoed_with_a_hint() -> None:
    text = (await ask("mock", "Hello there, decoder")).text
    assert "Hello there, decoder" in text
    assert "count to 20" in text


async def test_the_echo_repeats_the_last_user_message_verbatim() -> None:
    message = "  two  spaces,\n\ttabs,\n\n\nlines 👨‍👩‍👧‍👦 and a wordlongerthananytoken \n"
    body = {"model": "mock-echo", "stream": True, "messages": [
        {"role": "user", "content": "first"},
        {"role": "user", "content": message},
        {"role": "assistant", "content": "not this"},
    ]}  # fmt: skip
    reply = await request("POST", CHAT_PATH, json.dumps(body).encode())
    assert reply.text == message


@pytest.mark.parametrize(("question", "last"), [("how about 7?", "7"), ("no number", "20")])
async def test_the_count_goes_to_the_number_in_the_message_or_to_20(question: str, last: str) -> None:
    assert (await ask("mock-count", question)).text.split()[-1] == last


async def test_reasoning_comes_before_the_text_and_is_counted() -> None:
    reply = await ask_with_usage("mock-reasoning", "why?")
    deltas = [event["choices"][0]["delta"] for event in reply.events[1:-3]]
    fields = [next(iter(delta)) for delta in deltas]
    assert fields == sorted(fields, reverse=True)
    assert {"reasoning_content", "content"} == set(fields)
    assert "why?" in reply.text
    details = reply.events[-2]["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == fields.count("reasoning_content")


async def test_a_tool_call_comes_in_fragments_that_make_arguments_of_the_right_types() -> None:
    reply = await ask("mock-tool-call", "Paris, in the spring", tools=[WEATHER])
    deltas = [event["choices"][0]["delta"] for event in reply.events[1:-2]]
    first, *fragments = [call for delta in deltas for call in delta["tool_calls"]]
    assert (first["type"], first["function"]) == ("function", {"name": "weather", "arguments": ""})
    assert first["id"]
    assert len(fragments) > 3
    arguments = json.loads("".join(fragment["function"]["arguments"] for fragment in fragments))
    assert arguments == {"city": "Paris, in the spring", "days": 1, "unit": "celsius"}
    assert finish_reasons(reply.events) == ["tool_calls"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", "Überall"),
        ("integer", 1),
        ("number", 1.5),
        ("boolean", True),
        ("array", []),
        ("object", {}),
        ("null", None),
        ("unknown", "Überall"),
    ],
)
async def test_an_argument_has_the_type_of_its_property(kind: str, value: object) -> None:
    parameters = {"type": "object", "properties": {"it": {"type": kind}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    reply = await ask("mock-tool-call", "Überall", stream=False, tools=[tool])
    [call] = reply.json["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == json.dumps({"it": value}, ensure_ascii=False)


async def test_a_tool_result_is_quoted() -> None:
    messages = [{"role": "user", "content": "Paris?"}, {"role": "tool", "tool_call_id": "1", "content": "18 degrees"}]
    body = {"model": "mock-tool-call", "stream": True, "tools": [WEATHER], "messages": messages}
    reply = await request("POST", CHAT_PATH, json.dumps(body).encode())
    assert "18 degrees" in reply.text
    assert finish_reasons(reply.events) == ["stop"]


async def test_without_tools_the_answer_reports_it() -> None:
    assert "no tools" in (await ask("mock-tool-call")).text


@pytest.mark.parametrize("model", ["mock-tool-call", "mock"])
@pytest.mark.parametrize("parameters", [None, {}, {"properties": []}, {"properties": {"x": True}, "required": 1}])
async def test_a_tool_with_a_strange_schema_is_called_all_the_same(model: str, parameters: object) -> None:
    tool = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    reply = await ask(model, "odd 1", tools=[tool])
    assert finish_reasons(reply.events) == ["tool_calls"]


def function(name: str, required: Sequence[str] = (), **types: str) -> Any:
    """Return the definition of a function whose parameters have these types."""
    properties = {parameter: {"type": kind} for parameter, kind in types.items()}
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


LIST_ORDERS = function("list_orders")
CANCEL_ORDER = function("cancel_order", ["order"], order="integer", fee="number", note="string")


async def called(question: str, **fields: Any) -> tuple[str, Any] | None:
    """Return the name and the arguments of the call with which `mock` answers, or None if it answers with text."""
    reply = await ask("mock", question, stream=False, **{"tools": [LIST_ORDERS, CANCEL_ORDER], **fields})
    message = reply.json["choices"][0]["message"]
    if "tool_calls" not in message:
        return None
    [call] = message["tool_calls"]
    return call["function"]["name"], json.loads(call["function"]["arguments"])


@pytest.mark.parametrize(
    ("question", "call"),
    [
        ("Which orders do I have?", ("list_orders", {})),
        ("cancel order 2", ("cancel_order", {"order": 2})),
        ("CANCEL ORDER 2", ("cancel_order", {"order": 2})),
        ("call cancel_order 12 with 2.5", ("cancel_order", {"order": 12, "fee": 2.5})),
        ("cancel my order", ("cancel_order", {"order": 1})),
        ("count to 3", None),
        ("do we list? no", ("list_orders", {})),
        ("is it in or of no?", None),
    ],
)
async def test_a_question_with_words_of_a_function_calls_it_with_the_numbers(question: str, call: object) -> None:
    assert await called(question) == call


async def test_words_of_a_name_in_camel_case_count_too() -> None:
    assert await called("the status of order 3", tools=[function("getOrderStatus", id="integer")]) == (
        "getOrderStatus",
        {"id": 3},
    )


async def test_tool_choice_none_calls_no_function() -> None:
    assert await called("cancel order 2", tool_choice="none") is None
    assert await called("cancel order 2", tool_choice="auto") is not None


async def test_the_mock_quotes_all_results_of_the_last_turn() -> None:
    results = [{"role": "tool", "tool_call_id": f"{number}", "content": f"result {number}"} for number in (1, 2, 3)]
    messages = [{"role": "user", "content": "orders"}, results[0], {"role": "assistant", "content": "x"}, *results[1:]]
    body = {"model": "mock", "stream": True, "tools": [LIST_ORDERS], "messages": messages}
    reply = await request("POST", CHAT_PATH, json.dumps(body).encode())
    assert reply.text == "The tool answered: result 2\n\nThe tool answered: result 3"


async def test_a_refusal_comes_in_refusal_deltas() -> None:
    events = (await ask("mock-refusal")).events
    assert text_of(events) == ""
    assert text_of(events, "refusal").startswith("I'm sorry")
    assert finish_reasons(events) == ["stop"]


# -- answers of a test


async def _replied(
    reply: Reply | None, *, stream: bool = True, model: str = "gpt-5"
) -> tuple[int, bytes, list[Request]]:
    """Return the status and the body of an answer that a test gives, and the requests that it received."""
    received: list[Request] = []

    def choose(request: Request) -> Reply | None:
        received.append(request)
        return reply

    exchange = Exchange(create_mock(0, choose=choose), "POST", CHAT_PATH, chat_body(model, "Hi", stream=stream))
    await exchange.task
    status = exchange.sent.get_nowait()["status"]
    writes = [exchange.sent.get_nowait() for _ in range(exchange.sent.qsize())]
    return status, b"".join(message["body"] for message in writes), received


async def test_an_answer_of_a_test_has_its_deltas_reason_and_usage_for_any_model() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15}
    status, body, received = await _replied(Reply("mock-echo", ({"content": "tea"},), "length", usage), stream=False)
    completion = json.loads(body)
    assert (status, completion["choices"][0]["message"]["content"]) == (200, "tea")
    assert (completion["choices"][0]["finish_reason"], completion["usage"]) == ("length", usage)
    assert received[0].body["messages"][0]["content"] == "Hi"


async def test_calls_of_a_test_are_merged_by_their_index() -> None:
    first, second = ({"index": n, "id": f"call_{n}", "type": "function", "function": {"name": "f"}} for n in (0, 1))
    rest = {"index": 1, "function": {"arguments": "{}"}}
    deltas = tuple({"tool_calls": [call]} for call in (first, second, rest))
    _, body, _ = await _replied(Reply(deltas=deltas), stream=False)
    calls = json.loads(body)["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("call_0", ""), ("call_1", "{}")]


async def test_without_an_answer_of_the_test_the_model_answers() -> None:
    assert (await _replied(None))[0] == 404
    assert (await _replied(None, model="mock-echo"))[0] == 200
