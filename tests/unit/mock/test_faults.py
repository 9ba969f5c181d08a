"""Faults of the mock model's streams: in time, at the end, in the bytes, and in usage."""

from __future__ import annotations

import asyncio
import zlib
from itertools import islice

import pytest

from quartapp.mock import CATALOGUE, create_mock
from quartapp.mock.player import Event, Head, Mark, Pause
from tests.support.mock_model import (
    CHAT_PATH,
    Exchange,
    ask,
    ask_with_usage,
    chat_body,
    finish_reasons,
    kinds,
    parse,
    steps,
    text_of,
)


def test_the_slow_first_byte_waits_before_the_headers() -> None:
    script = steps("fault-slow-first-byte:2.5")
    assert next(script) == Pause(2.5)
    assert isinstance(next(script), Head)


def test_the_slow_first_byte_waits_for_a_completion_too() -> None:
    assert next(steps("fault-slow-first-byte", stream=False)) == Pause(30)


def test_the_slow_first_token_waits_after_the_role() -> None:
    script = kinds(steps("fault-slow-first-token:2", "count to 1"))
    assert script == ["head", "role", Mark.BEAT, Pause(2), "token", Mark.BEAT, "finish", "done"]


def test_comments_fill_the_time_before_the_answer() -> None:
    script = kinds(steps("fault-comments:0.06", "count to 1"))
    assert script[:8] == ["head", *[b": keep-alive\n\n", Pause(0.02)] * 3, "role"]


def test_pauses_come_before_each_token() -> None:
    script = kinds(steps("fault-pauses:2", "count to 2"))
    assert script[2:8] == [Mark.BEAT, Pause(2), "token", Mark.BEAT, Pause(2), "token"]


def test_the_slow_end_waits_between_the_finish_and_the_rest() -> None:
    script = kinds(steps("fault-slow-end:2", "count to 1", stream_options={"include_usage": True}))
    assert script[-4:] == ["finish", Pause(2), "usage", "done"]


@pytest.mark.parametrize("name", ["fault-slow-first-byte", "fault-slow-first-token", "fault-comments"])
async def test_after_the_wait_the_answer_is_complete(name: str) -> None:
    reply = await ask(f"{name}:0.05")
    lines = [line for line in reply.body.splitlines(keepends=True) if not line.startswith(b":")]
    body = b"".join(lines).lstrip(b"\n")
    assert (text_of(parse(body)), finish_reasons(parse(body))) == ("1 2 3 4 5", ["stop"])


async def test_a_stall_sends_its_tokens_and_then_nothing_until_the_client_disconnects() -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body("fault-stall:2", stream=True))
    body = await exchange.read_until(b'" 2"')
    exchange.disconnect()
    await exchange.task
    assert text_of(parse(body)) == "1 2"
    assert exchange.sent.empty()


async def test_an_error_object_comes_after_its_tokens_and_ends_the_body() -> None:
    reply = await ask("fault-error-object:2")
    *chunks, error = reply.events
    assert text_of(chunks) == "1 2"
    assert error["error"]["code"] == "boom"
    assert "upstream-secret" in error["error"]["message"]
    assert reply.is_complete


@pytest.mark.parametrize(("tokens", "text"), [(1, "1"), (4, "1 2 3 4"), (9, "1 2 3 4 5")])
async def test_a_drop_comes_after_its_tokens_and_before_any_end(tokens: int, text: str) -> None:
    reply = await ask(f"fault-drop:{tokens}")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == (text, [], False)


async def test_a_drop_after_no_token_leaves_only_the_headers() -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body("fault-drop:0", stream=True))
    await asyncio.wait([exchange.task])
    assert exchange.task.cancelled()
    assert exchange.sent.get_nowait()["status"] == 200
    assert exchange.sent.empty()


async def test_a_message_without_a_number_gets_enough_tokens_for_the_fault() -> None:
    assert (await ask("fault-drop:30", "hello")).text.split()[-1] == "30"
    assert kinds(steps("fault-drop:30", "hello")).count("token") == 31


