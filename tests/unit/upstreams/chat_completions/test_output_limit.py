"""The most tokens of an answer: what a model is sent, and what holds where its server sends more."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from quartapp.core.events import Batch, Batches, Delta, Reasoning, ToolCall
from quartapp.upstreams.chat_completions.output_limit import limited
from tests.support.endpoints import STREAM, Client, OwnModel, chunk, event_stream, offered_by, serving
from tests.support.loopback import Exchange, Loopback, head, reply
from tests.support.responses_upstream import encode, message, stream
from tests.support.wire_formats import DONE, FORMATS, TEXT, Format

COMPLETE = event_stream(chunk({"content": "a"}), chunk(finish_reason="stop"))
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class Unlimited(Loopback):
    """An upstream that sends an answer's bytes and then waits. `left` is set once its client has disconnected."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(self._answer)
        self._pieces = pieces
        self.left = asyncio.Event()

    async def _answer(self, exchange: Exchange) -> None:
        with suppress(ConnectionError):
            for data in self._pieces:
                await exchange.send(data)
            await exchange.client_leaves()
        self.left.set()
        exchange.close()


async def post(client: Client, document: Mapping[str, Any], path: str = STREAM) -> Any:
    question = {"messages": [{"role": "user", "content": "count canary-prompt"}], **document}
    return await client.send(json.dumps(question).encode(), path=path, headers={"Content-Type": "application/json"})


async def body_in(format: Format, client: Client) -> bytes:
    """Return the body of an answer in that format."""
    top, _, body = format.request("count canary-prompt", "m", ()).partition(b"\r\n\r\n")
    method, target, _ = top.split(b"\r\n")[0].decode().split(" ")
    headers = {"Accept": format.accept} | ({"Content-Type": "application/json"} if body else {})
    reply = await client.send(body, path=f"/ai{target}", method=method, headers=headers)
    assert reply.status == 200
    return reply.body


async def sent(entry: Mapping[str, Any], document: Mapping[str, Any], **settings: Any) -> dict[str, int]:
    """Return the limits that the server of a model with these fields receives."""
    body = encode(stream(message("a"))) if entry.get("kind") == "responses" else COMPLETE
    async with Loopback(reply(body=body)) as server:
        models = {"m": {"kind": "compatible", "base_url": server.base_url, "auth": "none", **entry}}
        async with serving(CHAT_MODELS=models, **settings) as client:
            assert (await post(client, document)).status == 200
        [request] = server.requests
        return {name: request.json[name] for name in LIMITS if name in request.json}


# -- what is sent


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({}, "max_tokens"),
        ({"kind": "openai"}, "max_completion_tokens"),
        ({"kind": "azure"}, "max_completion_tokens"),
        ({"kind": "responses"}, "max_output_tokens"),
    ],
)
async def test_the_limit_of_the_settings_is_sent_when_a_client_names_none(entry: dict[str, Any], name: str) -> None:
    assert await sent(entry, {}, CHAT_MAX_OUTPUT_TOKENS=100) == {name: 100}
    assert await sent(entry, {"max_tokens": 7}, CHAT_MAX_OUTPUT_TOKENS=100) == {name: 7}
    assert await sent({**entry, "drop_params": [name]}, {}, CHAT_MAX_OUTPUT_TOKENS=100) == {}


async def test_the_lower_of_the_settings_limit_and_the_entrys_is_sent() -> None:
    assert await sent({"max_output_tokens": 50}, {}, CHAT_MAX_OUTPUT_TOKENS=100) == {"max_tokens": 50}
    assert await sent({"max_output_tokens": 200}, {}, CHAT_MAX_OUTPUT_TOKENS=100) == {"max_tokens": 100}
    assert await sent({"params": {"max_tokens": 200}}, {}, CHAT_MAX_OUTPUT_TOKENS=100) == {"max_tokens": 100}
    assert await sent({"max_output_tokens": 65536}, {}) == {"max_tokens": 65536}


@pytest.mark.parametrize("entry", [{}, {"kind": "openai"}, {"kind": "responses"}])
async def test_the_default_limit_is_not_sent_because_models_with_a_smaller_one_refuse_it(entry: dict[str, Any]) -> None:
    assert await sent(entry, {}) == {}


# -- what holds where the server sends more

LIMIT = 100
WORDS = [f"word{number} " for number in range(4 * LIMIT)]


def tokens(words: Sequence[str], **fields: Any) -> bytes:
    return event_stream(*(chunk({"content": word}, **fields) for word in words), done=False)


