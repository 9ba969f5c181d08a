"""A secret in an answer of a server, split at every byte, behind a filter: no client can read it in any format."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart

from quartapp import Chat, ChatError, ChatRequest, Principal
from quartapp.answer.filter.stream import OutputFilter, filtered
from quartapp.core.events import Annotation, Batch, Delta, Done, Reasoning, Start, ToolCall
from quartapp.flask.loop import close_background_loop
from quartapp.protocols.ai_sdk.encode import PartEncoder
from quartapp.protocols.chat_completions.encode import ChunkEncoder
from quartapp.protocols.common.encoding import to_json, to_json_lines
from quartapp.protocols.native.formats import encode_text
from quartapp.protocols.native.whole import merge
from tests.support.endpoints import Client, Log, Reply, chunk, event_stream
from tests.support.loopback import CHUNKED_HEAD, Exchange, Loopback, http_chunk, reply
from tests.support.wire_formats import CHUNKS, COMPLETION, FORMATS, JSON, NDJSON, SSE, TEXT, UI, Format

Json = dict[str, Any]

SECRET = "sk-a1b2c3é4"
WORDS = f"the key is {SECRET}, and no more."
SAFE = "the key is ***, and no more."
#: The arguments of a call, with the secret in a value, in a key, and behind escapes.
ARGUMENTS = json.dumps({"text": WORDS, SECRET: 1}, ensure_ascii=False)
ESCAPED = '{"text": "the key is \\u0073k\\u002da1b2c3\\u00e94, and no more."}'

KINDS = ("content", "reasoning_content", "refusal")

each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def redact(text: str, principal: Any) -> str:
    return re.sub(r"sk-\w{1,20}", "***", text)


def splits(text: str) -> Iterator[list[str]]:
    """Yield the text in characters, and in two pieces for each place inside of the secret."""
    yield [*text]
    start = text.index(SECRET) if SECRET in text else 0
    for place in range(start, start + len(SECRET)):
        yield [text[:place], text[place:]]


def deltas() -> Iterator[list[Json]]:
    """Yield the deltas of answers that contain the secret in each kind of content, split at every place."""
    for pieces in splits(WORDS):
        texts = [{name: piece} for name in KINDS for piece in pieces]
        yield [*texts, *calls(splits(ARGUMENTS)), {"content": "!"}]
    yield [{name: character} for character in WORDS for name in KINDS]
    yield [*calls([[*ESCAPED], *([ESCAPED[:place], ESCAPED[place:]] for place in range(22, 48))])]
    details = [{"reasoning_details": [{"type": "reasoning.text", "text": piece}]} for piece in WORDS]
    yield [*details, {"content": "ok"}]
    yield [{"content": "ok", "extra_content": {"note": WORDS}}]
    source = {"type": "url_citation", "url_citation": {"url": f"https://example.org/{SECRET}", "title": WORDS}}
    yield [{"content": "ok", "annotations": [source]}]
    yield [{"content": "ok", "images": [{"type": "image_url", "image_url": {"url": f"https://example.org/{SECRET}"}}]}]


def calls(arguments: Iterable[list[str]]) -> Iterator[Json]:
    """Yield the fragments of a call for each of `arguments`."""
    for index, pieces in enumerate(arguments):
        for number, piece in enumerate(pieces):
            head: Json = {} if number else {"id": f"c-{index}", "type": "function"}
            function = {"arguments": piece} if number else {"name": "find", "arguments": piece}
            yield {"tool_calls": [{"index": index, **head, "function": function}]}


def body_of(each: Iterable[Json], choices: int = 1) -> bytes:
    """Return the body of an answer with these deltas in each choice."""
    indexes = range(choices)
    chunks = [chunk(choices=[choice(index, delta)]) for delta in each for index in indexes]
    ends = [chunk(choices=[choice(index, {}, "stop")]) for index in indexes]
    return event_stream(
        *chunks, *ends, chunk(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    )


def choice(index: int, delta: Json, reason: str | None = None) -> Json:
    return {"index": index, "delta": delta, "finish_reason": reason, "logprobs": {"content": [{"token": "t"}]}}


def texts_in(documents: Iterable[Any]) -> dict[str, str]:
    """Return the strings of all documents by their place, joined as clients join them."""
    found: dict[str, str] = {}
    for document in documents:
        for place, text in _texts(document, ""):
            found[place] = found.get(place, "") + text
    return found


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
        yield from _decoded(value, place)
    elif isinstance(value, dict):
        kind = value.get("type", "")
        for name, each in value.items():
            yield f"{place} keys", f" {name}"
            yield from _texts(each, f"{place}/{kind}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            index = each.get("index", number) if isinstance(each, dict) else number
            yield from _texts(each, f"{place}[{index}]")


def _decoded(text: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield the strings of JSON in a string, for example of arguments."""
    if text[:1] in ("{", "["):
        yield from _texts(json.loads(text), f"{place}: ")