async def test_a_clean_end_may_lack_both_finish_and_done() -> None:
    reply = await ask("fault-no-finish:2")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2", [], True)
    assert "[DONE]" not in reply.events


async def test_a_clean_end_may_lack_the_finish_alone() -> None:
    reply = await ask("fault-no-finish-done:2")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2", [], True)
    assert reply.events[-1] == "[DONE]"


async def test_a_clean_end_may_lack_done_alone() -> None:
    reply = await ask_with_usage("fault-no-done")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2 3 4 5", ["stop"], True)
    assert reply.events[-1]["usage"]["completion_tokens"] == 5


async def test_a_drop_may_come_after_the_finish() -> None:
    reply = await ask_with_usage("fault-drop-after-finish")
    assert (reply.text, finish_reasons(reply.events), reply.is_complete) == ("1 2 3 4 5", ["stop"], False)
    assert reply.events[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("name", "garbage"), [("garbage", b"data: {not json\n\n"), ("garbage-line", b"<html>\n")])
async def test_garbage_is_at_its_place_in_an_otherwise_complete_answer(name: str, garbage: bytes) -> None:
    reply = await ask(f"fault-{name}:2")
    before, after = reply.body.split(garbage)
    assert text_of(parse(before)) == "1 2"
    assert text_of(parse(after)) == " 3 4 5"
    assert parse(after)[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("name", "start", "repeated"),
    [
        ("fault-endless-error", b'{"error":', b"upstream-secret " * 200),
        ("fault-endless-line", b'data: {"id":"x', b"x" * 100_000),
        ("fault-endless-body", b'data: {"id"', b""),
        ("fault-endless-comments", b": keep-alive\n\n", b": keep-alive\n\n" * 200),
    ],
)
async def test_an_endless_body_continues_until_the_client_disconnects(name: str, start: bytes, repeated: bytes) -> None:
    exchange = Exchange(create_mock(0), "POST", CHAT_PATH, chat_body(name, stream=True))
    body = await exchange.read_until(repeated or b"\n\n")
    for _ in range(200):
        body += (await exchange.sent.get())["body"]
    exchange.disconnect()
    await exchange.task
    assert body.startswith(start)
    assert name != "fault-endless-body" or text_of(parse(body)).startswith("111111")


async def test_a_flood_is_one_write() -> None:
    reply = await ask("fault-flood:300")
    assert len(reply.writes) == 1
    assert reply.text.split() == [str(number) for number in range(1, 301)]
    assert reply.events[-1] == "[DONE]"


def test_a_big_answer_has_its_size_and_no_pace() -> None:
    script = list(steps("fault-big:2"))
    assert Mark.BEAT not in script
    tokens = [step.body for step in script if isinstance(step, Event) and step.kind == "token"]
    assert len(text_of(tokens)) == 2 * 1024 * 1024


async def test_split_utf8_ends_every_write_inside_a_character_and_loses_none() -> None:
    reply = await ask("fault-split-utf8")
    assert len(reply.writes) > 200
    for write in reply.writes[:-1]:
        with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
            write.lstrip(bytes(range(0x80, 0xC0))).decode()
    assert reply.text == (await ask("mock", "scripts")).text


async def test_one_byte_at_a_time() -> None:
    reply = await ask("fault-one-byte")
    assert {len(write) for write in reply.writes} == {1}
    assert reply.text == "1 2 3 4 5"


async def test_lines_may_end_in_crlf() -> None:
    body = (await ask("fault-crlf")).body
    assert body.count(b"\n") == body.count(b"\r\n") > 0
    assert text_of(parse(body.replace(b"\r\n", b"\n"))) == "1 2 3 4 5"


async def test_the_space_after_data_may_be_missing() -> None:
    body = (await ask("fault-no-space")).body
    assert b"data: " not in body
    assert text_of(parse(body.replace(b"data:", b"data: "))) == "1 2 3 4 5"


