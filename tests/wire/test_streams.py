"""Streams of real servers: the records of each, however its bytes are split, in every format."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import openai
import pytest

from quartapp.core.events import Batch, Done, Failed, Raw, Start
from quartapp.core.request import ChatRequest
from quartapp.upstreams.chat_completions.bodies import CompletionParser, open_parser
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.in_process import ASGIApp, InProcessTransport
from tests.support import contract, streams
from tests.support.endpoints import Reply, serving
from tests.support.loopback import Exchange, Loopback, head
from tests.support.streams import FOLDER, Record, Stream
from tests.support.ui_parser import read_ui_message
from tests.support.wire_formats import CHUNKS, COMPLETION, JSON, NDJSON, SSE, TEXT, UI, Format, ending_in_chunks

STREAMS = streams.load()
MIB = 2**20
SPLITS = 100

each_stream = pytest.mark.parametrize("stream", STREAMS.values(), ids=lambda stream: stream.name)


# -- the files


def test_there_are_streams_of_many_servers() -> None:
    servers = {name.partition("-")[0] for name in STREAMS}
    assert len(STREAMS) >= 45
    assert len(servers) >= 20


def test_each_body_has_its_records_and_the_reverse() -> None:
    names = {path.stem for path in FOLDER.iterdir() if path.suffix == ".ndjson"}
    assert names == set(STREAMS)
    assert len(list(FOLDER.iterdir())) == 2 * len(STREAMS) + 1


@each_stream
def test_a_body_has_a_comment_that_describes_it(stream: Stream) -> None:
    assert len(stream.comment.split()) > 2
    assert [record["type"] in ("done", "error") for record in stream.records[-1:]] == [True]


# -- through a parser


def opened(stream: Stream, *, raw: bool = False, content_type: str | None = None) -> ChunkParser | CompletionParser:
    return open_parser(
        ChatRequest([], model="ours", raw=raw, include_usage=True),
        content_type=content_type or f"{stream.content_type}; charset=utf-8",
        max_line_bytes=MIB,
        think_tags=stream.think_tags,
    )


def read(parser: ChunkParser | CompletionParser, reads: Iterable[bytes]) -> list[Batch]:
    """Return the batches of a body, as a model's stream yields them: none after an error, and one after the end."""
    batches: list[Batch] = []
    for data in reads:
        batches.append(parser.feed(data))
        if parser.error is not None:
            return batches
    return [*batches, parser.end()]


def records_of(parser: ChunkParser | CompletionParser, reads: Iterable[bytes]) -> list[Record]:
    """Return the records of the answer in a body."""
    batches = read(parser, reads)
    reason = next((batch.finish_reason for batch in reversed(batches) if batch.finish_reason), None)
    usage = next((batch.usage for batch in reversed(batches) if batch.usage), None)
    code = parser.error.code if parser.error else "upstream_truncated"
    extra = next((batch.extra for batch in reversed(batches) if batch.extra), None)
    end = Failed(code, "", "") if reason is None else Done(reason, usage, extra)
    return streams.records([*streams.joined(piece for batch in batches for piece in batch.pieces), end])


@each_stream
def test_a_body_gives_the_same_records_at_once_and_byte_by_byte(stream: Stream) -> None:
    assert records_of(opened(stream), [stream.body]) == stream.records
    assert records_of(opened(stream), [stream.body[at : at + 1] for at in range(len(stream.body))]) == stream.records


@each_stream
def test_a_body_gives_the_same_records_however_it_is_split(stream: Stream) -> None:
    chance = random.Random(stream.name)
    for _ in range(SPLITS):
        ends = sorted(chance.randrange(len(stream.body)) for _ in range(chance.choice((1, 5, 50))))
        reads = [stream.body[start:end] for start, end in zip([0, *ends], [*ends, None], strict=True)]
        assert records_of(opened(stream), reads) == stream.records


@each_stream
def test_a_body_gives_the_same_records_with_carriage_returns(stream: Stream) -> None:
    assert records_of(opened(stream), [stream.body.replace(b"\n", b"\r\n")]) == stream.records


OBJECTS = re.compile(rb"^(data:[ \t]*\{)(.*)$", re.MULTILINE)


# Those whose events have one line each, and that line an end.
OF_ONE_LINE = [stream for name, stream in STREAMS.items() if not name.endswith(("-data-lines", "-cut-line"))]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("stream", OF_ONE_LINE, ids=lambda stream: stream.name)
def test_a_body_gives_the_same_records_with_its_objects_on_several_data_lines(stream: Stream, raw: bool) -> None:
    body = OBJECTS.sub(rb"\1\ndata:\ndata: \2\n", stream.body)
    if raw:
        batches = read(opened(stream, raw=True), [body])
        payloads = [piece.payload for batch in batches for piece in batch.pieces if isinstance(piece, Raw)]
        assert not any(end in payload for payload in payloads for end in (b"\r", b"\n"))
        assert (
            records_of(opened(stream), [b"data: " + payload + b"\n\n" for payload in payloads])[:-1]
            == stream.records[:-1]
        )
        return
    assert records_of(opened(stream), [body]) == stream.records
    assert records_of(opened(stream), [body[at : at + 1] for at in range(len(body))]) == stream.records


