"""Chunks that are passed on unchanged, and those that OpenAI's clients could not decode and are re-encoded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quartapp.core.events import Raw
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from quartapp.upstreams.common.marks import Origin

LIMIT = 1_000_000
USAGE = '{"model":"theirs","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'


def opened(**given: Any) -> RawChunkParser:
    fields: dict[str, Any] = {"model": "ours", "choices": 1, "include_usage": False, **given}
    return RawChunkParser(LIMIT, **fields)


def payloads_of(*payloads: str, **given: Any) -> list[str]:
    parser = opened(**given)
    batch = parser.feed("".join(f"data: {payload}\n\n" for payload in payloads).encode())
    assert parser.error is None
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
    "a call": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}, "x": 1}]},
    "a call of a custom tool": {"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "f", "input": "x"}}]},
    "the call of a function": {"function_call": {"name": "f", "arguments": "{}"}},
    "fields nobody knows": {"content": "a", "audio": {"id": "a"}, "x": [None, {}]},
    "text and reasoning at once": {"content": "a", "reasoning_content": "hm"},
}


@pytest.mark.parametrize("kind", FAITHFUL)
def test_a_chunk_that_clients_can_decode_is_passed_on_unchanged(kind: str) -> None:
    payload = chunk(FAITHFUL[kind], x_groq={"id": "1"}, timings={"prompt_n": 1})
    assert payloads_of(payload) == [payload.replace("theirs", "ours")]


def test_the_fragments_of_a_call_are_passed_on_unchanged() -> None:
    begun: Any = {"id": "a", "function": {"name": "f", "arguments": ""}}
    fragments = [begun, *[{"function": {"arguments": "{}"}}] * 2]
    payloads = [chunk({"tool_calls": [{"index": 0, **fragment}]}) for fragment in fragments]
    assert payloads_of(*payloads) == [payload.replace("theirs", "ours") for payload in payloads]


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "pause_turn", ""])
def test_openais_and_unknown_finish_reasons_are_unchanged(reason: str) -> None:
    payloads = [chunk({"content": "a"}), chunk({}, reason)]
    assert payloads_of(*payloads) == [payload.replace("theirs", "ours") for payload in payloads]


# -- state of the server


def signed(signature: str) -> Any:
    return {"content": "a", "extra_content": {"google": {"thought_signature": signature}}}


@pytest.mark.parametrize(
    ("origin", "sent", "received"),
    [
        (Origin("00000001"), "s", "s"),
        (Origin("00000001"), "qa-00000002.s", "qa-00000001.qa-00000002.s"),
        (Origin("00000001", is_only=False), "s", "qa-00000001.s"),
        (Origin("00000001", is_only=False), "qa-00000002.s", "qa-00000001.qa-00000002.s"),
    ],
)
def test_state_gets_a_mark_if_there_are_several_servers_or_it_looks_marked(
    origin: Origin, sent: str, received: str
) -> None:
    assert [json.loads(each) for each in payloads_of(chunk(signed(sent)), origin=origin)] == [
        json.loads(chunk(signed(received))) | {"model": "ours"}
    ]


# -- the name of the model

NAMED = {
    "first": '{"model":"theirs",%s}',
    "last": '{%s,"model":"theirs"}',
    "between objects": '{"x":{},"model":"theirs",%s}',
    "behind one of the same name": '{"x":{"model":"theirs"},%s,"model":"theirs","y":{}}',
    "behind one of another name": '{%s,"x":{"model":"p"},"model":"theirs"}',
    "null": '{%s,"model":null}',
    "an object": '{"model":{"name":"theirs"},%s}',
    "with its name escaped": '{"mod\\u0065l":"theirs",%s}',
    "with its name escaped, behind another": '{"x":{"model":"p"},"mod\\u0065l":"theirs",%s}',
}


@pytest.mark.parametrize("kind", NAMED)
def test_the_name_that_is_replaced_is_the_chunks_own(kind: str) -> None:
    choices = '"choices":[{"index":0,"delta":{"content":"a","provider":{"model":"p"}}}]'
    payload = NAMED[kind] % choices
    expected = json.loads(payload) | {"model": "ours"}
    assert [json.loads(each) for each in payloads_of(payload, payload)] == [expected] * 2


def test_a_chunk_without_a_name_gets_none() -> None:
    payload = '{"choices":[{"index":0,"delta":{"content":"a"}}],"x":{"y":1}}'
    assert payloads_of(payload) == [payload]


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_raw_chunk_is_checked_for_utf_8_in_unknown_fields_too(has_begun: bool) -> None:
    start = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]'
    errors = []
    for x in (b"\xc3\xa9", b"\xff"):
        parser = opened()
        parser.feed(start + b"}\n" if has_begun else b"")
        parser.feed(start + b',"x":"' + x + b'"}\n')
        errors.append(parser.error.code if parser.error else None)
    assert errors == [None, "upstream_error"]


# -- usage that the client did not request

NULLS = {
    'x,"usage":null}': "x}",
    'x, "usage": null}': "x}",
    'x ,"usage" : null , "y": 1}': 'x , "y": 1}',
    'x,"usage":null,"y":1}': 'x,"y":1}',
}


@pytest.mark.parametrize(("end", "left"), NULLS.items())
def test_null_usage_is_dropped_unless_it_was_requested(end: str, left: str) -> None:
    head = chunk({"content": '"usage":null, "usage": null'}, x=1)[:-2]
    payload, expected = head + end.replace("x", "1", 1), (head + left.replace("x", "1", 1)).replace("theirs", "ours")
    assert payloads_of(payload) == [expected]
    assert payloads_of(payload, include_usage=True) == [payload.replace("theirs", "ours")]
    assert json.loads(expected)["choices"] == json.loads(payload)["choices"]


def test_null_usage_is_dropped_if_it_comes_first() -> None:
    assert payloads_of('{ "usage": null, "choices":[{"index":0,"delta":{"content":"a"}}]}') == [
        '{ "choices":[{"index":0,"delta":{"content":"a"}}]}'
    ]


def test_a_chunk_of_usage_alone_is_sent_only_on_request() -> None:
    payloads = [chunk({"content": "a"}), loose([], usage={"prompt_tokens": 1})]
    assert len(payloads_of(*payloads)) == 1
    assert len(payloads_of(*payloads, include_usage=True)) == 2


COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")

READABLE: dict[str, tuple[Any, Any]] = {
    "OpenAI's later names": ({"input_tokens": 5, "output_tokens": 7}, (5, 7, 12)),
    "text": ({"prompt_tokens": "5", "completion_tokens": "7", "total_tokens": "13"}, (5, 7, 13)),
    "one count": ({"prompt_tokens": 5}, (5, 0, 5)),
    "a fraction": ({"prompt_tokens": 5.0, "completion_tokens": 7, "cost": 0.5}, (5, 7, 12)),
    "a count of cached tokens outside of its details": (
        {"prompt_tokens": 5, "completion_tokens": 7, "cached_tokens": 4, "prompt_tokens_details": {"audio_tokens": 0}},
        (5, 7, 12, {"audio_tokens": 0, "cached_tokens": 4}),
    ),
    "DeepSeek's count of cached tokens": (
        {"prompt_tokens": 5, "completion_tokens": 7, "prompt_cache_hit_tokens": 0},
        (5, 7, 12, {"cached_tokens": 0}),
    ),
    "the details of the Responses API": (
        {
            "input_tokens": 5,
            "output_tokens": 7,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 6},
        },
        (5, 7, 12, {"cached_tokens": 4}, {"reasoning_tokens": 6}),
    ),
    "a total that is none": ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": None}, (5, 7, 12)),
}


@pytest.mark.parametrize("place", ["alone", "beside a choice", "in an odd chunk"])
@pytest.mark.parametrize("kind", READABLE)
def test_usage_by_other_names_is_sent_by_openais_names(kind: str, place: str) -> None:
    usage, counts = READABLE[kind]
    choices = [] if place == "alone" else [{"index": 0, "delta": {}}]
    fields = {"x_groq": {"id": "1"}} if place == "in an odd chunk" else {}
    *_, mended = payloads_of(chunk({"content": "a"}), loose(choices, usage=usage, **fields), include_usage=True)
    counted = dict(zip((*COUNTS, "prompt_tokens_details", "completion_tokens_details"), counts, strict=False))
    assert json.loads(mended)["usage"] == usage | counted


@pytest.mark.parametrize("usage", ["none", "", [1], [], {}, {"prompt_tokens": "many"}, True, 7])
def test_invalid_usage_is_dropped(usage: Any) -> None:
    for include_usage in (True, False):
        [mended] = payloads_of(chunk({"content": "a"}, usage=usage), include_usage=include_usage)
        assert json.loads(mended) == json.loads(chunk({"content": "a"}).replace("theirs", "ours"))


@pytest.mark.parametrize(
    "details", [{}, {"prompt_tokens_details": {"cached_tokens": 3}, "cost": 0.5, "total_tokens": 3}]
)
def test_usage_as_openai_has_it_keeps_its_details(details: Any) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, **details}
    payload = chunk({}, usage=usage)
    assert payloads_of(chunk({"content": "a"}), payload, include_usage=True)[1:] == [payload.replace("theirs", "ours")]
    [mended] = payloads_of(loose([{"index": None, "delta": {"content": "a"}}], usage=usage), include_usage=True)
    assert json.loads(mended)["usage"] == usage


NEGATIVE: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({"prompt_tokens": -1, "completion_tokens": -1, "total_tokens": -2}, None),
    (
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": -1},
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    ),
    (
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {}},
    ),
    (
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "x": -1, "queue_time": -0.5, "y": [-1, "a"]},
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "queue_time": -0.5, "y": [-1, "a"]},
    ),
]


@pytest.mark.parametrize(("usage", "sent"), NEGATIVE)
@pytest.mark.parametrize("index", [0, None])
def test_a_negative_count_is_dropped_as_unknown(
    usage: dict[str, Any], sent: dict[str, Any] | None, index: int | None
) -> None:
    choices: list[Any] = [{"index": index, "delta": {}, "finish_reason": None}]
    *_, mended = payloads_of(chunk({"content": "a"}), loose(choices, usage=usage), include_usage=True)
    assert json.loads(mended).get("usage") == sent


def test_a_re_encoded_chunk_keeps_null_usage_on_request() -> None:
    payload = chunk({"content": "a"}, "eos", usage=None)
    [requested], [default] = payloads_of(payload, include_usage=True), payloads_of(payload)
    assert json.loads(requested)["usage"] is None
    assert "usage" not in json.loads(default)


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
@pytest.mark.parametrize(
    "fields",
    [{"x_groq": {"usage": {"prompt_tokens": 1}}}, {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}}],
)
def test_usage_in_another_place_is_sent_where_clients_look_for_it(fields: Any, usage: Any) -> None:
    payload = chunk({"content": "a"}, **fields, **usage)
    [mended] = payloads_of(payload, include_usage=True)
    assert json.loads(mended)["usage"] == {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    assert payloads_of(payload) == [chunk({"content": "a"}, **fields).replace("theirs", "ours")]


def test_a_ping_of_the_upstream_is_dropped() -> None:
    assert len(payloads_of('{"type":"ping"}', chunk({"content": "a"}), '{"type":"ping"}')) == 1


# -- re-encoded


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
def test_a_chunk_that_clients_cannot_decode_is_re_encoded_with_all_its_fields(kind: str) -> None:
    choices, deltas = MENDED[kind]
    *_, mended, _ = payloads_of(chunk({"content": "."}), loose(choices, x=[1]), chunk({"content": "."}))
    document = json.loads(mended)
    assert [choice["delta"] for choice in document["choices"]] == deltas
    assert [choice["index"] for choice in document["choices"]] == [each.get("index") or 0 for each in choices or ()]
    assert (document["id"], document["model"], document["x"]) == ("x", "ours", [1])
    assert document["object"] == "chat.completion.chunk"


def test_half_a_character_and_numbers_outside_json_are_re_encoded() -> None:
    [mended] = payloads_of(
        '{"choices":[{"delta":{"content":"a\\ud83d"},"logprobs":{"x":NaN,"y":-Infinity,"z":1e999}}]}'
    )
    [choice] = json.loads(mended)["choices"]
    assert choice["delta"] == {"content": "a\ufffd"}
    assert choice["logprobs"] == {"x": None, "y": None, "z": None}
    assert json.loads(mended)["model"] == "ours"


def test_fields_next_to_the_delta_are_kept() -> None:
    [mended] = payloads_of(
        loose([{"index": 0, "message": {"content": "a", "audio": 1}, "logprobs": {"content": []}, "x": 1}])
    )
    [choice] = json.loads(mended)["choices"]
    assert choice == {
        "index": 0, "delta": {"content": "a", "audio": 1}, "logprobs": {"content": []}, "finish_reason": None, "x": 1,
    }  # fmt: skip


CITED = {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa=="}}
OTHERS: dict[str, list[Any]] = {
    "annotations": [{"type": "x"}],
    "images": [{"image_url": {"url": "data:image/png;base64,bb=="}}],
}


@pytest.mark.parametrize("name", ["annotations", "images"])
@pytest.mark.parametrize("has_others", [False, True])
def test_attachments_of_deltas_are_not_repeated_by_a_final_message(name: str, *, has_others: bool) -> None:
    attached = {"annotations": [CITED], "images": [PICTURE]}[name]
    others = OTHERS[name] if has_others else []
    message = {"role": "assistant", "content": "a", name: [*attached, *others]}
    first = chunk({"content": "a", name: attached})
    *_, last = payloads_of(first, loose([{"index": 0, "message": message, "finish_reason": "stop"}]))
    assert json.loads(last)["choices"][0]["delta"] == {"role": "assistant"} | ({name: others} if others else {})


def test_an_image_in_the_content_of_a_final_message_is_not_attached_again() -> None:
    message = {"content": [{"type": "text", "text": "a"}, PICTURE]}
    end = loose([{"index": 0, "message": message, "finish_reason": "stop"}])
    *_, last = payloads_of(chunk({"content": "a", "images": [PICTURE]}), end)
    assert json.loads(last)["choices"][0]["delta"] == {}


def test_a_part_whose_type_is_not_a_string_is_not_an_image() -> None:
    [mended] = payloads_of(loose([{"index": 0, "message": {"content": [{"type": [], "text": "a"}]}}]))
    assert json.loads(mended)["choices"][0]["delta"] == {"content": "a"}


def test_attachments_of_one_choice_may_be_in_another_too() -> None:
    first = loose([{"index": 0, "delta": {"annotations": [CITED]}, "finish_reason": None}])
    message = {"index": 1, "message": {"content": "b", "annotations": [CITED]}, "finish_reason": "stop"}
    *_, last = payloads_of(first, loose([message]), choices=2)
    assert json.loads(last)["choices"][0]["delta"]["annotations"] == [CITED]


def test_a_re_encoded_call_continues_an_unchanged_one() -> None:
    first = chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]})
    later = loose([{"index": 0, "delta": {"tool_calls": [{"index": None, "function": {"arguments": "{}"}}]}}])
    *_, mended = payloads_of(first, later)
    [call] = json.loads(mended)["choices"][0]["delta"]["tool_calls"]
    assert call == {"index": 0, "function": {"arguments": "{}"}}


def called(*chunks: Any, **fields: Any) -> list[list[Any]]:
    """Return the calls in each chunk that is sent, for chunks with these calls."""
    mended = payloads_of(*(chunk({"tool_calls": calls}, **fields) for calls in chunks))
    return [json.loads(each)["choices"][0]["delta"].get("tool_calls", []) for each in mended]


@pytest.mark.parametrize("fields", [{}, {"x_groq": {"id": "1"}}])
@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_calls_are_separated_by_their_numbers(index: Any, fields: Any) -> None:
    a, b = ({**index, "id": id, "function": {"name": "f", "arguments": ""}} for id in "ab")
    expected = [mended_call(0, "a", ""), mended_call(1, "b", "")]
    assert [call for calls in called([a, b], **fields) for call in calls] == expected
    separate = [call for calls in called([a], [b], **fields) for call in calls]
    assert [(call["index"], call["id"]) for call in separate] == [(0, "a"), (1, "b")]


def test_a_renumbered_call_keeps_its_new_number() -> None:
    begun = [[call(index, id, "")] for index, id in ((3, "a"), (3, "b"), (7, "c"))]
    more = [[{"index": index, "function": {"arguments": text}}] for index, text in ((7, "c1"), (3, "b1"), (7, "c2"))]
    *_, c1, b1, c2 = called(*begun, *more)
    assert [c1, b1, c2] == [
        [{"index": i, "function": {"arguments": text}}] for i, text in ((2, "c1"), (1, "b1"), (2, "c2"))
    ]


def test_an_id_and_a_name_are_sent_once_and_a_missing_id_is_generated() -> None:
    first, second, third = called(*[[call(0, "a", text)] for text in ("", "{", "}")])
    assert first == [call(0, "a", "")]
    assert (second, third) == tuple([{"index": 0, "function": {"arguments": text}}] for text in "{}")
    [[made], [later]] = called([call(0, "", "{")], [{"index": 0, "function": {"arguments": "}"}}])
    assert made["id"].startswith("call_")
    assert later == {"index": 0, "function": {"arguments": "}"}}


def test_a_call_waits_for_its_name() -> None:
    waiting, begun = called([{"index": 0, "id": "a"}], [{"index": 0, "function": {"name": "f", "arguments": ""}}])
    assert (waiting, begun) == ([], [mended_call(0, "a", "")])


def test_other_fields_of_a_re_encoded_call_are_kept() -> None:
    signature = {"extra_content": {"google": {"thought_signature": "s"}}}
    [[mended]] = called([{"id": "a", "function": {"name": "f", "arguments": "{}"}, **signature}])
    assert mended == {**mended_call(0, "a", "{}"), **signature}


def test_fields_next_to_a_re_encoded_call_are_kept() -> None:
    fields = {"role": "assistant", "reasoning": "hm", "x": [1]}
    [mended] = payloads_of(chunk({**fields, "tool_calls": [{"id": "a", "function": {"name": "f"}}]}, y=2))
    document = json.loads(mended)
    assert document["choices"][0]["delta"] == {**fields, "tool_calls": [mended_call(0, "a", "")]}
    assert (document["y"], document["model"]) == (2, "ours")


def test_calls_of_each_choice_have_numbers_of_their_own() -> None:
    choices = [
        {"index": index, "delta": {"tool_calls": [{"id": id, "function": {"name": "f"}}]}}
        for index, id in ((1, "b"), (0, "a"), (2, "nobody asked"))
    ]
    [mended] = payloads_of(loose(choices), choices=2)
    calls = [choice["delta"]["tool_calls"] for choice in json.loads(mended)["choices"]]
    assert calls[:2] == [[mended_call(0, "b", "")], [mended_call(0, "a", "")]]


REASONS = {
    "MAX_TOKENS": "length", "end_turn": "stop", "eos": "stop", "SAFETY": "content_filter", "tool_use": "tool_calls",
    "it was time": "other",
}  # fmt: skip


@pytest.mark.parametrize(("sent_reason", "reason"), REASONS.items())
@pytest.mark.parametrize("delta", [{}, {"content": "b"}, {"content": None, "reasoning": "hm"}, {"thinking": "hm"}])
def test_a_foreign_finish_reason_is_translated_to_openais(sent_reason: str, reason: str, delta: Any) -> None:
    _, mended = payloads_of(chunk({"content": "a"}), chunk(delta, sent_reason, x=1))
    assert json.loads(mended) == json.loads(chunk(delta, reason, x=1).replace("theirs", "ours"))


@pytest.mark.parametrize("at_once", [True, False])
def test_an_answer_that_stops_after_calls_stops_for_them(at_once: bool) -> None:
    calls = {"tool_calls": [call(0, "a", "{}")]}
    *_, last = payloads_of(chunk(calls, "stop")) if at_once else payloads_of(chunk(calls), chunk({}, "stop"))
    assert json.loads(last)["choices"][0]["finish_reason"] == "tool_calls"
    *_, last = payloads_of(chunk(calls), loose([{"index": None, "message": {}, "finish_reason": "stop"}]))
    assert json.loads(last)["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("reason", ["function_call", "stop", "tool_use"])
def test_an_answer_that_stops_for_a_function_call_has_that_finish_reason(reason: str) -> None:
    payload = chunk(FAITHFUL["the call of a function"])
    begun, last = payloads_of(payload, chunk({}, reason))
    assert begun == payload.replace("theirs", "ours")
    assert json.loads(last)["choices"][0]["finish_reason"] == "function_call"


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
    parser = opened()
    batch = parser.feed(f"data: {chunk({'content': 'a'})}\n\ndata: {payload}\n\n".encode())
    assert parser.error is not None
    assert len(batch.pieces) == 1
    assert batch.finish_reason is None


def test_a_placeholder_finish_reason_is_null() -> None:
    payloads = payloads_of(chunk({"content": "a"}, "null"), chunk({"content": "b"}, "stop"))
    assert [json.loads(payload)["choices"][0]["finish_reason"] for payload in payloads] == [None, "stop"]


@pytest.mark.parametrize("payload", [chunk({"content": "b"}), chunk({"content": "b"}, "foo")])
def test_text_after_a_finish_reason_resumes_the_answer_and_usage_does_not(payload: str) -> None:
    parser = opened(include_usage=True)
    batches = [parser.feed(f"data: {each}\n\n".encode()) for each in (chunk({"content": "a"}, "foo"), USAGE, payload)]
    assert [batch.resumes for batch in batches] == [False, False, True]


def test_an_answer_is_complete_when_each_of_its_choices_is() -> None:
    parser = opened(choices=2)
    reasons = [
        parser.feed(
            f"data: {loose([{'index': index, 'delta': {}, 'finish_reason': reason}])}\n\n".encode()
        ).finish_reason
        for index, reason in ((1, "length"), (1, "length"), (0, "eos"))
    ]
    assert reasons == [None, None, "stop"]


def test_the_end_of_fewer_choices_than_requested_is_reported_once() -> None:
    parser = opened(choices=2)
    batches = [
        parser.feed(f"data: {chunk({'content': 'a'})}\n\n".encode()),
        parser.feed(f"data: {chunk({}, 'stop')}\n\n".encode()),
        parser.feed(b"data: [DONE]\n\n"),
        parser.end(),
    ]
    assert [batch.finish_reason for batch in batches] == [None, None, "stop", None]


@pytest.mark.parametrize(("room", "code"), [(0, None), (-1, "upstream_error")])
def test_chunks_of_exactly_the_limit_are_held_before_the_first_event(room: int, code: str | None) -> None:
    payloads = [chunk({"role": "assistant"}), chunk({}), chunk({"content": "a"})]
    size = sum(len(payload.replace("theirs", "ours")) for payload in payloads)
    parser = RawChunkParser(size + room, model="ours", choices=1, include_usage=False)
    batches = [parser.feed(f"data: {payload}\n\n".encode()) for payload in payloads]
    assert [len(batch.pieces) for batch in batches[:2]] == [0, 0]
    assert (parser.error and parser.error.code) == code


def test_chunks_over_the_limit_before_the_first_event_are_an_error() -> None:
    parser = opened()
    role = f"data: {chunk({'role': 'assistant', 'content': '', 'x': 'x' * 10_000})}\n\n".encode()
    while parser.error is None:
        assert parser.feed(role).pieces == []
    assert parser.error.code == "upstream_error"


@pytest.mark.parametrize("depth", [10, 300, 480, 900, 5000, 100_000])
def test_deep_json_is_re_encoded_or_is_an_error(depth: int) -> None:
    value = '{"a":' * depth + "1" + "}" * depth
    for payload in (
        f'{{"choices":[{{"index":null,"delta":{{"content":"a"}},"x":{value}}}]}}',
        f'{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"function":{{"name":"f","arguments":{value}}}}}]}}}}]}}',
        f'{{"choices":[{{"index":0,"delta":{{"content":[{value}]}}}}]}}',
    ):
        parser = opened()
        batch = parser.feed(f"data: {chunk({'content': 'a'})}\n\ndata: {payload}\n\n".encode())
        assert (len(batch.pieces), parser.error is None) in ((2, True), (1, False))


def test_numbers_of_any_size_are_re_encoded() -> None:
    [mended] = payloads_of(f'{{"choices":[{{"index":null,"delta":{{"content":"a"}}}}],"x":{10**40},"y":-1e-9}}')
    assert (json.loads(mended)["x"], json.loads(mended)["y"]) == (10**40, -1e-9)


@pytest.mark.parametrize(
    ("head", "reason", "code"),
    [
        ('"model":"theirs",', "stop", None),
        ('"model":"theirs",', "eos", "upstream_error"),
        ('"y":{"model":"p"},"model":"theirs",', "stop", "upstream_error"),
    ],
)
def test_a_number_too_long_to_re_encode_is_an_error_in_a_re_encoded_chunk(head: str, reason: str, code: Any) -> None:
    choices = f'"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]'
    parser = opened()
    parser.feed(f'data: {{{head}{choices},"x":{"1" * 5000}}}\n'.encode())
    assert (parser.error and parser.error.code) == code


def test_a_field_that_each_piece_of_reasoning_repeats_is_passed_on_once() -> None:
    head = {"type": "reasoning.text", "format": "v1", "index": 0}
    pieces = [chunk({"reasoning": text, "reasoning_details": [head | {"text": text}]}) for text in ("Let", " me")]
    first, second = map(json.loads, payloads_of(*pieces))
    assert first["choices"] == json.loads(pieces[0])["choices"]
    details = [{"type": "reasoning.text", "index": 0, "text": " me"}]
    assert second["choices"][0]["delta"] == {"reasoning": " me", "reasoning_details": details}


@pytest.mark.parametrize("name", ["thinking_blocks", "provider_specific_fields"])
def test_lists_without_an_index_come_once_at_the_end_because_openai_python_cannot_join_them(name: str) -> None:
    def state(**fields: str) -> Any:
        blocks = [{"type": "thinking", **fields}]
        return blocks if name == "thinking_blocks" else {"thinking_blocks": blocks}

    deltas: list[Any] = [
        {"reasoning_content": "Let", name: state(thinking="Let")},
        {"reasoning_content": " me", name: state(thinking=" me")},
        {"content": "", name: state(thinking="", signature="s")},
        {"content": "a"},
    ]
    payloads = [json.loads(payload) for payload in payloads_of(*map(chunk, deltas), chunk({}, "stop"))]
    sent = [payload["choices"][0]["delta"] for payload in payloads]
    assert sent[:2] == [{"reasoning_content": "Let"}, {"reasoning_content": " me"}]
    assert sent[-1] == {name: state(thinking="Let me", signature="s")}
    assert sum(name in delta for delta in sent) == 1