async def test_a_byte_order_mark_may_come_first() -> None:
    body = (await ask("fault-bom")).body
    assert body.startswith(b"\xef\xbb\xbfdata: ")
    assert text_of(parse(body[3:])) == "1 2 3 4 5"


async def test_the_body_may_be_compressed_and_still_streams() -> None:
    reply = await ask("fault-gzip")
    assert reply.headers["content-encoding"] == "gzip"
    unpack = zlib.decompressobj(wbits=31)
    events = [unpack.decompress(write) for write in reply.writes]
    assert [len(parse(event)) for event in events[:-1]] == [1] * (len(events) - 1)
    assert text_of(parse(b"".join(events))) == "1 2 3 4 5"
    assert unpack.eof


async def test_chunks_without_choices_surround_the_answer() -> None:
    events = (await ask("fault-empty-choices")).events
    assert events[0]["choices"] == events[-2]["choices"] == []
    assert events[0]["prompt_filter_results"]
    assert (text_of(events), finish_reasons(events)) == ("1 2 3 4 5", ["stop"])


async def test_null_content_is_between_the_tokens() -> None:
    deltas = [event["choices"][0]["delta"] for event in (await ask("fault-null-content")).events[1:-2]]
    assert [delta["content"] for delta in deltas[:4]] == [None, "1", None, " 2"]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_emoji_may_come_in_two_halves(stream: bool) -> None:
    body = (await ask("fault-lone-surrogate", stream=stream)).body
    first, second = (body.index(half) for half in (rb"\ud83d", rb"\ude00"))
    assert (b"data: " in body[first:second]) == stream
    body.decode("ascii")


async def test_usage_may_be_null_in_every_chunk() -> None:
    events = (await ask_with_usage("fault-usage-null")).events
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)


async def test_usage_may_come_with_the_finish() -> None:
    *tokens, finish, done = (await ask_with_usage("fault-usage-with-finish")).events
    assert finish["usage"]["completion_tokens"] == 5
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert all(token["usage"] is None for token in tokens)
    assert done == "[DONE]"


async def test_usage_may_run_along() -> None:
    events = (await ask_with_usage("fault-usage-every-chunk")).events
    assert [event["usage"]["completion_tokens"] for event in events[:-1]] == [0, 1, 2, 3, 4, 5, 5, 5]
    assert all(event["usage"]["total_tokens"] >= event["usage"]["prompt_tokens"] for event in events[:-1])


async def test_usage_may_never_be_mentioned() -> None:
    reply = await ask_with_usage("fault-usage-none")
    assert b"usage" not in reply.body.replace(b"fault-usage-none", b"")
    assert finish_reasons(reply.events) == ["stop"]


async def test_usage_may_have_another_shape() -> None:
    usage = (await ask_with_usage("fault-usage-odd")).events[-2]["usage"]
    assert isinstance(usage["prompt_tokens"], str)
    assert isinstance(usage["completion_tokens"], float)
    assert "total_tokens" not in usage


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.startswith("fault-usage")])
async def test_a_usage_fault_has_no_effect_if_usage_is_not_requested(name: str) -> None:
    reply = await ask(name)
    assert (reply.text, finish_reasons(reply.events)) == ("1 2 3 4 5", ["stop"])
    assert not any(event.get("usage") for event in reply.events[:-1])


@pytest.mark.parametrize(("name", "reason"), [("fault-length", "length"), ("fault-content-filter", "content_filter")])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_finish_reason_may_not_be_stop(name: str, reason: str, stream: bool) -> None:
    reply = await ask(name, stream=stream)
    reasons = finish_reasons(reply.events) if stream else [reply.json["choices"][0]["finish_reason"]]
    assert reasons == [reason]


def test_scripts_are_read_no_further_than_needed() -> None:
    assert len(list(islice(steps("fault-drop:99999", "hello"), 10))) == 10
