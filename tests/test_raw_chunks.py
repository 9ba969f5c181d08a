"""Chunks that are passed on as they came, and those that OpenAI's clients could not take, told anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quartapp.events import Raw
from quartapp.readers.raw_chunks import RawChunkReader

LIMIT = 1_000_000


def opened(**given: Any) -> RawChunkReader:
    asked: dict[str, Any] = {"model": "ours", "choices": 1, "include_usage": False, **given}
    return RawChunkReader(LIMIT, **asked)


def told(*payloads: str, **given: Any) -> list[str]:
    reader = opened(**given)
    batch = reader.feed("".join(f"data: {payload}\n\n" for payload in payloads).encode())
    assert reader.error is None
    return [piece.payload.decode() for piece in batch.pieces if isinstance(piece, Raw)]


def chunk(delta: Any, finish_reason: str | None = None, **fields: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({"model": "theirs", "choices": [choice], **fields}, separators=(",", ":"))


def loose(choices: Any, **fields: Any) -> str:
    return json.dumps({"id": "x", "model": "theirs", "choices": choices, **fields})


# -- as they came

FAITHFUL = {
    "reasoning by another name": {"reasoning": "hm"},
    "reasoning by a third": {"thinking": "hm"},
    "reasoning as an object": {"reasoning": {"text": "hm"}},
    "reasoning in details alone": {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    "calls of the same number": {"tool_calls": [{"index": 0, "id": x, "function": {"name": "f"}} for x in "ab"]},
    "a call without a number": {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": ""}}]},
    "the call of a function": {"function_call": {"name": "f", "arguments": "{}"}},
    "fields nobody knows": {"content": "a", "audio": {"id": "a"}, "x": [None, {}]},
    "text and reasoning at once": {"content": "a", "reasoning_content": "hm"},
}


@pytest.mark.parametrize("kind", FAITHFUL)
def test_a_chunk_that_clients_can_take_is_passed_on_byte_by_byte(kind: str) -> None:
    payload = chunk(FAITHFUL[kind], x_groq={"id": "1"}, timings={"prompt_n": 1})
    assert told(payload) == [payload.replace("theirs", "ours")]


def test_a_reason_to_finish_stands_as_it_was_said() -> None:
    payloads = [chunk({"content": "a"}), chunk({}, "eos_token")]
    assert told(*payloads) == [payload.replace("theirs", "ours") for payload in payloads]


def test_a_raw_chunk_is_utf_8_in_the_fields_too_that_nobody_here_reads() -> None:
    errors = []
    for x in (b"\xc3\xa9", b"\xff"):
        reader = opened()
        reader.feed(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"x":"' + x + b'"}\n')
        errors.append(reader.error.code if reader.error else None)
    assert errors == [None, "upstream_error"]


# -- usage that only we asked for

NULLS = {
    'x,"usage":null}': "x}",
    'x, "usage": null}': "x}",
    'x ,"usage" : null , "y": 1}': 'x , "y": 1}',
    'x,"usage":null,"y":1}': 'x,"y":1}',
}


@pytest.mark.parametrize(("end", "left"), NULLS.items())
def test_usage_that_is_null_is_left_out_unless_it_was_asked_for(end: str, left: str) -> None:
    head = chunk({"content": '"usage":null, "usage": null'}, x=1)[:-2]
    payload, expected = head + end.replace("x", "1", 1), (head + left.replace("x", "1", 1)).replace("theirs", "ours")
    assert told(payload) == [expected]
    assert told(payload, include_usage=True) == [payload.replace("theirs", "ours")]
    assert json.loads(expected)["choices"] == json.loads(payload)["choices"]


def test_usage_that_is_null_is_left_out_where_it_comes_first() -> None:
    assert told('{ "usage": null, "choices":[{"index":0,"delta":{"content":"a"}}]}') == [
        '{ "choices":[{"index":0,"delta":{"content":"a"}}]}'
    ]


def test_a_chunk_of_usage_alone_is_for_those_who_asked() -> None:
    payloads = [chunk({"content": "a"}), loose([], usage={"prompt_tokens": 1})]
    assert len(told(*payloads)) == 1
    assert len(told(*payloads, include_usage=True)) == 2


@pytest.mark.parametrize(
    "fields",
    [{"x_groq": {"usage": {"prompt_tokens": 1}}}, {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}}],
)
def test_usage_in_another_place_is_told_where_clients_look_for_it(fields: Any) -> None:
    payload = chunk({"content": "a"}, **fields)
    [mended] = told(payload, include_usage=True)
    assert json.loads(mended)["usage"] == {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    assert told(payload) == [payload.replace("theirs", "ours")]


def test_a_ping_is_nobodys_chunk() -> None:
    assert len(told('{"type":"ping"}', chunk({"content": "a"}), '{"type":"ping"}')) == 1


# -- told anew


def call(index: int | None, id: str, arguments: Any, **more: Any) -> Any:
    return {"index": index, "id": id, **more, "function": {"name": "f", "arguments": arguments}}


def mended_call(index: int, id: str, arguments: str) -> Any:
    return call(index, id, arguments, type="function")


PARTS = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]

MENDED: dict[str, tuple[Any, Any]] = {
    "null for choices": (None, []),
    "null for a number": ([{"index": None, "delta": {"content": "a"}}], [{"content": "a"}]),
    "no delta": ([{"index": 0, "content_filter_results": {}}], [{}]),
    "null for delta": ([{"index": 0, "delta": None}], [{}]),
    "message for delta": ([{"index": 0, "message": {"role": "x", "content": "a"}}], [{"role": "x", "content": "a"}]),
    "content in parts": (
        [{"index": 0, "delta": {"content": PARTS}}],
        [{"content": "a", "reasoning_content": "hm"}],
    ),
    "arguments as an object": (
        [{"index": 0, "delta": {"tool_calls": [call(0, "c", {"a": 1})]}}],
        [{"tool_calls": [mended_call(0, "c", '{"a":1}')]}],
    ),
    "null for the number of a call": (
        [{"index": 0, "delta": {"tool_calls": [call(None, "c", None), call(None, "d", "")]}}],
        [{"tool_calls": [mended_call(0, "c", ""), mended_call(1, "d", "")]}],
    ),
    "two choices": (
        [{"index": 1, "message": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}],
        [{"content": "b"}, {"content": "a"}],
    ),
}


@pytest.mark.parametrize("kind", MENDED)
def test_a_chunk_that_clients_could_not_take_is_told_anew_with_all_it_says(kind: str) -> None:
    choices, deltas = MENDED[kind]
    *_, mended, _ = told(chunk({"content": "."}), loose(choices, x=[1]), chunk({"content": "."}))
    document = json.loads(mended)
    assert [choice["delta"] for choice in document["choices"]] == deltas
    assert [choice["index"] for choice in document["choices"]] == [each.get("index") or 0 for each in choices or ()]
    assert (document["id"], document["model"], document["x"]) == ("x", "ours", [1])
    assert document["object"] == "chat.completion.chunk"


def test_half_a_character_and_numbers_that_json_has_not_are_told_anew() -> None:
    [mended] = told('{"choices":[{"delta":{"content":"a\\ud83d"},"logprobs":{"x":NaN,"y":-Infinity,"z":1e999}}]}')
    [choice] = json.loads(mended)["choices"]
    assert choice["delta"] == {"content": "a\ufffd"}
    assert choice["logprobs"] == {"x": None, "y": None, "z": None}
    assert json.loads(mended)["model"] == "ours"


def test_what_a_chunk_says_beside_its_delta_is_kept() -> None:
    [mended] = told(loose([{"index": 0, "message": {"content": "a", "audio": 1}, "logprobs": {"content": []}, "x": 1}]))
    [choice] = json.loads(mended)["choices"]
    assert choice == {
        "index": 0, "delta": {"content": "a", "audio": 1}, "logprobs": {"content": []}, "finish_reason": None, "x": 1,
    }  # fmt: skip


def test_a_call_that_is_told_anew_goes_on_with_one_that_was_not() -> None:
    first = chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]})
    later = loose([{"index": 0, "delta": {"tool_calls": [{"index": None, "function": {"arguments": "{}"}}]}}])
    *_, mended = told(first, later)
    [call] = json.loads(mended)["choices"][0]["delta"]["tool_calls"]
    assert call == {"index": 0, "function": {"arguments": "{}"}}


@pytest.mark.parametrize("fields", [{}, {"x_groq": {"id": "1"}}])
def test_calls_are_numbered_anew_for_a_reader_that_goes_by_their_numbers(fields: Any) -> None:
    payload = chunk(FAITHFUL["calls of the same number"], **fields)
    [mended] = told(payload, mends_calls=True)
    calls = json.loads(mended)["choices"][0]["delta"]["tool_calls"]
    assert [(call["index"], call["id"]) for call in calls] == [(0, "a"), (1, "b")]


def test_the_call_of_a_function_stands_as_it_is_for_such_a_reader_too() -> None:
    payload = chunk(FAITHFUL["the call of a function"])
    [mended] = told(payload, mends_calls=True)
    assert json.loads(mended)["choices"][0]["delta"] == FAITHFUL["the call of a function"]


# -- what never passes


@pytest.mark.parametrize(
    "payload",
    [
        '{"error":{"message":"x"}}',
        '{"answer":1}',
        '{"choices":[{"delta":{"content":1}}]}',
        chunk({}, "error"),
        chunk({"tool_calls": [{"index": 0, "id": "a"}]}, "tool_calls"),
    ],
)
def test_errors_and_garbage_never_pass(payload: str) -> None:
    reader = opened()
    batch = reader.feed(f"data: {chunk({'content': 'a'})}\n\ndata: {payload}\n\n".encode())
    assert reader.error is not None
    assert len(batch.pieces) == 1
    assert batch.finish_reason is None


def test_an_answer_is_whole_when_each_of_its_choices_is() -> None:
    reader = opened(choices=2)
    reasons = [
        reader.feed(
            f"data: {loose([{'index': index, 'delta': {}, 'finish_reason': reason}])}\n\n".encode()
        ).finish_reason
        for index, reason in ((1, "length"), (1, "length"), (0, "eos"))
    ]
    assert reasons == [None, None, "stop"]


def test_no_more_than_the_limit_is_held_before_the_first_event() -> None:
    reader = opened()
    role = f"data: {chunk({'role': 'assistant', 'content': '', 'x': 'x' * 10_000})}\n\n".encode()
    while reader.error is None:
        assert reader.feed(role).pieces == []
    assert reader.error.code == "upstream_error"


@pytest.mark.parametrize("depth", [10, 300, 480, 900, 5000, 100_000])
def test_deep_json_is_told_anew_or_is_an_error(depth: int) -> None:
    value = '{"a":' * depth + "1" + "}" * depth
    for payload in (
        f'{{"choices":[{{"index":null,"delta":{{"content":"a"}},"x":{value}}}]}}',
        f'{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"function":{{"name":"f","arguments":{value}}}}}]}}}}]}}',
        f'{{"choices":[{{"index":0,"delta":{{"content":[{value}]}}}}]}}',
    ):
        reader = opened()
        batch = reader.feed(f"data: {chunk({'content': 'a'})}\n\ndata: {payload}\n\n".encode())
        assert (len(batch.pieces), reader.error is None) in ((2, True), (1, False))


def test_numbers_of_any_size_are_told_anew() -> None:
    [mended] = told(f'{{"choices":[{{"index":null,"delta":{{"content":"a"}}}}],"x":{10**40},"y":-1e-9}}')
    assert (json.loads(mended)["x"], json.loads(mended)["y"]) == (10**40, -1e-9)