def documents_of(form: Format, reply: Reply) -> list[Any]:
    if form is TEXT:
        return [reply.body.decode()]
    if form is NDJSON:
        return reply.records
    return reply.data if form.is_streamed else [reply.json]


@asynccontextmanager
async def serving(upstream: Loopback, function: Any = redact, **settings: Any) -> AsyncIterator[Client]:
    """A host app with a chat whose model is the server's, behind the filter `function`."""
    host = Quart("host", static_folder=None)
    chat = Chat(host, url_prefix="/ai", openai_base_url=upstream.base_url, model="ours", max_choices=2, **settings)
    chat.filter(function)
    async with host.test_app():
        yield Client(host)


async def ask(client: Client, form: Format, **fields: Any) -> Reply:
    client.path = f"/ai{form.path}"
    question = form.document("hi", "ours") | fields
    if form.method == "GET":
        return await client.get(question, Accept=form.accept)
    return await client.ask(question, Accept=form.accept)


@each_format
async def test_a_secret_is_replaced_wherever_it_is_split(form: Format) -> None:
    seen: set[str] = set()
    async with Loopback(reply()) as upstream, serving(upstream) as client:
        for each in deltas():
            upstream.answer = reply(body=body_of(each))
            response = await ask(client, form)
            assert response.status == 200, response.body
            assert form.ending(response.body) in ("done", None)
            texts = texts_in(documents_of(form, response))
            assert [place for place, text in texts.items() if SECRET in text or "a1b2c3" in text] == []
            seen |= {place for place, text in texts.items() if SAFE in text}
    assert len(seen) >= (1 if form is TEXT else 4)


# -- any split, without a server


ENCODERS: dict[str, Any] = {
    "text": lambda events: [encode_text(events).decode()],
    "NDJSON": lambda events: [json.loads(line) for line in to_json_lines(events).splitlines()],
    "JSON": lambda events: [json.loads(to_json(merge(events)))],
    "chunks": lambda events: sent_data(ChunkEncoder(0, include_usage=True).encode(events)),
    "UI stream": lambda events: sent_data(PartEncoder().encode(events)),
}


def sent_data(body: bytes) -> list[Any]:
    return Reply(200, {}, body).data


