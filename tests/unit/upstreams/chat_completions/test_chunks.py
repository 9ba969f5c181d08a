"""Upstream bytes to batches: every form of a stream, every way to split it, and invalid streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pytest
from hypothesis import Phase, example, given
from hypothesis import strategies as st

from quartapp.core.events import Annotation, Batch, Delta, Image, Piece, Raw, Reasoning, Refusal, ToolCall, Usage
from quartapp.mock import create_mock
from quartapp.protocols.chat_completions.whole import merge
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from quartapp.upstreams.common.think_tags import ThinkTagMode
from quartapp.upstreams.common.usages import read_usage
from tests.support.examples import examples

LIMIT = 1_000_000
BOM = b"\xef\xbb\xbf"
DONE = b"data: [DONE]\n\n"


# -- the same answer, however the stream is split


@dataclass(frozen=True)
class Answer:
    """The content of a stream. Consecutive pieces of a kind are joined."""

    pieces: tuple[Piece, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    ended: bool = False
    error: str | None = None


def read(*reads: bytes, max_line_bytes: int = LIMIT, think_tags: ThinkTagMode = "none") -> Answer:
    parser = ChunkParser(max_line_bytes, think_tags=think_tags)
    batches: list[Batch] = []
    for data in reads:
        batches.append(parser.feed(data))
        if parser.error is not None:
            break
    assert [batch.size for batch in batches] == [len(data) for data in reads[: len(batches)]]
    batches.append(parser.end())
    return Answer(
        pieces=tuple(join(piece for batch in batches for piece in batch.pieces)),
        finish_reason=next((batch.finish_reason for batch in reversed(batches) if batch.finish_reason), None),
        usage=next((batch.usage for batch in reversed(batches) if batch.usage), None),
        ended=any(batch.ended for batch in batches),
        error=parser.error.code if parser.error else None,
    )


def join(pieces: Iterable[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, ToolCall):
            if isinstance(last, ToolCall) and last.index == piece.index and piece.id is None and piece.name is None:
                arguments = (last.arguments or "") + (piece.arguments or "")
                joined[-1] = ToolCall(last.index, last.id, last.name, arguments, last.kind)
                continue
        elif isinstance(piece, Delta | Reasoning | Refusal) and type(piece) is type(last):
            joined[-1] = type(piece)(getattr(last, "text", "") + piece.text)
            continue
        joined.append(piece)
    return joined


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def finish(reason: str | None = "stop") -> bytes:
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def text(*words: str) -> Answer:
    return Answer(tuple(Delta(word) for word in words))


def call(index: int = 0, **fields: Any) -> bytes:
    return delta(tool_calls=[{"index": index, **fields}])


# -- the forms of a stream

A, B = delta(content="a"), delta(content="b")

FORMS: dict[str, tuple[bytes, Answer]] = {
    "nothing": (b"", Answer()),
    "one token": (A, text("a")),
    "several lines a read": (A + B + finish() + DONE, Answer((Delta("ab"),), "stop", ended=True)),
    "CRLF": ((A + B + DONE).replace(b"\n", b"\r\n"), Answer((Delta("ab"),), ended=True)),
    "a single line feed between events": (A.strip() + b"\n" + B, text("ab")),
    "no space after the colon": (A.replace(b"data: ", b"data:"), text("a")),
    "several spaces after the colon": (A.replace(b"data: ", b"data:  \t "), text("a")),
    "byte order mark": (BOM + A, text("a")),
    "byte order mark before the only line": (BOM + A.rstrip(), text("a")),
    "a chunk that says nothing but what it is": (event({"object": "chat.completion.chunk", "model": "m"}), Answer()),
    "comments": (b": hello\n\n:\n" + A + b":keep-alive\n\n", text("a")),
    "other fields": (b"event: delta\nid: 7\nretry: 5\ndata\ndatabase: {\nDATA: {\n" + A, text("a")),
    "an event of another name after one without data": (
        b'event: error\n\nevent: delta\ndata: {"usage": null}\n\n',
        Answer(),
    ),
    "a line that is no field": (b"<html>\n" + A, text("a")),
    "a line that is not ended": (A + B.rstrip(), text("ab")),
    "a last line that was cut": (A + B[:-9], text("a")),
    "DONE that is not ended": (A + DONE.rstrip(), Answer((Delta("a"),), ended=True)),
    "DONE that was cut": (A + b"data: [DON", text("a")),
    "a data line with nothing in it": (b"data:\ndata: \n\n" + A, text("a")),
    "DONE": (DONE, Answer(ended=True)),
    "DONE without a space": (b"data:[DONE]\n\n", Answer(ended=True)),
    "DONE with spaces": (b"data:   [DONE] \t \r\n\r\n", Answer(ended=True)),
    "white space in the JSON": (b'data: { "choices" : [ { "delta" : { "content" : "a" } } ] } \n\n', text("a")),
    "unknown fields": (event({"id": "x", "x_groq": {"id": [1]}, "choices": [{"delta": {"content": "a"}}]}), text("a")),
    "an event of several lines": (
        b'data: {"choices":[{"index":0,"delta":\ndata: {"content":"a"},"finish_reason":"stop"}]}\n\n',
        Answer((Delta("a"),), "stop"),
    ),
    "an event of several lines that nothing ends": (b'data: {"choices":\ndata:[{"delta":{"content":"a"}}]}', text("a")),
    "no choices": (event({"choices": []}), Answer()),
    "null for choices": (event({"choices": None}), Answer()),
    "a choice without a delta": (event({"choices": [{"finish_reason": None}]}), Answer()),
    "null for delta": (event({"choices": [{"delta": None}]}), Answer()),
    "null for content": (delta(role="assistant", content=None), Answer()),
    "empty content": (delta(role="assistant", content=""), Answer()),
    "another choice": (
        event({"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]}) + A,
        text("a"),
    ),
    "two choices a chunk": (
        event({"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}),
        text("a"),
    ),
    "reasoning": (
        delta(reasoning_content="hm") + delta(reasoning_content="m", content="") + A,
        Answer((Reasoning("hmm"), Delta("a"))),
    ),
    "text, reasoning, text": (
        A + delta(reasoning_content="hm") + B,
        Answer((Delta("a"), Reasoning("hm"), Delta("b"))),
    ),
    "refusal": (delta(refusal="I can") + delta(refusal="not."), Answer((Refusal("I cannot."),))),
    "a tool call": (
        call(id="c1", type="function", function={"name": "f", "arguments": ""})
        + call(function={"arguments": '{"a"'})
        + call(function={"arguments": ":1}"}),
        Answer((ToolCall(0, "c1", "f", '{"a":1}'),)),
    ),
    "two tool calls": (
        call(0, id="c1", function={"name": "f", "arguments": "{}"})
        + call(1, id="c2", function={"name": "g", "arguments": "{}"}),
        Answer((ToolCall(0, "c1", "f", "{}"), ToolCall(1, "c2", "g", "{}"))),
    ),
    "two tool calls a chunk": (
        delta(
            tool_calls=[
                {"index": 0, "id": "c1", "function": {"name": "f"}},
                {"index": 1, "id": "c2", "function": {"name": "g"}},
            ]
        ),
        Answer((ToolCall(0, "c1", "f"), ToolCall(1, "c2", "g"))),
    ),
    "empty names of a later fragment": (
        call(id="c1", function={"name": "f", "arguments": ""}) + call(id="", function={"name": "", "arguments": "{}"}),
        Answer((ToolCall(0, "c1", "f", "{}"),)),
    ),
    "a call of a tool that takes text": (
        call(id="c1", type="custom", custom={"name": "f", "input": "a"}) + call(custom={"input": "b"}),
        Answer((ToolCall(0, "c1", "f", "ab", "custom"),)),
    ),
    "a call of a tool that takes text, without a number": (
        delta(tool_calls=[{"index": None, "id": "c1", "custom": {"name": "f", "input": "a"}}]),
        Answer((ToolCall(0, "c1", "f", "a", "custom"),)),
    ),
    "finish": (A + finish("length"), Answer((Delta("a"),), "length")),
    "finish with the last token": (
        event({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}),
        Answer((Delta("a"),), "stop"),
    ),
    "an empty finish reason": (finish(""), Answer()),
    "usage after the finish": (
        finish() + event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}),
        Answer((), "stop", Usage(1, 2, 3)),
    ),
    "usage with the finish": (
        event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}),
        Answer((), "stop", Usage(1, 0, 1)),
    ),
    "usage in each chunk": (
        b"".join(event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": n}}) for n in range(3)),
        Answer(usage=Usage(1, 2, 3)),
    ),
    "usage, then null": (
        event({"usage": {"prompt_tokens": 1}}) + event({"usage": None}) + event({"usage": {}}),
        Answer(usage=Usage(1, 0, 1)),
    ),
    "null for error": (event({"error": None, "choices": [{"delta": {"content": "a"}}]}), text("a")),
    "characters of all lengths": (delta(content="aé€😀"), text("aé€😀")),
    "characters that are not escaped": (
        'data: {"choices":[{"delta":{"content":"aé€😀"}}]}\n\n'.encode(),
        text("aé€😀"),
    ),
    "line separators inside text": (delta(content="\u2028\u2029\x85\r\n\x00"), text("\u2028\u2029\x85\r\n\x00")),
    "the words of the format inside text": (delta(content="data: [DONE]\n\n"), text("data: [DONE]\n\n")),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_gives_the_same_answer_in_any_two_reads(form: str) -> None:
    stream, answer = FORMS[form]
    assert read(stream) == answer
    assert {read(stream[:at], stream[at:]) for at in range(len(stream))} <= {answer}


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_gives_the_same_answer_byte_by_byte(form: str) -> None:
    stream, answer = FORMS[form]
    assert read(*(stream[place : place + 1] for place in range(len(stream)))) == answer


# -- what is none

GARBAGE = {
    "no JSON": b"data: {not json\n",
    "an empty object": b"data: {}\n",
    "an event named error, whatever it says": b'event: error\ndata: {"usage": null}\n',
    "an event named error that says nothing": b"event: error\n\n",
    "an object of no known kind": b'data: {"answer": "a"}\n',
    "JSON in no field": b'{"choices": []}\n',
    "a list in no field": b" [1]\n",
    "a carriage return for the end of a line": (A + B).replace(b"\n", b"\r") + b"\n",
    "a carriage return for the end of a comment": b": a\r" + A,
    "a tool call without a name": call(id="c1") + finish(),
    "a tool call without a name at the end": call(id="c1") + DONE,
    "half of an object": b'data: {"choices": [\n',
    "half of an object, and a line that completes none": b'data: {"choices": [\ndata: {}\n\n',
    "half of an object at the end of its event": b'data: {"choices": [\n\n' + A,
    "a text that goes on in the next line": b'data: {"choices": [{"delta": {"content": "a\ndata: b"}}]}\n\n',
    "two objects": b"data: {} {}\n",
    "null": b"data: null\n",
    "text": b'data: "hello"\n',
    "number": b"data: 1\n",
    "list": b"data: []\n",
    "choices of another type": b'data: {"choices": "a"}\n',
    "text for a choice": b'data: {"choices": ["a"]}\n',
    "content of another type": b'data: {"choices": [{"delta": {"content": 1}}]}\n',
    "a finish reason of another type": b'data: {"choices": [{"finish_reason": 1}]}\n',
    "a huge number": b'data: {"usage": {"prompt_tokens": %b}}\n' % (b"9" * 5000),
    "invalid UTF-8 in text": b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n',
    "overlong UTF-8 in text": b'data: {"choices": [{"delta": {"content": "\xc0\xaf"}}]}\n',
    "UTF-16": b"data: " + '{"choices": []}'.encode("utf-16") + b"\n",
    "NUL": b"data: \x00\n",
    "deep JSON": b"data: " + b"[" * 100_000 + b"\n",
    "deep JSON in an unknown field": b'data: {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "deep JSON in usage": b'data: {"usage": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "deep JSON in an error": b'data: {"error": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_an_upstream_error(kind: str) -> None:
    assert read(GARBAGE[kind]) == Answer(error="upstream_error")


@pytest.mark.parametrize("kind", ["no JSON", "null", "invalid UTF-8 in text"])
def test_events_before_garbage_do_not_depend_on_the_reads(kind: str) -> None:
    assert read(A + GARBAGE[kind]) == read(A, GARBAGE[kind]) == Answer((Delta("a"),), error="upstream_error")


@pytest.mark.parametrize("reason", ["null", "foo"])
def test_text_after_a_finish_reason_resumes_the_answer(reason: str) -> None:
    parser = ChunkParser(LIMIT)
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": reason} for text in "abc"]
    batches = [parser.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n") for choice in choices]
    expected = [(None, False)] * 3 if reason == "null" else [("foo", False), ("foo", True), ("foo", True)]
    assert [(batch.finish_reason, batch.resumes) for batch in batches] == expected


@pytest.mark.parametrize("after", [GARBAGE["no JSON"], event({"error": {"message": "too late"}})])
def test_a_finish_reason_is_valid_whatever_follows_it_in_the_same_read(after: bytes) -> None:
    complete = A + finish()
    assert read(complete + after).finish_reason == read(complete, after).finish_reason == "stop"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"message": "secret", "type": "server_error"}, "upstream_error"),
        ({"code": "context_length_exceeded"}, "context_too_long"),
        ({"code": "content_filter"}, "content_filtered"),
        ({"code": "rate_limit_exceeded"}, "upstream_busy"),
        ({"code": None}, "upstream_error"),
        ({"code": ["context_length_exceeded"]}, "upstream_error"),
        ("secret", "upstream_error"),
        (False, "upstream_error"),
        (0, "upstream_error"),
    ],
)
def test_an_error_object_ends_the_stream_by_its_own_code(error: Any, code: str) -> None:
    parser = ChunkParser(LIMIT)
    batch = parser.feed(event({"error": error, "choices": [{"delta": {"content": "a"}}]}))
    assert batch.pieces == []
    assert parser.error is not None
    assert parser.error.code == code
    assert "secret" not in parser.error.message


NOTHING: list[Any] = [None, "", [], {}]


@pytest.mark.parametrize("nothing", NOTHING, ids=json.dumps)
@pytest.mark.parametrize(
    "place",
    [
        *("choices", "choice", "delta", "message", "index", "finish_reason", "error", "error in a choice", "usage"),
        *("content", "reasoning_content", "reasoning_details", "refusal", "role", "extra_content", "audio", "images"),
        *("tool_calls", "function_call", "a call", "function", "custom", "id", "name", "arguments"),
    ],
)
def test_an_empty_value_where_openai_sends_none_adds_nothing(place: str, nothing: Any) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}
    choice: Any = {"index": 0, "delta": {}}
    chunk: Any = {"choices": [choice]}
    match place:
        case "choices" | "error" | "usage":
            chunk[place] = nothing
        case "choice":
            chunk["choices"] = [nothing]
        case "delta" | "message" | "index" | "finish_reason":
            choice[place] = nothing
        case "error in a choice":
            choice["error"] = nothing
        case "a call":
            choice["delta"] = {"tool_calls": [nothing]}
        case "function" | "custom" | "id":
            choice["delta"] = {"tool_calls": [{place: nothing}]}
        case "name" | "arguments":
            choice["delta"] = {"tool_calls": [{"index": 0, "type": "", "function": {place: nothing}}]}
        case _:
            choice["delta"] = {place: nothing}
    complete = A + delta(tool_calls=[call]) + finish("tool_calls") + DONE
    expected = Answer((Delta("a"), ToolCall(0, "c1", "f", "{}")), "tool_calls", ended=True)
    assert read(complete) == read(event(chunk) + complete) == read(A + event(chunk) + complete[len(A) :]) == expected
    raw = RawChunkParser(LIMIT, model="m", choices=1, include_usage=True)
    payloads = [piece.payload for piece in raw.feed(event(chunk) + complete).pieces if isinstance(piece, Raw)]
    assert raw.error is None
    assert read(*[b"data: " + payload + b"\n\n" for payload in payloads], DONE) == expected
    for payload in payloads:
        [passed] = json.loads(payload)["choices"] or [{}]
        delta_fields = passed.get("delta", {})
        assert delta_fields.get("role") != ""
        assert all(each.get("id") or each.get("function") for each in delta_fields.get("tool_calls") or [])


@pytest.mark.parametrize("kind", ["text", "thought", "refusal", "calls", "text and calls"])
def test_a_final_message_that_repeats_the_deltas_is_not_sent(kind: str) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}
    kinds: dict[str, dict[str, Any]] = {
        "text": {"content": "Hi"},
        "thought": {"reasoning_content": "hm"},
        "refusal": {"refusal": "no"},
        "calls": {"tool_calls": [call]},
        "text and calls": {"content": "Hi", "tool_calls": [call]},
    }
    message = {"role": "assistant", "content": None, **kinds[kind]}
    streamed = delta(**kinds[kind])
    for end in (
        event({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}),
        event({"choices": [{"index": 0, "finish_reason": "stop", "delta": {}, "message": message}]}),
        finish() + event({"choices": [{"index": 0, "message": message}]}),
    ):
        once = read(streamed + finish() + DONE)
        assert read(streamed + end + DONE) == read(streamed, end, DONE) == once
        raw = RawChunkParser(LIMIT, model="m", choices=1, include_usage=True)
        pieces = raw.feed(streamed + end).pieces
        assert read(*[b"data: " + each.payload + b"\n\n" for each in pieces if isinstance(each, Raw)], DONE) == once


def test_a_final_message_adds_what_no_delta_contained() -> None:
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}
    end = event({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
    expected = Answer((Reasoning("hm"), Delta("Hi")), "stop")
    assert read(delta(reasoning_content="hm") + end) == expected
    assert (
        read(event({"choices": [{"index": 0, "delta": {}, "message": message, "finish_reason": "stop"}]})) == expected
    )


@pytest.mark.parametrize("empty", ["", None])
def test_a_complete_call_without_arguments_has_an_empty_object(empty: Any) -> None:
    begun = call(id="c1", function={"name": "f", "arguments": empty})
    expected = ToolCall(0, "c1", "f", "{}")
    assert read(begun + finish("tool_calls")) == Answer((expected,), "tool_calls")
    assert read(begun + call(function={"arguments": ""}) + finish("stop")) == Answer((expected,), "tool_calls")
    raw = RawChunkParser(LIMIT, model="m", choices=1, include_usage=True)
    pieces = raw.feed(begun + finish("tool_calls")).pieces
    joined = merge(json.loads(each.payload) for each in pieces if isinstance(each, Raw))
    [passed] = joined["choices"][0]["message"]["tool_calls"]
    assert passed["function"] == {"name": "f", "arguments": "{}"}


def test_a_call_truncated_before_its_arguments_stays_without_arguments() -> None:
    begun = call(id="c1", function={"name": "f", "arguments": ""})
    assert read(begun + finish("length")) == Answer((ToolCall(0, "c1", "f"),), "length")


def test_a_call_of_a_custom_tool_may_have_no_input() -> None:
    begun = call(id="c1", custom={"name": "f", "input": ""})
    assert read(begun + finish("tool_calls")) == Answer((ToolCall(0, "c1", "f", kind="custom"),), "tool_calls")


SOUND = {"audio": {"id": "a1", "data": "UklGRg=="}}
IMAGE = {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}


def test_an_answer_of_nothing_but_sound_is_an_error_and_never_an_empty_answer() -> None:
    assert read(delta(**SOUND) + finish() + DONE) == Answer(error="upstream_error")
    assert read(delta(**SOUND) + A + finish()) == read(A + delta(**SOUND) + finish()) == Answer((Delta("a"),), "stop")


def test_images_next_to_text_and_alone_are_shown() -> None:
    image = Image("data:image/png;base64,iVBORw0KGgo=")
    assert read(delta(**IMAGE) + finish() + DONE) == Answer((image,), "stop", ended=True)
    assert read(delta(**IMAGE) + A + finish()) == Answer((image, Delta("a")), "stop")
    assert read(delta(content="a", **IMAGE) + A + finish()) == Answer((Delta("a"), image, Delta("a")), "stop")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "", "/image.png", None, 1])
def test_an_image_that_cannot_be_shown_is_an_error_and_never_dropped(url: Any) -> None:
    images = [{"type": "image_url", "image_url": {"url": url}}]
    assert read(A + delta(images=images) + finish()) == Answer((Delta("a"),), error="upstream_error")


def test_images_in_the_parts_of_a_content_are_shown_and_passed_on() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    body = delta(content=[{"type": "text", "text": "a"}, part]) + finish()
    assert read(body) == Answer((Delta("a"), Image("https://a.example/b.png")), "stop")
    parser = RawChunkParser(LIMIT, model="m", choices=1, include_usage=True)
    [first, _] = [json.loads(each.payload) for each in parser.feed(body).pieces if isinstance(each, Raw)]
    assert first["choices"][0]["delta"] == {"content": "a", "images": [part]}


CITED: dict[str, Any] = {"url": "https://a.example/b", "title": "B", "start_index": 0, "end_index": 1}


def test_citations_are_sent_once_however_often_a_server_repeats_them() -> None:
    cited = {"annotations": [{"type": "url_citation", "url_citation": {**CITED, "content": "x"}}]}
    repeated = event({"choices": [{"index": 0, "message": {"content": "a", **cited}, "finish_reason": "stop"}]})
    expected = Answer((Delta("a"), Annotation("url_citation", **CITED)), "stop")
    assert read(A + delta(**cited) + delta(content="", **cited) + finish()) == expected
    assert read(A + delta(**cited) + repeated) == expected


@pytest.mark.parametrize("is_odd", [False, True])
def test_the_sources_of_a_chunk_are_annotations_each_once(*, is_odd: bool) -> None:
    urls: list[Any] = ["https://a.example/b", "https://a.example/c", "javascript:alert(1)", 1]
    results = [{"title": "B", "url": urls[0], "date": "2026-01-01", "snippet": "x"}, {"title": "none"}, "x", None]
    choice = {"index": None if is_odd else 0, "delta": {"content": "a"}, "finish_reason": None}
    chunks = [event({"choices": [choice], "citations": urls, "search_results": results}) for _ in range(2)]
    cited = [Annotation("url_citation", urls[0], "B"), Annotation("url_citation", urls[1])]
    assert read(*chunks, finish()) == Answer((Delta("a"), *cited, Delta("a")), "stop")


def test_citations_that_are_objects_are_annotations_too() -> None:
    cited = event({"choices": [], "citations": [{"url": "https://a.example/b", "title": "B"}]})
    expected = Answer((Delta("a"), Annotation("url_citation", "https://a.example/b", "B")), "stop")
    assert read(A, cited, finish()) == expected


def test_a_file_that_a_server_has_parsed_is_an_annotation_with_its_name() -> None:
    file = {"type": "file", "file": {"hash": "abc", "name": "a.pdf", "content": [{"type": "text", "text": "x"}]}}
    expected = Answer((Delta("a"), Annotation("file", filename="a.pdf")), "stop")
    assert read(A + delta(annotations=[file]) + finish()) == expected


def thought(text: str) -> bytes:
    """Return a thought as Gemini marks it in the text."""
    return delta(content=text, extra_content={"google": {"thought": True}})


@pytest.mark.parametrize("names", [("field", "text"), ("text",)])
def test_a_marked_thought_after_the_text_is_compared_too(names: tuple[str, ...]) -> None:
    repeated = {"field": field("hm"), "text": thought("hm")}
    answer = read(A, *(repeated[name] for name in names), finish(), think_tags="leading")
    assert answer == Answer((Delta("a"), Reasoning("hm")), "stop")


def field(text: str) -> bytes:
    return delta(reasoning_content=text)


@pytest.mark.parametrize("first", [thought("hm"), delta(content="<think>hm</think>")])
def test_a_thought_that_a_field_repeats_after_the_text_is_sent_once(first: bytes) -> None:
    answer = read(first, A, *map(field, ("h", "m")), finish(), think_tags="leading")
    assert answer == Answer((Reasoning("hm"), Delta("a")), "stop")


@pytest.mark.parametrize("end", ["message", "message behind the reason"])
def test_a_final_message_after_marked_thoughts_alone_adds_its_text(end: str) -> None:
    message = {"role": "assistant", "content": "Hi"}
    last = event({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    behind = finish() + event({"choices": [{"index": 0, "message": message}]})
    ended = {"message": last, "message behind the reason": behind}[end]
    assert read(thought("hm"), ended, DONE).pieces == (Reasoning("hm"), Delta("Hi"))
    raw = RawChunkParser(LIMIT, model="m", choices=1, include_usage=True)
    payloads = [each.payload for each in raw.feed(thought("hm") + ended).pieces if isinstance(each, Raw)]
    texts = [choice["delta"].get("content") for payload in payloads for choice in json.loads(payload)["choices"]]
    assert [text for text in texts if text] == ["hm", "Hi"]


def test_the_transcript_of_a_sound_is_text() -> None:
    spoken = delta(audio={"id": "a1", "transcript": "Hi"}) + delta(**SOUND) + delta(audio={"transcript": "!"})
    assert read(spoken + finish()) == Answer((Delta("Hi!"),), "stop")


def test_images_and_sounds_of_any_size_are_passed_on_unchanged_without_delay() -> None:
    parser = RawChunkParser(LIMIT, model="m", choices=1, include_usage=True)
    for media in (*[{"audio": {"id": "a1", "data": "x" * (LIMIT // 5)}}] * 8, IMAGE):
        payload = json.dumps({"model": "m", "choices": [{"index": 0, "delta": media}]}).encode()
        pieces = parser.feed(b"data: " + payload + b"\n\n").pieces
        assert [each.payload for each in pieces if isinstance(each, Raw)] == [
            payload.replace(b'"model": ', b'"model":')
        ]
    assert parser.error is None


def test_an_error_in_a_choice_ends_the_stream_by_its_own_code() -> None:
    document = {"choices": [{"index": 0, "delta": {"content": "a"}, "error": {"code": 429}, "finish_reason": "error"}]}
    assert read(event(document)) == Answer(error="upstream_busy")


# -- half characters


@pytest.mark.parametrize(
    ("escaped", "shown"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"a\ud83db", "a\ufffdb"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ud83d\ude00", "😀"),
    ],
)
def test_half_a_surrogate_pair_becomes_a_replacement_character(escaped: str, shown: str) -> None:
    stream = b'data: {"choices": [{"delta": {"content": "%b"}}]}\n' % escaped.encode()
    assert read(stream) == text(shown)
    shown.encode()


def test_half_a_surrogate_pair_is_replaced_in_any_place() -> None:
    stream = (
        b'data: {"id": "\\ud83d", "choices": [{"delta": {"reasoning_content": "\\ud83d", "refusal": "\\ud83d"}}]}\n'
    )
    assert read(stream) == Answer((Reasoning("\ufffd"), Refusal("\ufffd")))


# -- long lines


def test_a_line_of_exactly_the_limit_is_read_however_it_comes() -> None:
    line = A.strip()
    for reads in ([line + b"\n"], [line, b"\n"], [line[:9], line[9:] + b"\n\n"]):
        assert read(*reads, max_line_bytes=len(line)) == text("a")


@pytest.mark.parametrize("at", [None, 1, 7, -2, -1])
def test_a_complete_line_over_the_limit_is_refused_however_it_comes(at: int | None) -> None:
    line = A.strip() + b"\n"
    reads = [line] if at is None else [line[:at], line[at:]]
    assert read(*reads, max_line_bytes=len(line) - 2).error == "upstream_error"


def test_an_endless_line_is_refused_before_much_more_than_the_limit_is_held() -> None:
    parser = ChunkParser(10_000)
    for _ in range(100):
        parser.feed(b"data: " + b"a" * 94)
    assert parser.error is None
    parser.feed(b"a")
    assert parser.error is not None


def test_the_lines_of_one_event_are_together_no_longer_than_the_limit() -> None:
    lines = [b"data:" + line + b"\n" for line in (b'{"choices":', b'[{"delta":', b'{"content":"a"}}]}')]
    size = len(b"".join(lines)) - 5 * len(lines) - 1
    assert read(*lines, b"\n", max_line_bytes=size) == text("a")
    assert read(*lines, max_line_bytes=size - 1).error == "upstream_error"


def test_the_limit_is_one_of_lines_and_not_of_reads() -> None:
    assert read(A * 100, max_line_bytes=len(A)) == text("a" * 100)


# -- usage

COUNTS = {"prompt_tokens": 5, "completion_tokens": 7}


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 0}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9}, Usage(1, 2, 9)),
        ({"prompt_tokens": "1", "completion_tokens": 2.0}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1}, Usage(1, 0, 1)),
        ({"completion_tokens": 2}, Usage(0, 2, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(0, 0, 0)),
        ({"prompt_tokens": 1, "completion_tokens": None}, Usage(1, 0, 1)),
        ({"prompt_tokens": -1, "completion_tokens": 2}, Usage(0, 2, 2)),
        ({"prompt_tokens": 1, "completion_tokens": 10**400}, Usage(1, 0, 1)),
        ({"prompt_tokens": 2**53, "completion_tokens": 1}, Usage(0, 1, 1)),
        ({"prompt_tokens": 1, "completion_tokens": "inf", "total_tokens": "nan"}, Usage(1, 0, 1)),
        ({"prompt_tokens": 1, "completion_tokens": [2], "details": {"a": [None]}}, Usage(1, 0, 1)),
        ({"input_tokens": 1, "output_tokens": 2}, Usage(1, 2, 3)),
        ({"prompt_eval_count": 1, "eval_count": 2}, Usage(1, 2, 3)),
        ({"inputTokenCount": 1, "outputTokenCount": 2}, Usage(1, 2, 3)),
        ({"prompt_tokens": None, "input_tokens": 1, "completion_tokens": 0, "output_tokens": 2}, Usage(1, 0, 1)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(5, 7, 12, cached_input_tokens=4)),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(5, 7, 12, cached_input_tokens=0)),
        ({**COUNTS, "prompt_tokens_details": {"audio_tokens": 0}}, Usage(5, 7, 12)),
        ({**COUNTS, "prompt_tokens_details": None, "completion_tokens_details": []}, Usage(5, 7, 12)),
        ({**COUNTS, "completion_tokens_details": {"reasoning_tokens": "6"}}, Usage(5, 7, 12, reasoning_tokens=6)),
        ({**COUNTS, "completion_tokens_details": {"reasoning_tokens": 0}}, Usage(5, 7, 12, reasoning_tokens=0)),
        ({**COUNTS, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 1}, Usage(5, 7, 12, 4)),
        ({**COUNTS, "cached_tokens": 4}, Usage(5, 7, 12, 4)),
        ({**COUNTS, "cached_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(5, 7, 12, 0)),
        ({**COUNTS, "num_cached_tokens": 4}, Usage(5, 7, 12, 4)),
        ({**COUNTS, "reasoning_tokens": 6}, Usage(5, 7, 12, reasoning_tokens=6)),
        ({**COUNTS, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1}, Usage(5, 7, 12, 4)),
        ({"input_tokens": 1, "output_tokens": 7, "cache_read_input_tokens": 4}, Usage(5, 7, 12, 4)),
        (
            {"input_tokens": 1, "output_tokens": 7, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 4},
            Usage(5, 7, 12, 0),
        ),
        ({"inputTokenCount": 1, "outputTokenCount": 7, "cacheReadInputTokenCount": 4}, Usage(5, 7, 12, 4)),
        (
            {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(5, 7, 12, 4, 6),
        ),
        ({"total_tokens": 3}, None),
        ({"prompt_tokens": "many", "completion_tokens": {}}, None),
        ({}, None),
        (None, None),
        ([], None),
        ("3", None),
        (3, None),
        (False, None),
    ],
)
def test_usage_is_read_in_any_of_its_forms(fields: Any, usage: Usage | None) -> None:
    assert read_usage(fields) == usage


@pytest.mark.parametrize(
    ("chunks", "usage"),
    [
        ([{"timings": {"prompt_n": 1, "predicted_n": 2}}], Usage(1, 2, 3)),
        ([{"timings": {"prompt_n": 1, "cache_n": 4, "predicted_n": 2}}], Usage(5, 2, 7, 4)),
        ([{"timings": {"prompt_n": 1, "predicted_n": n}} for n in (1, 2, 3)], Usage(1, 3, 4)),
        ([{"timings": {"prompt_n": 1}}, {"timings": "fast"}], None),
        ([{"timings": {"prompt_n": 1, "predicted_n": 2}}, {"usage": {"prompt_tokens": 3}}], Usage(3, 0, 3)),
        ([{"usage": {"prompt_tokens": 3}}, {"timings": {"prompt_n": 1, "predicted_n": 2}}], Usage(3, 0, 3)),
        ([{"choices": [{"index": 0, "delta": {}, "usage": {"prompt_tokens": 3}}]}], Usage(3, 0, 3)),
        ([{"usage": {"prompt_tokens": 3}, "x_groq": {"usage": {"prompt_tokens": 4}}}], Usage(3, 0, 3)),
        ([{"usage": {}, "x_groq": {"usage": {"prompt_tokens": 4}}}], Usage(4, 0, 4)),
        ([{"choices": [], "prompt_eval_count": 3, "eval_count": 1}], Usage(3, 1, 4)),
    ],
)
def test_usage_is_found_in_any_place_and_timings_count_last(chunks: list[Any], usage: Usage | None) -> None:
    assert read(*map(event, chunks)) == Answer(usage=usage)


# -- what is held back


def test_text_that_could_have_been_a_tag_comes_before_what_follows_it() -> None:
    parser = ChunkParser(LIMIT, think_tags="leading")
    held = delta(content="<thi"), delta(content="<"), delta(refusal="no")
    assert parser.feed(held[0]).pieces == []
    assert parser.feed(held[0] + call(id="c", function={"name": "f"})).pieces == [
        Delta("<thi<thi"),
        ToolCall(0, "c", "f"),
    ]
    assert parser.feed(held[0]).pieces == [Delta("<thi")]
    for last in (held[2], finish(), DONE, GARBAGE["null"]):
        parser = ChunkParser(LIMIT, think_tags="leading")
        assert parser.feed(held[0]).pieces == []
        assert parser.feed(last).pieces[0] == Delta("<thi")
    parser = ChunkParser(LIMIT, think_tags="leading")
    assert [parser.feed(held[0]).pieces, parser.end().pieces] == [[], [Delta("<thi")]]


def test_the_end_of_a_body_is_reported_once_and_adds_nothing() -> None:
    parser = ChunkParser(LIMIT)
    parser.feed(A + B.rstrip())
    assert [parser.end(), parser.end()] == [Batch(0, [Delta("b")]), Batch(0, [])]


# -- recorded streams

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}]

COMPLETE = {
    "a tour": ("mock", "tour"),
    "scripts": ("mock", "emoji"),
    "a tool call": ("mock-tool-call", "weather"),
    **{
        model: (model, "count to 9 é€😀")
        for model in (
            "mock-echo",
            "mock-count",
            "mock-reasoning",
            "mock-refusal",
            "fault-comments:0.1",
            "fault-no-finish",
            "fault-no-finish-done",
            "fault-no-done",
            "fault-drop",
            "fault-drop-after-finish",
            "fault-garbage-line",
            "fault-flood:12",
            "fault-split-utf8",
            "fault-one-byte",
            "fault-crlf",
            "fault-no-space",
            "fault-bom",
            "fault-empty-choices",
            "fault-null-content",
            "fault-lone-surrogate",
            "fault-usage-null",
            "fault-usage-with-finish",
            "fault-usage-every-chunk",
            "fault-usage-none",
            "fault-usage-odd",
            "fault-length",
            "fault-content-filter",
        )
    },
}
BROKEN = {model: (model, "count to 9") for model in ("fault-garbage:5", "fault-error-object:5")}
SPLITS = 1_000  # in the fast run


async def body_of(model: str, content: str) -> bytes:
    """Return the bytes that the mock model sends, until it ends or aborts the response."""
    document = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": TOOLS,
        "max_tokens": 60,
    }
    requests = iter([{"type": "http.request", "body": json.dumps(document).encode(), "more_body": False}])
    sent: list[bytes] = []

    async def receive() -> Any:
        return next(requests, None) or await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], "query_string": b""}
    await asyncio.wait([asyncio.ensure_future(create_mock(0)(scope, receive, send))])
    return b"".join(sent)


async def record() -> dict[str, bytes]:
    prompts = {**COMPLETE, **BROKEN}
    return dict(zip(prompts, await asyncio.gather(*(body_of(*question) for question in prompts.values())), strict=True))


RECORDED = asyncio.run(record())
ANSWERS = {name: read(RECORDED[name]) for name in COMPLETE}

# Without the explanation of a failure, which traces each line of each example.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


def split(stream: bytes, sizes: bytes) -> Iterator[bytes]:
    """Yield the stream in reads of 1 byte to 4 kB, small ones often. The sizes repeat."""
    place = 0
    for size in cycle(sizes):
        if place >= len(stream):
            return
        end = place + 1 + size * size // 16
        yield stream[place:end]
        place = end


@pytest.mark.parametrize("name", COMPLETE)
def test_a_recorded_stream_has_content(name: str) -> None:
    answer = ANSWERS[name]
    assert answer.error is None
    assert answer.pieces
    assert answer.finish_reason or "no-finish" in name or name == "fault-drop"


@pytest.mark.parametrize("name", COMPLETE)
@given(sizes=st.binary(min_size=1, max_size=40))
@example(sizes=b"\x00")
@examples(-(-SPLITS // len(COMPLETE)), phases=PHASES)
def test_a_recorded_stream_gives_the_same_answer_however_it_is_split(name: str, sizes: bytes) -> None:
    assert read(*split(RECORDED[name], sizes)) == ANSWERS[name]


@pytest.mark.parametrize("name", BROKEN)
@given(sizes=st.binary(min_size=1, max_size=40))
@examples(25, phases=PHASES)
def test_a_broken_stream_gives_the_same_answer_however_it_is_split(name: str, sizes: bytes) -> None:
    assert read(*split(RECORDED[name], sizes)) == Answer((Delta("1 2 3 4 5"),), error="upstream_error")


@given(
    data=st.lists(st.binary(max_size=60), max_size=8), prefix=st.sampled_from([b"", b"data: ", b'data: {"choices":'])
)
@examples(100)
def test_random_bytes_never_raise_anything_else(data: list[bytes], prefix: bytes) -> None:
    assert read(*(prefix + each + b"\n" for each in data)).error in (None, "upstream_error")


def test_state_that_is_nested_too_deeply_is_an_error() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000  # each version of Python has another limit
    parser = ChunkParser(2**20)
    parser.feed(b'data: {"choices":[{"index":0,"delta":{"extra_content":%b},"finish_reason":"stop"}]}\n\n' % deep)
    assert parser.error is not None
    assert parser.error.code == "upstream_error"