def unlimited(kind: str, *, at_once: bool) -> list[bytes]:
    """Return an answer of four times LIMIT tokens, in one read or in many, that continues after them."""
    if kind == "responses":
        events = stream(message("".join(WORDS)))
        datas = [encode([event]) for event in events[:-1]]
    else:
        datas = [tokens([word]) for word in WORDS]
    return [head() + b"".join(datas)] if at_once else [head(), *datas]


@pytest.mark.parametrize("at_once", [True, False], ids=["one read", "many reads"])
@pytest.mark.parametrize("kind", ["compatible", "responses"])
@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
async def test_an_answer_over_the_limit_ends_with_length_and_its_upstream_is_closed(
    format: Format, kind: str, at_once: bool
) -> None:
    server = Unlimited(unlimited(kind, at_once=at_once))
    async with server:
        models = {"m": {"kind": kind, "base_url": server.base_url, "auth": "none", "retries": 0}}
        async with serving(CHAT_MODELS=models, CHAT_MAX_OUTPUT_TOKENS=LIMIT) as client:
            body = await body_in(format, client)
            async with asyncio.timeout(5):
                await server.left.wait()
    text = body if format is TEXT else b"".join(re.findall(rb'"(?:text|delta|content)":"(.*?)"', body))
    assert text.decode() == "".join(WORDS[:LIMIT])
    assert format is TEXT or format.ending(body) == DONE
    assert format is TEXT or re.findall(rb'"(?:finish_reason|finishReason)":"(.*?)"', body) == [b"length"]


async def test_the_limit_of_a_client_applies_if_the_server_ignores_it() -> None:
    async with Unlimited([head() + tokens(WORDS)]) as server, serving(**offered_by(server)) as client:
        reply = await client.send(
            json.dumps({"message": "count", "max_tokens": 3}).encode(),
            path="/ai/api/chat",
            headers={"Content-Type": "application/json"},
        )
    assert (reply.json["text"], reply.json["finish_reason"]) == ("word0 word1 word2 ", "length")


async def test_the_default_limit_applies_although_it_is_not_sent() -> None:
    words = [f"{number} " for number in range(40_000)]
    async with Unlimited([head() + tokens(["".join(words)])]) as server, serving(**offered_by(server)) as client:
        body = (await client.ask()).body
    assert body.decode() == "".join(words[:32_768])


async def test_a_model_in_python_obeys_the_limit() -> None:
    model = OwnModel(Batch(9, [Delta("".join(WORDS))]), Batch(9, [Delta("more")], finish_reason="stop"))
    async with serving(models={"own": model}, CHAT_MAX_OUTPUT_TOKENS=LIMIT) as client:
        reply = await client.send(b'{"message":"a"}', path="/ai/api/chat", headers={"Content-Type": "application/json"})
    assert (reply.json["text"], reply.json["finish_reason"]) == ("".join(WORDS[:LIMIT]), "length")


# -- raw chunks


async def raw_chunks(upstream: Sequence[bytes], limit: int, **document: Any) -> tuple[list[Any], bool]:
    """Return the chunks that `/v1` streams of an upstream's answer, and whether the answer was complete."""
    async with Unlimited(upstream) as server, serving(**offered_by(server)) as client:
        question = {"model": "ours", "stream": True, "max_tokens": limit, **document}
        body = json.dumps({"messages": [{"role": "user", "content": "a"}], **question}).encode()
        reply = await client.send(body, path="/ai/v1/chat/completions", headers={"Content-Type": "application/json"})
        async with asyncio.timeout(5):
            await server.left.wait()
    return reply.data, reply.is_done


def choice(index: int, text: str, finish_reason: str | None = None) -> Any:
    return {"index": index, "delta": {"content": text}, "finish_reason": finish_reason}


def texts(chunks: Sequence[Any]) -> dict[int, tuple[str, list[str]]]:
    """Return the text of each choice and its finish reasons."""
    choices = [each for chunk in chunks for each in chunk["choices"]]
    return {
        index: (
            "".join(each["delta"].get("content", "") for each in choices if each["index"] == index),
            [each["finish_reason"] for each in choices if each["index"] == index and each["finish_reason"]],
        )
        for index in sorted({each["index"] for each in choices})
    }


async def test_each_choice_has_the_limit_for_itself() -> None:
    short = [*(choice(0, f"w{number} ") for number in range(3)), choice(0, "", "stop")]
    long = [choice(index, f"w{number} ") for number in range(9) for index in (1, 2)]
    body = [head(), *(event_stream(chunk(choices=[each]), done=False) for each in short + long)]
    chunks, is_done = await raw_chunks(body, 7, n=3)
    seven = "w0 w1 w2 w3 w4 w5 w6 "
    assert texts(chunks) == {0: ("w0 w1 w2 ", ["stop"]), 1: (seven, ["length"]), 2: (seven, ["length"])}
    assert is_done