@st.composite
def events(draw: st.DrawFn) -> list[list[Any]]:
    """Return the reads of an answer with the secret in text, reasoning and arguments, interleaved in any way."""
    kinds = (Delta, Reasoning, lambda piece: ToolCall(0, "c-1", "find", piece))
    rest: list[tuple[Any, str]] = [*zip(kinds, (WORDS, WORDS, ESCAPED), strict=True)]
    pieces: list[Any] = []
    while rest:
        number = draw(st.integers(0, len(rest) - 1))
        kind, text = rest[number]
        size = draw(st.integers(1, 30))
        pieces.append(kind(text[:size]))
        rest[number] = (kind, text[size:])
        rest = [each for each in rest if each[1]]
        if draw(st.booleans()):
            pieces.append(Annotation("url_citation", f"https://example.org/{len(pieces)}"))
    places = sorted(draw(st.sets(st.integers(1, len(pieces)))) | {0, len(pieces)})
    return [pieces[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
@given(reads=events(), window=st.integers(len(SECRET), 40))
def test_no_split_passes_the_filter(encode: Any, reads: list[list[Any]], window: int) -> None:
    async def model() -> AsyncGenerator[Batch, None]:
        for pieces in reads:
            yield Batch(0, pieces)
        yield Batch(0, finish_reason="stop", ended=True)

    async def sent() -> list[Any]:
        stream = filtered(model, [OutputFilter(redact, window)], None)
        return [piece async for batch in stream() for piece in batch.pieces]

    texts = texts_in(encode([Start("1", "m"), *asyncio.run(sent()), Done("stop")]))
    assert [place for place, text in texts.items() if SECRET in text or "a1b2c3é4" in text] == []


@pytest.mark.parametrize("form", [CHUNKS, COMPLETION], ids=lambda form: form.name)
async def test_a_secret_is_replaced_in_each_choice(form: Format) -> None:
    async with Loopback(reply()) as upstream, serving(upstream) as client:
        for each in deltas():
            upstream.answer = reply(body=body_of(each, choices=2))
            response = await ask(client, form, n=2)
            texts = texts_in(documents_of(form, response))
            assert [place for place, text in texts.items() if SECRET in text or "a1b2c3" in text] == []
        upstream.answer = reply(body=body_of([{"content": character} for character in WORDS], choices=2))
        texts = texts_in(documents_of(form, await ask(client, form, n=2)))
        assert [text for text in texts.values() if SAFE in text] == [SAFE, SAFE]


@each_format
async def test_a_secret_in_a_body_that_arrives_in_single_bytes_is_replaced(form: Format) -> None:
    body = body_of([{"content": WORDS}])

    async def answer(exchange: Exchange) -> None:
        await exchange.send(CHUNKED_HEAD)
        for place in range(len(body)):
            await exchange.send(http_chunk(body[place : place + 1]))
        await exchange.send(http_chunk(b""))

    async with Loopback(answer) as upstream, serving(upstream) as client:
        texts = texts_in(documents_of(form, await ask(client, form))).values()
    assert [text for text in texts if SAFE in text] == [SAFE]


@pytest.mark.parametrize("form", [NDJSON, SSE, CHUNKS, UI], ids=lambda form: form.name)
async def test_a_secret_at_the_end_of_a_truncated_answer_is_replaced(form: Format) -> None:
    text = WORDS.removesuffix(", and no more.")
    body = event_stream(*(chunk({"content": character}) for character in text), done=False)
    async with Loopback(reply(body=body)) as upstream, serving(upstream) as client:
        response = await ask(client, form)
    assert form.ending(response.body) == "upstream_truncated"
    assert "the key is ***" in texts_in(documents_of(form, response)).values()


# -- a filter that ends the answer


def refuse(text: str, principal: Any) -> str:
    if "sk-" in text:
        raise ChatError("brand_unsafe", message="This answer was stopped.", status=422)
    return text


def code_of(form: Format, reply: Reply) -> str:
    """Return the code of a refusal, or its sentence in the format without codes."""
    return str(reply.json["error"]["code"]) if form is not UI else reply.body.decode()


@each_format
async def test_a_filter_ends_an_answer_with_a_code_of_its_own(form: Format, caplog: pytest.LogCaptureFixture) -> None:
    log = Log(caplog)
    async with Loopback(reply(body=body_of([{"content": WORDS}]))) as upstream, serving(upstream, refuse) as client:
        response = await ask(client, form)
    assert response.status == (400 if form in (CHUNKS, COMPLETION) else 422)
    assert code_of(form, response) == ("This answer was stopped." if form is UI else "brand_unsafe")
    assert b"key" not in response.body
    assert [line["ending"] for word, line in log.lines if word == "answer"] == ["brand_unsafe"]


@pytest.mark.parametrize("form", [NDJSON, SSE, CHUNKS, UI], ids=lambda form: form.name)
async def test_an_answer_that_has_begun_ends_with_the_code(form: Format) -> None:
    host = Quart("host", static_folder=None)
    chat = Chat(host, url_prefix="/ai", model="ours")
    chat.filter(refuse)

    @chat.model("ours")
    async def ours(request: ChatRequest) -> AsyncIterator[str]:
        yield "The sky is blue. " * 20
        yield WORDS

    async with host.test_app():
        response = await ask(Client(host), form)
    assert response.status == 200
    assert b"The sky is blue." in response.body
    assert b"key" not in response.body
    end = documents_of(form, response)
    if form is UI:
        assert end[-2:] == [
            {"type": "error", "errorText": "This answer was stopped."},
            {"type": "finish", "finishReason": "error"},
        ]
    elif form is CHUNKS:
        error = {
            "message": "This answer was stopped.",
            "type": "invalid_request_error",
            "param": None,
            "code": "brand_unsafe",
        }
        assert end[-1] == {"error": error}
        assert not response.is_done
    else:
        assert (end[-1]["type"], end[-1]["code"], end[-1]["message"]) == (
            "error",
            "brand_unsafe",
            "This answer was stopped.",
        )


@each_format
async def test_a_filter_that_crashes_shows_nothing(form: Format, caplog: pytest.LogCaptureFixture) -> None:
    def crash(text: str, principal: Any) -> str:
        raise LookupError("a fault in the project")

    async with Loopback(reply(body=body_of([{"content": WORDS}]))) as upstream, serving(upstream, crash) as client:
        response = await ask(client, form)
    assert response.status == 500
    assert b"key is" not in response.body
    assert "LookupError: a fault in the project" in caplog.text


async def test_a_filter_gets_the_principal() -> None:
    host = Quart("host", static_folder=None)
    chat = Chat(host, url_prefix="/ai", mock_tokens_per_s=0)
    chat.authenticate(lambda request: Principal("ann", plan="free"))
    chat.filter(lambda text, principal: text.replace("2", principal.plan))
    async with host.test_app():
        assert (await Client(host, "/ai/api/stream").ask({"message": "count to 3"})).body == b"1 free 3"


async def test_a_report_contains_what_the_client_got() -> None:
    host = Quart("host", static_folder=None)
    chat = Chat(host, url_prefix="/ai", mock_tokens_per_s=0)
    chat.filter(lambda text, principal: text.replace("2", "two"))
    reports: list[Any] = []
    chat.on_answer(reports.append)
    async with host.test_app():
        for form in (JSON, COMPLETION):
            await Client(host, f"/ai{form.path}").ask(form.document("count to 3", "mock"))
    assert [report.text for report in reports] == ["1 two 3", "1 two 3"]


async def test_code_of_the_project_gets_filtered_answers() -> None:
    host = Quart("host", static_folder=None)
    chat = Chat(host, url_prefix="/ai", mock_tokens_per_s=0)
    chat.filter(lambda text, principal: text.replace("2", "two"))
    async with host.test_app(), host.app_context():
        events = [event async for event in chat.stream("count to 3")]
        assert "".join(getattr(event, "text", "") for event in events) == "1 two 3"
        chat.filter(refuse)
        with pytest.raises(ChatError) as raised:
            _ = [event async for event in chat.stream("repeat sk-abc")]
    assert (raised.value.code, raised.value.status, raised.value.message) == (
        "brand_unsafe",
        422,
        "This answer was stopped.",
    )


def test_a_flask_project_under_wsgi_filters_answers() -> None:
    app = Flask("project", static_folder=None)
    chat = Chat(app, url_prefix="/ai", mock_tokens_per_s=0)
    chat.filter(lambda text, principal: text.replace("2", "two"))
    try:
        client = app.test_client()
        assert client.post("/ai/api/stream", json={"message": "count to 3"}).text == "1 two 3"
        chat.filter(refuse)
        response = client.post("/ai/api/chat", json={"message": "repeat sk-abc"})
        assert (response.status_code, response.get_json()["error"]["code"]) == (422, "brand_unsafe")
    finally:
        close_background_loop()
