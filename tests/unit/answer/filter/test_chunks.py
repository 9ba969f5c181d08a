"""Chunks of `/v1` behind a filter: what clients read from them, and what is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.answer.filter.chunks import ChunkFilter
from quartapp.core.events import Batch, Piece, Raw
from quartapp.protocols.chat_completions.chunk import text_in
from quartapp.protocols.chat_completions.whole import merge
from quartapp.upstreams.chat_completions.raw_chunks import RawChunkParser
from tests.support.endpoints import chunk, event_stream
from tests.support.streams import load

Json = dict[str, Any]

THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
STREAMS = {name: stream for name, stream in load().items() if stream.content_type == "text/event-stream"}
TEXT = "The key is sk-abc, and no more."


def redact(text: str) -> str:
    return re.sub(r"sk-\w{1,5}", "***", text)


def raw(document: Json) -> Raw:
    return Raw(json.dumps(document).encode())


def choices(*deltas: Json | None, reason: str | None = None) -> Json:
    """Return a chunk with a delta for each choice that has one."""
    listed = enumerate(deltas)
    document: Json = chunk(
        choices=[{"index": i, "delta": each, "finish_reason": reason} for i, each in listed if each is not None]
    )
    return document


def documents(pieces: Iterable[Piece]) -> list[Json]:
    return [json.loads(piece.payload) for piece in pieces if isinstance(piece, Raw)]


def sent(*chunks: Json, reads: int = 1) -> list[Json]:
    """Return the chunks that are sent for `chunks`, of which each read has `reads`."""
    filtered, pieces = ChunkFilter(redact, 8), list[Piece]()
    for start in range(0, len(chunks), reads):
        pieces += filtered.add(map(raw, chunks[start : start + reads]))
    return documents([*pieces, *filtered.flush()])


def messages(chunks: Iterable[Json]) -> list[Json]:
    return [choice["message"] for choice in merge(chunks)["choices"]]


def finished(*deltas: Json) -> list[Json]:
    return [choices({"role": "assistant", "content": ""}), *map(choices, deltas), choices({}, reason="stop")]


def one(*deltas: Json) -> Json:
    """Return the message that clients read for one choice."""
    [message] = messages(sent(*finished(*deltas)))
    return message


@pytest.mark.parametrize("name", ["content", "reasoning_content", "reasoning", "refusal"])
def test_each_text_is_filtered_and_keeps_its_name(name: str) -> None:
    message = one(*({name: character} for character in TEXT))
    assert message == {"role": "assistant", "content": None} | {name: redact(TEXT)}


def test_both_names_of_a_thought_are_kept() -> None:
    message = one(*({"reasoning": character, "reasoning_content": character} for character in TEXT))
    assert message["reasoning"] == message["reasoning_content"] == redact(TEXT)


@given(st.integers(1, 40))
def test_each_of_several_choices_is_filtered(reads: int) -> None:
    chunks = [choices({"content": a}, {"content": b}) for a, b in zip(TEXT, TEXT[::-1], strict=True)]
    chunks += [choices({}, {}, reason="stop")]
    texts = [message["content"] for message in messages(sent(*chunks, reads=reads))]
    assert texts == [redact(TEXT), redact(TEXT[::-1])]


def test_a_choice_that_has_finished_is_sent_while_others_go_on() -> None:
    chunks = sent(choices({"content": "short"}, {"content": "l"}), choices({}, None, reason="stop"))
    assert [choice["index"] for each in chunks for choice in each["choices"]] == [0, 0, 1]


def test_a_call_is_sent_complete_before_its_finish_reason() -> None:
    fragments: list[Json] = [
        {"index": 0, "id": "c-1", "type": "function", "function": {"name": "find", "arguments": '{"a":"sk'}},
        {"index": 0, "function": {"arguments": '-ab\\u0063"}'}},
    ]
    chunks = sent(*(choices({"tool_calls": [each]}) for each in fragments), choices({}, reason="tool_calls"))
    deltas = [(each["choices"][0]["delta"], each["choices"][0]["finish_reason"]) for each in chunks]
    call = {"index": 0, "id": "c-1", "type": "function", "function": {"name": "find", "arguments": '{"a":"***"}'}}
    assert deltas == [({"role": "assistant", "tool_calls": [call]}, None), ({}, "tool_calls")]


def test_the_older_call_and_the_call_of_a_custom_tool_keep_their_form() -> None:
    old = one({"function_call": {"name": "find", "arguments": '{"a":"sk-'}}, {"function_call": {"arguments": 'abc"}'}})
    assert old["function_call"] == {"name": "find", "arguments": '{"a":"***"}'}
    call = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "run", "input": "sk-abc"}}
    assert one({"tool_calls": [call]})["tool_calls"][0]["custom"] == {"name": "run", "input": "***"}


def test_sources_and_images_are_filtered() -> None:
    source = {"type": "url_citation", "url_citation": {"url": "https://example.org/sk-abc", "title": "sk-abc"}}
    image = {"type": "image_url", "image_url": {"url": "https://example.org/sk-abc.png"}}
    message = one({"content": "a"}, {"annotations": [source], "images": [image]})
    assert message["annotations"][0]["url_citation"] == {"url": "https://example.org/***", "title": "***"}
    assert message["images"][0]["image_url"] == {"url": "https://example.org/***.png"}


def test_pages_next_to_the_choices_become_annotations() -> None:
    pages = {"search_results": [{"url": "https://example.org/a", "title": "sk-abc"}]}
    [message] = messages(sent(choices({"content": "a"}) | pages, choices({}, reason="stop") | pages))
    assert [each["url_citation"]["title"] for each in message["annotations"]] == ["***"]


def test_the_words_of_sound_become_text_and_the_sound_is_left_out() -> None:
    message = one(*({"audio": {"data": "AAAA", "transcript": character}} for character in TEXT))
    assert message == {"role": "assistant", "content": redact(TEXT)}


def test_state_in_pieces_is_sent_with_the_finish_reason_or_dropped() -> None:
    pieces = [
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": text}]} for text in ("I sk", "-abc")
    ]
    assert "reasoning_details" not in one(*pieces)
    kept = one(pieces[0], {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "y."}]})
    assert kept["reasoning_details"] == [{"type": "reasoning.text", "index": 0, "text": "I sky."}]


def test_geminis_thought_becomes_reasoning() -> None:
    mark = {"extra_content": {"google": {"thought": True}}}
    message = one(*({"content": character, **mark} for character in "I sk-abc"), {"content": "It is blue."})
    assert (message["reasoning_content"], message["content"]) == ("I ***", "It is blue.")


def test_log_probabilities_and_unknown_fields_are_left_out() -> None:
    tokens = {"logprobs": {"content": [{"token": "sk-abc"}]}, "native": "sk-abc"}
    document = choices({"content": "a", "other": "sk-abc"}, reason="stop")
    document = {**document, "choices": [{**document["choices"][0], **tokens}], "note": "sk-abc"}
    assert "sk-abc" not in json.dumps(sent(document))


def test_the_head_and_the_usage_are_kept() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    *chunks, last = sent(choices({"content": "a"}, reason="stop"), chunk(choices=[], usage=usage))
    assert last == {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "theirs",
        "choices": [],
        "usage": usage,
    }
    assert all(each.items() >= {"id": "up-1", "created": 7, "model": "theirs"}.items() for each in chunks)
    assert [each.get("usage") for each in sent(choices({"content": "a"}) | {"usage": usage})] == [usage]
    assert [each.get("usage") for each in sent(choices({}) | {"usage": usage})] == [usage]


def test_a_chunk_with_a_role_alone_is_sent_with_the_first_text() -> None:
    filtered = ChunkFilter(redact, 8)
    assert filtered.add([raw(choices({"role": "assistant", "content": ""}))]) == []
    [first, *_] = documents(filtered.add([raw(choices({"content": "a" * 20}))]))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a" * 12}


@pytest.mark.parametrize("name", STREAMS)
def test_a_filter_that_finds_nothing_leaves_the_message_of_each_server(name: str) -> None:
    batch = parsed(STREAMS[name].body)
    filtered = ChunkFilter(str, 8)
    pieces = [*filtered.add([piece for piece in batch.pieces if isinstance(piece, Raw)]), *filtered.flush()]
    assert read(documents(pieces)) == read(documents(batch.pieces))


def parsed(body: bytes) -> Batch:
    return RawChunkParser(2**20, model="m", choices=1, include_usage=True).feed(body)


def read(chunks: Sequence[Json]) -> list[Any]:
    """Return the fields of messages that clients use, with JSON arguments decoded."""
    found = []
    for choice in merge(chunks)["choices"]:
        message = choice["message"]
        calls = [
            (call.get("id"), call["function"].get("name"), json.loads(call["function"].get("arguments") or "{}"))
            for call in message.get("tool_calls") or ()
            if "function" in call
        ]
        thought = next((message[name] for name in THOUGHTS if message.get(name)), None)
        texts = (message.get("content") or "", text_in(thought), message.get("refusal") or "")
        if any(texts) or calls or choice["finish_reason"]:
            found.append((texts, calls, message.get("reasoning_details"), choice["finish_reason"]))
    return found


def test_the_chunks_of_a_filter_are_read_like_those_of_a_server() -> None:
    body = event_stream(*sent(*finished(*({"content": character} for character in TEXT))))
    texts = [piece.text for piece in parsed(body).pieces if isinstance(piece, Raw)]
    assert "".join(text or "" for text in texts) == redact(TEXT)
