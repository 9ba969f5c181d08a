"""The answers of the mock model without a fault: streams of chunks and complete objects."""

from __future__ import annotations

from tests.support.mock_model import CHAT_PATH, ask, ask_with_usage, chat_body, finish_reasons, parse, request, text_of


async def test_a_stream_opens_with_the_role_and_ends_with_the_finish_and_done() -> None:
    reply = await ask("mock")
    role, *tokens, finish, done = reply.events
    assert reply.status == 200
    assert reply.is_complete
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-request-id"]
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [token["choices"][0]["delta"]["content"] for token in tokens] == ["1", " 2", " 3", " 4", " 5"]
    assert finish["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert done == "[DONE]"
    assert {event["id"] for event in reply.events[:-1]} == {role["id"]}
    assert not any("usage" in event for event in reply.events[:-1])


async def test_each_event_is_a_write_of_its_own() -> None:
    reply = await ask("mock")
    assert [len(parse(write)) for write in reply.writes] == [1] * len(reply.events)


async def test_requested_usage_comes_last_and_is_null_before() -> None:
    *chunks, usage, done = (await ask_with_usage("mock")).events
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 5
    assert done == "[DONE]"


async def test_choices_are_interleaved_and_each_one_is_complete() -> None:
    reply = await ask("mock", "count to 3", n=2)
    indexes = [chunk["choices"][0]["index"] for chunk in reply.events[:-1]]
    assert indexes == [0, 1] * 5
    assert [text_of(reply.events, index=index) for index in range(2)] == ["1 2 3", "1 2 3"]
    assert finish_reasons(reply.events) == ["stop", "stop"]


async def test_a_completion_has_the_same_content_as_the_stream() -> None:
    reply = await ask("mock", n=2, stream=False, max_tokens=3)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert [choice["message"]["content"] for choice in reply.json["choices"]] == ["1 2 3", "1 2 3"]
    assert [choice["finish_reason"] for choice in reply.json["choices"]] == ["length", "length"]
    assert reply.json["usage"]["completion_tokens"] == 6


async def test_an_answer_is_not_streamed_unless_requested() -> None:
    reply = await request("POST", CHAT_PATH, chat_body("mock"))
    assert reply.json["object"] == "chat.completion"