@each_stream
def test_a_stream_is_detected_whatever_its_content_type(stream: Stream) -> None:
    content_type = "application/json" if stream.content_type == "text/event-stream" else stream.content_type
    for size in (1, 100, MIB):
        reads = [stream.body[at : at + size] for at in range(0, len(stream.body), size)]
        assert records_of(opened(stream, content_type=content_type), reads) == stream.records


def test_a_complete_body_is_refused_as_soon_as_it_is_over_the_limit() -> None:
    parser = opened(STREAMS["openai-whole"])
    codes = []
    for _ in range(MIB // 1024 + 1):
        assert parser.feed(b"{" + b" " * 1023).pieces == []
        codes.append(parser.error and parser.error.code)
    assert codes == [*[None] * (MIB // 1024), "upstream_error"]


@each_stream
def test_a_raw_chunk_is_valid_for_clients_and_has_the_same_content(stream: Stream) -> None:
    batches = read(opened(stream, raw=True), [stream.body])
    payloads = [piece.payload for batch in batches for piece in batch.pieces if isinstance(piece, Raw)]
    assert len(payloads) == sum(len(batch.pieces) for batch in batches)
    for payload in payloads:
        check_chunk(json.loads(payload, parse_constant=pytest.fail))
    repeated = records_of(opened(stream), [b"data: " + payload + b"\n\n" for payload in payloads])
    assert repeated[:-1] == stream.records[:-1]
    assert repeated[-1] == stream.records[-1] or stream.records[-1]["type"] == "error"


def check_chunk(chunk: Any) -> None:
    """Assert that the helpers of the official clients accept a chunk, whatever other fields it has."""
    assert isinstance(chunk["choices"], list)
    for choice in chunk["choices"]:
        assert isinstance(choice.get("index", 0), int)
        assert isinstance(choice["delta"].get("content"), str | None)
        assert isinstance(choice["delta"].get("refusal"), str | None)
        assert isinstance(choice.get("finish_reason"), str | None)
        for call in choice["delta"].get("tool_calls") or ():
            assert isinstance(call["index"], int)
            assert isinstance((call.get("function") or {}).get("arguments"), str | None)


# -- through an app


@asynccontextmanager
async def serving_streams(format: Format, **headers: str) -> AsyncIterator[Callable[[Stream], Any]]:
    """Open an app and yield a function that requests the answer of a stream in one format."""
    async with reaching(**headers) as http:
        yield lambda stream: post(http, format, stream)


@asynccontextmanager
async def reaching(**headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client of an app whose models are named after the streams. Their server sends these headers."""

    async def answer(exchange: Exchange) -> None:
        stream = STREAMS[exchange.request.target.split("/")[1]]
        body = gzip.compress(stream.body) if headers.get("Content-Encoding") == "gzip" else stream.body
        fields = {"Content-Type": stream.content_type, "Content-Length": str(len(body)), **headers}
        await exchange.send(head(headers=fields) + body)

    async with Loopback(answer) as upstream:
        models = {stream.name: entry(stream, upstream) for stream in STREAMS.values()}
        async with (
            serving(CHAT_MODELS=models, CHAT_RETRIES=0) as client,
            httpx2.AsyncClient(transport=InProcessTransport(cast(ASGIApp, client.app)), base_url="http://host") as http,
        ):
            yield http


def entry(stream: Stream, upstream: Loopback) -> Record:
    return {
        "kind": "compatible",
        "base_url": f"{upstream.origin}/{stream.name}/v1",
        "model": "theirs",
        "think_tags": stream.think_tags,
    }


async def post(http: httpx2.AsyncClient, format: Format, stream: Stream) -> Reply:
    """Return the reply, also a truncated one, because text can only report a failure by its end."""
    document = format.document("What now?", stream.name)
    if format is CHUNKS:
        document["stream_options"] = {"include_usage": True}
    async with http.stream("POST", f"/ai{format.path}", json=document, headers={"Accept": format.accept}) as response:
        body = b""
        try:
            async for data in response.aiter_raw():
                body += data
        except httpx2.ReadError:
            body += BROKEN
        return Reply(response.status_code, response.headers, body)


BROKEN = b" (broken off)"


def by_text(reply: Reply, stream: Stream) -> tuple[Any, Any]:
    end = stream.records[-1]["type"]
    text = contract.body([stream.events(Start("", ""))]).encode()
    return reply.body, text + (BROKEN if end == "error" else b"")


def by_records(reply: Reply, stream: Stream) -> tuple[Any, Any]:
    return without_ids(reply.records, stream), stream.records


def by_events(reply: Reply, stream: Stream) -> tuple[Any, Any]:
    return without_ids(reply.data, stream), stream.records


def without_ids(records: list[Record], stream: Stream) -> list[Record]:
    start, *received = records
    assert start == {"type": "start", "id": start["id"], "model": stream.name}
    assert all(record.get("id") == start["id"] for record in received if record["type"] == "error")
    *pieces, end = Stream("", b"", "", "", received).events(Start("", ""))[1:]
    return streams.records([*streams.joined(pieces), end])


def by_object(reply: Reply, stream: Stream) -> tuple[Any, Any]:
    answer = json.loads(streams.without_minted_ids(reply.body.decode()))
    return answer, contract.whole_answer(stream.events(Start(answer["id"], stream.name)))


def by_chunks(reply: Reply, stream: Stream) -> tuple[Any, Any]:
    """Compare the records that the parser reads in chunks of /v1, and the codes of errors."""
    for chunk in reply.data:
        assert chunk.get("model", stream.name) == stream.name
    *received, end = records_of(opened(stream, content_type="text/event-stream"), [reply.body])
    code = ending_in_chunks(reply.body)
    return [*received, end if code == "done" else {"type": "error", "code": code}], stream.records


def by_completion(reply: Reply, stream: Stream) -> tuple[Any, Any]:
    assert reply.json["model"] == stream.name
    received = records_of(opened(stream, content_type="application/json"), [reply.body])
    return in_order(received), in_order(stream.records)


def in_order(records: list[Record]) -> list[Record]:
    """Return the pieces as a completion has them: joined by kind, and each call complete."""
    events = Stream("", b"", "", "", records).events(Start("", ""))
    answer = contract.whole_answer(events)
    return [{name: value for name, value in answer.items() if name not in ("id", "model")}]


def by_ui(reply: Reply, stream: Stream) -> tuple[Any, Any]:
    message = read_ui_message(reply.body)
    start = Start(str(message.id), stream.name)
    received = [{name: value for name, value in part.items() if name != "id"} for part in message.parts]
    *_, end = events = stream.events(start)
    assert message.metadata == contract.ui_metadata(events)
    assert message.finish_reason == contract.ui_finish_reason(end)
    assert message.error == (end.message if isinstance(end, Failed) else None)
    return json.loads(streams.without_minted_ids(json.dumps(received))), contract.ui_parts(events)


READ: Mapping[Format, Callable[[Reply, Stream], tuple[Any, Any]]] = {
    TEXT: by_text,
    NDJSON: by_records,
    SSE: by_events,
    JSON: by_object,
    CHUNKS: by_chunks,
    COMPLETION: by_completion,
    UI: by_ui,
}


# Each stream has a server of its own, so that state in it is marked.
_MARK = re.compile(rb"qa-[0-9a-f]{8}\.")


def compared(format: Format, reply: Reply, stream: Stream) -> tuple[Any, Any]:
    """Return the content of a reply and the expected one. An answer that fails before its first event is a refusal."""
    *pieces, end = stream.records
    reply = Reply(reply.status, reply.headers, _MARK.sub(b"", reply.body))
    if end["type"] == "error" and not (pieces and format.is_streamed):
        return format.refused(reply.body), end["code"]
    assert reply.status == 200, reply.body
    return READ[format](reply, stream)


@pytest.mark.parametrize("format", READ, ids=lambda format: format.name)
async def test_every_stream_is_sent_in_every_format(format: Format) -> None:
    async with serving_streams(format) as ask:
        for stream in STREAMS.values():
            received, expected = compared(format, await ask(stream), stream)
            assert received == expected, stream.name


WITH_CALLS = [stream for stream in STREAMS.values() if any(record["type"] == "tool_call" for record in stream.records)]


async def test_the_helper_of_the_official_client_joins_the_calls() -> None:
    async with (
        reaching() as http,
        openai.AsyncOpenAI(base_url="http://host/ai/v1", api_key="any", max_retries=0, http_client=http) as client,
    ):
        for stream in WITH_CALLS:
            if stream.name == "openai-function-call":  # which the helper knows by its old name
                continue
            async with client.chat.completions.stream(
                model=stream.name, messages=[{"role": "user", "content": "What now?"}]
            ) as answer:
                [choice] = (await answer.get_final_completion()).choices
            expected = contract.whole_answer(stream.events(Start("", "")))
            calls = [
                {
                    "id": streams.without_minted_ids(call.id),
                    "name": call.function.name,
                    "arguments": call.function.arguments,
                }
                for call in choice.message.tool_calls or []
            ]
            named = [{name: call[name] for name in calls[0]} for call in expected["tool_calls"]]
            assert calls == named, stream.name
            assert choice.finish_reason == expected["finish_reason"], stream.name


async def test_every_compressed_stream_is_read() -> None:
    async with serving_streams(NDJSON, **{"Content-Encoding": "gzip"}) as ask:
        for stream in STREAMS.values():
            received, expected = compared(NDJSON, await ask(stream), stream)
            assert received == expected, stream.name


async def test_no_text_of_a_servers_error_reaches_a_client() -> None:
    words = re.compile(rb'"(?:message|detail)": ?"([^"]+)"')
    async with serving_streams(NDJSON) as ask:
        for stream in STREAMS.values():
            body = (await ask(stream)).body
            assert [word for word in words.findall(stream.body) if word in body] == [], stream.name