async def test_choices_that_share_a_chunk_are_held_one_by_one() -> None:
    shared = [chunk(choices=[choice(0, f"a{number} "), choice(1, f"b{number} " * 2)]) for number in range(9)]
    chunks, is_done = await raw_chunks([head() + event_stream(*shared, done=False)], 4, n=2)
    assert texts(chunks) == {0: ("a0 a1 a2 a3 ", ["length"]), 1: ("b0 b0 b1 b1 ", ["length"])}
    assert is_done


async def test_a_chunk_with_a_complete_answer_is_truncated_inside() -> None:
    delta = {"role": "assistant", "reasoning_content": "r0 r1 ", "content": "w0 w1 w2 w3 "}
    chunks, _ = await raw_chunks([head() + event_stream(chunk(delta), done=False)], 4)
    assert chunks[0]["choices"][0]["delta"] == delta | {"content": "w0 w1 "}
    assert chunks[0]["choices"][0]["finish_reason"] == "length"
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1, "b": 2}'}}
    chunks, _ = await raw_chunks([head() + event_stream(chunk({"tool_calls": [call]}), done=False)], 2)
    [sent] = chunks[0]["choices"][0]["delta"]["tool_calls"]
    assert sent == call | {"function": {"name": "f", "arguments": '{"a": 1, '}}


async def test_a_call_in_the_older_form_is_truncated_too() -> None:
    old = {"name": "f", "arguments": '{"a": 1, "b": 2}'}
    chunks, is_done = await raw_chunks([head() + event_stream(chunk({"function_call": old}), done=False)], 2)
    assert chunks[0]["choices"][0]["delta"]["function_call"] == old | {"arguments": '{"a": 1, '}
    assert is_done
    both = {"content": "w0 w1 w2 ", "function_call": old}
    chunks, _ = await raw_chunks([head() + event_stream(chunk(both), done=False)], 2)
    assert chunks[0]["choices"][0]["delta"] == {"content": "w0 w1 "}


# -- answers that are never truncated


async def collected(pieces: Sequence[Any], limit: int) -> tuple[str, str | None]:
    """Return the text that `limit` leaves of these pieces, one a batch, and the finish reason."""

    async def batches() -> Batches:
        for piece in pieces:
            yield Batch(1, [piece])
        yield Batch(1, [], finish_reason="stop")

    text, reason = "", None
    async for batch in limited(batches(), limit):
        text += "".join(piece.text for piece in batch.pieces if isinstance(piece, Delta | Reasoning))
        text += "".join(piece.arguments or "" for piece in batch.pieces if isinstance(piece, ToolCall))
        reason = batch.finish_reason or reason
    return text, reason


OBEDIENT = {
    "a token each": ("one two three four", ["one", " two", " three", " four"], 4),
    "a character each": ("one two three four", list("one two three four"), 4),
    "all at once": ("one two three four", ["one two three four"], 4),
    "long tokens": ("x" * 100 + " " + "-" * 128, ["x" * 100, " " + "-" * 128], 2),
    "no spaces, a character each": ("日本語の文章です。" * 3, list("日本語の文章です。" * 3), 12),
    "white space": ("a" + " " * 128 + "\n" * 16 + "b", ["a", " " * 128, "\n" * 16, "b"], 4),
    "empty pieces": ("ab", ["", "a", "", "b", ""], 2),
}


@pytest.mark.parametrize("name", OBEDIENT)
async def test_an_answer_within_the_limit_is_never_truncated_however_it_is_split(name: str) -> None:
    text, pieces, limit = OBEDIENT[name]
    assert await collected([Delta(piece) for piece in pieces], limit) == (text, "stop")
    assert await collected([Reasoning(piece) for piece in pieces], limit) == (text, "stop")
    assert await collected([ToolCall(0, arguments=piece) for piece in pieces], limit) == (text, "stop")


@pytest.mark.parametrize("text", ["日本語の文章です。" * 200, "x" * 4000, '{"a":1,"b":2},' * 300])
async def test_a_text_without_spaces_has_a_limit_too(text: str) -> None:
    truncated, reason = await collected([Delta(piece) for piece in re.findall("...?", text)], 20)
    assert (text.startswith(truncated), len(truncated.encode()) <= 16 * 21, reason) == (True, True, "length")
    truncated, reason = await collected([Delta(text)], 20)
    assert (text.startswith(truncated), len(truncated.encode()) <= 128 * 21, reason) == (True, True, "length")


async def test_reasoning_text_and_calls_count_together() -> None:
    pieces = [Reasoning("a b "), Delta("c d "), ToolCall(0, "id", "f", "1, 2, 3")]
    assert await collected(pieces, 5) == ("a b c d 1, ", "length")
