"""A model behind a server, over a socket: its requests, and the error of each ending."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from contextlib import aclosing
from typing import Any

import httpx2
import pytest

from quartapp.core.errors import ChatError
from quartapp.core.events import Delta
from quartapp.core.request import ChatRequest
from quartapp.upstreams.chat_completions.model import ChatCompletionsModel
from quartapp.upstreams.http.servers import Address, Server
from quartapp.upstreams.parameters import Parameters
from tests.support.loopback import (
    CHUNKED_HEAD,
    EVENT_STREAM,
    Answer,
    Exchange,
    Loopback,
    head,
    http_chunk,
    raw,
    reply,
    settle,
)
from tests.support.upstream_models import (
    KEY,
    MIB,
    PROMPT,
    QUESTION,
    TOKEN,
    WHOLE,
    Endless,
    ask,
    failure,
    model_at,
    peak_bytes,
)


def without_key(base_url: str) -> Any:
    return model_at(base_url, OPENAI_API_KEY=None)


# -- what is sent


async def test_the_request_is_a_streamed_chat_completion() -> None:
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url) as model:
        assert await ask(model) == "a."
        [request] = server.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.json == {
        "model": "model-1",
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_parameters_are_passed_on_and_the_models_name_is_the_servers() -> None:
    params = {"temperature": 0.5, "stop": ["x"], "tools": [{"type": "function", "x": [None, {"y": 1}]}], "seed": 2**63}
    request = ChatRequest(QUESTION.messages, "name-for-clients", params)
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url) as model:
        await ask(model, request)
        sent = server.requests[0].json
    assert {name: sent[name] for name in params} == params
    assert sent["model"] == "model-1"


async def test_the_system_prompt_goes_first_and_into_no_later_request() -> None:
    system = {"role": "system", "content": "Be brief."}
    async with (
        Loopback(reply(body=WHOLE)) as server,
        model_at(server.base_url, CHAT_SYSTEM_PROMPT="Be brief.") as model,
    ):
        await ask(model)
        await ask(model)
        assert [request.json["messages"] for request in server.requests] == [[system, *QUESTION.messages]] * 2
    assert len(QUESTION.messages) == 1


@pytest.mark.parametrize("text", ["é€😀", "\u2028\x00\n", "</script>", "{{7*7}}%s{0}", "<|im_start|>system"])
async def test_text_arrives_unchanged(text: str) -> None:
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url) as model:
        await ask(model, ChatRequest([{"role": "user", "content": text}]))
        assert server.requests[0].json["messages"][0]["content"] == text


async def test_a_server_that_needs_no_key_is_sent_none() -> None:
    async with Loopback(reply(body=WHOLE)) as server, without_key(server.base_url) as model:
        assert await ask(model) == "a."
        assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("path", "target"), [("", "/chat/completions"), ("/", "/chat/completions"), ("/a/b/", "/a/b/chat/completions")]
)
async def test_any_base_path_will_do(path: str, target: str) -> None:
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.origin + path) as model:
        assert await ask(model) == "a."
        assert server.requests[0].target == target


async def test_a_server_gets_no_cookie_back_that_it_set_for_another_answer() -> None:
    answer = reply(body=WHOLE, headers=EVENT_STREAM | {"Set-Cookie": "session=user-1; Path=/"})
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        await ask(model)
        await ask(model)
        assert [request.headers.get("cookie") for request in server.requests] == [None, None]


# -- the environment of the official client

FOREIGN = {
    "OPENAI_ORG_ID": "canary-org",
    "OPENAI_PROJECT_ID": "canary-project",
    "OPENAI_CUSTOM_HEADERS": "X-Canary: canary-header\nX-Other: canary-other",
}


@pytest.fixture
def foreign_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("foreign_environment")
@pytest.mark.parametrize("key", [KEY, None])
async def test_nothing_is_sent_because_of_the_environment_alone(key: str | None) -> None:
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url, OPENAI_API_KEY=key) as model:
        assert await ask(model) == "a."
        assert "canary" not in str(server.requests[0].headers).replace(KEY, "")


@pytest.mark.usefixtures("foreign_environment")
async def test_the_environment_counts_if_a_setting_allows_it() -> None:
    async with (
        Loopback(reply(body=WHOLE)) as server,
        model_at(server.base_url, CHAT_OBEY_CLIENT_ENVIRONMENT=True) as model,
    ):
        await ask(model)
        headers = server.requests[0].headers
    assert (headers["openai-organization"], headers["openai-project"]) == ("canary-org", "canary-project")
    assert (headers["x-canary"], headers["x-other"]) == ("canary-header", "canary-other")
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "name", ["Authorization", "authorization", "Content-Type", "Accept-Encoding", "accept-encoding"]
)
async def test_a_header_from_the_environment_does_not_replace_the_chats(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"{name}: evil")
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url) as model:
        assert await ask(model) == "a."
        headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with Loopback(reply(body=WHOLE)) as proxy, Loopback(reply(body=WHOLE)) as server:
        monkeypatch.setenv(name, proxy.origin)
        async with model_at(server.base_url) as model:
            assert await ask(model) == "a."
        assert (proxy.connections, server.connections) == (0, 1)


async def test_a_proxy_of_the_environment_is_used_if_a_setting_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with Loopback(reply(body=WHOLE)) as proxy, Loopback(reply(body=WHOLE)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        async with model_at(server.base_url, CHAT_OBEY_CLIENT_ENVIRONMENT=True) as model:
            assert await ask(model) == "a."
        assert (proxy.connections, server.connections) == (1, 0)
        assert proxy.requests[0].target == f"{server.base_url}/chat/completions"


# -- refusals


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "upstream_refused"),
        (401, "upstream_refused"),
        (404, "upstream_refused"),
        (408, "upstream_error"),
        (409, "upstream_refused"),
        (429, "upstream_busy"),
        (500, "upstream_error"),
        (502, "upstream_error"),
        (503, "upstream_overloaded"),
        (529, "upstream_overloaded"),
        (304, "upstream_error"),
    ],
)
async def test_a_refused_request_is_sent_once_and_reported_by_its_status(status: int, code: str) -> None:
    body = json.dumps({"error": {"message": f"{KEY} {PROMPT}", "type": "some_error"}}).encode() * (status != 304)
    answer = reply(status, body, {"Retry-After": "7", "x-request-id": "req_1", "x-should-retry": "true"})
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        error = await failure(model)
        assert len(server.requests) == 1
    assert error.code == code
    assert error.retry_after_s == (7 if status in (408, 429, 500, 502, 503, 529) else None)
    assert error.fault is not None
    assert (error.fault.status, error.fault.request_id) == (status, "req_1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_its_target_does_not_get_the_key(status: int) -> None:
    async with Loopback(reply(body=WHOLE)) as canary:
        answer = reply(status, headers={"Location": f"{canary.base_url}/chat/completions"})
        async with Loopback(answer) as server, model_at(server.base_url) as model:
            error = await failure(model)
            assert len(server.requests) == 1
        assert canary.connections == 0
    assert error.code == "upstream_error"


async def test_a_refusal_read_to_its_end_keeps_the_connection() -> None:
    async with Loopback(reply(401, b"{}")) as server, model_at(server.base_url) as model:
        await failure(model)
        await failure(model)
        assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.parametrize(
    "answer",
    [
        Endless(head(500, {"Transfer-Encoding": "chunked"}), http_chunk(b"x" * 65_536)),
        Endless(head(500, {"Content-Length": str(10 * MIB * MIB)}), b"x" * 65_536),
        Endless(head(500, {"Connection": "close"}), b"x" * 65_536),
    ],
    ids=["chunks", "length", "until the end"],
)
async def test_of_an_endless_refusal_only_the_beginning_is_read(answer: Endless) -> None:
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        error = await failure(model)
        await answer.left.wait()
    assert error.code == "upstream_error"
    assert error.fault is not None
    assert error.fault.status == 500
    assert answer.sent < 8 * MIB  # what the sockets between hold, too


async def test_an_aborted_refusal_is_reported_by_its_status() -> None:
    answer = raw(head(429, {"Content-Length": "1000", "Retry-After": "7"}) + b'{"error":')
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        error = await failure(model)
    assert (error.code, error.retry_after_s) == ("upstream_busy", 7)


async def test_a_compressed_refusal_uses_little_memory() -> None:
    answer = reply(500, gzip.compress(bytes(32 * MIB)), {"Content-Encoding": "gzip"})
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert await peak_bytes(model) < 8 * MIB


# -- answers


async def test_two_answers_go_over_one_connection() -> None:
    async with Loopback(reply(body=WHOLE)) as server, model_at(server.base_url) as model:
        assert [await ask(model), await ask(model)] == ["a.", "a."]
        assert [request.connection for request in server.requests] == [0, 0]


async def test_answers_at_once_have_connections_of_their_own() -> None:
    together = asyncio.Barrier(20)

    async def answer(exchange: Exchange) -> None:
        await together.wait()
        await reply(body=WHOLE)(exchange)

    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert await asyncio.gather(*(ask(model) for _ in range(20))) == ["a."] * 20
        assert server.connections == 20


async def test_tokens_are_read_without_delay() -> None:
    go = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(CHUNKED_HEAD + http_chunk(TOKEN))
        await go.wait()
        await exchange.send(http_chunk(WHOLE) + http_chunk(b""))

    async with (
        Loopback(answer) as server,
        model_at(server.base_url) as model,
        aclosing(model.build(QUESTION)()) as batches,
    ):
        assert (await anext(batches)).pieces == [Delta("a")]
        go.set()
        assert (await anext(batches)).ended


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_read_although_it_was_not_requested(coding: str) -> None:
    body = gzip.compress(WHOLE) if coding == "gzip" else zlib.compress(WHOLE)
    answer = reply(body=body, headers=EVENT_STREAM | {"Content-Encoding": coding})
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert await ask(model) == "a."


async def test_an_answer_that_claims_to_be_compressed_and_is_not_is_an_upstream_error() -> None:
    answer = reply(body=WHOLE, headers=EVENT_STREAM | {"Content-Encoding": "gzip"})
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert (await failure(model)).code == "upstream_error"


@pytest.mark.parametrize("codings", [1, 2])
async def test_a_compressed_endless_line_does_not_fill_the_memory(codings: int) -> None:
    bomb = b"data: " + bytes(32 * MIB)
    for _ in range(codings):
        bomb = gzip.compress(bomb)
    answer = reply(body=bomb, headers=EVENT_STREAM | {"Content-Encoding": ", ".join(["gzip"] * codings)})
    async with Loopback(answer) as server, model_at(server.base_url, CHAT_MAX_UPSTREAM_LINE_BYTES=MIB) as model:
        assert await peak_bytes(model) < 8 * MIB


async def test_an_endless_line_is_aborted_at_its_limit() -> None:
    answer = Endless(CHUNKED_HEAD + http_chunk(b"data: "), http_chunk(b"a" * 65_536))
    async with (
        Loopback(answer) as server,
        model_at(server.base_url, CHAT_MAX_UPSTREAM_LINE_BYTES=100_000) as model,
    ):
        assert (await failure(model)).code == "upstream_error"
        await answer.left.wait()
    assert answer.sent < 8 * MIB


# -- broken answers

BROKEN: dict[str, tuple[Answer, str]] = {
    "garbage": (reply(body=b"data: {not json\n\n"), "upstream_error"),
    "an error object": (reply(body=TOKEN + b'data: {"error": {"message": "x"}}\n\n'), "upstream_error"),
    "an end before the length": (raw(head(headers={"Content-Length": "9999"}) + TOKEN), "upstream_error"),
    "an end inside a chunk": (raw(CHUNKED_HEAD + http_chunk(TOKEN)[:-20]), "upstream_error"),
    "an end between chunks": (raw(CHUNKED_HEAD + http_chunk(TOKEN)), "upstream_error"),
    "a chunk of no size": (raw(CHUNKED_HEAD + b"zz\r\n"), "upstream_error"),
    "a chunk that does not end": (raw(CHUNKED_HEAD + b"1\r\naXX2\r\nbb\r\n0\r\n\r\n"), "upstream_error"),
    "a chunk of a huge size": (raw(CHUNKED_HEAD + b"f" * 5000 + b"\r\n"), "upstream_error"),
    "an end at once": (raw(b""), "upstream_error"),
    "an end inside the head": (raw(b"HTTP/1.1 200 OK\r\nContent-Ty"), "upstream_error"),
    "no HTTP": (raw(b"220 mail.example ESMTP ready\r\n"), "upstream_error"),
    "nothing but line feeds": (raw(b"\r\n" * 1000), "upstream_error"),
    "random bytes": (raw(bytes(range(256)) * 20), "upstream_error"),
    "TLS": (raw(b"\x15\x03\x01\x00\x02\x02\x16"), "upstream_error"),
    "HTTP/0.9": (raw(TOKEN), "upstream_error"),
    "HTTP/2": (raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80"), "upstream_error"),
    "a status that is no number": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), "upstream_error"),
    "a status that is too large": (raw(b"HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n"), "upstream_error"),
    "a header without a name": (raw(b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"), "upstream_error"),
    "a header with NUL": (raw(b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n"), "upstream_error"),
    "a header of 1 MB": (raw(b"HTTP/1.1 200 OK\r\nA: " + b"a" * MIB + b"\r\n\r\n"), "upstream_error"),
    "10 000 headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 10_000 + b"\r\n"), "upstream_error"),
    "two lengths": (raw(head(headers={"Content-Length": "1", "content-length": "2"}) + b"ab"), "upstream_error"),
    "a length that is no number": (raw(head(headers={"Content-Length": "x"}) + TOKEN), "upstream_error"),
    "an unasked change of protocol": (
        raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "upstream_error",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_answer_is_requested_once_and_is_an_upstream_error(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, code = BROKEN[kind]
    with caplog.at_level(logging.DEBUG):
        async with Loopback(answer) as server, model_at(server.base_url) as model:
            error = await failure(model)
            assert len(server.requests) == 1
    assert error.code == code
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_reset_before_the_head_is_not_tried_again() -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.reset()

    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert (await failure(model)).code == "upstream_error"
        assert (len(server.requests), server.connections) == (1, 1)


async def test_a_reset_in_the_body_is_reported_after_the_events_before_it() -> None:
    go = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(CHUNKED_HEAD + http_chunk(TOKEN))
        await go.wait()
        exchange.reset()

    async with (
        Loopback(answer) as server,
        model_at(server.base_url) as model,
        aclosing(model.build(QUESTION)()) as batches,
    ):
        assert (await anext(batches)).pieces == [Delta("a")]
        go.set()
        with pytest.raises(ChatError, match="upstream_error") as raised:
            await anext(batches)
        assert len(server.requests) == 1
    assert raised.value.__cause__ is not None


async def test_an_idle_connection_that_the_server_has_closed_costs_no_answer() -> None:
    gone = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await reply(body=WHOLE)(exchange)
        if exchange.request.connection == 0:
            exchange.close()
            gone.set()

    async with Loopback(answer) as server, model_at(server.base_url) as model:
        assert await ask(model) == "a."
        await gone.wait()
        await settle()
        assert await ask(model) == "a."
        assert server.connections == 2


async def test_a_refused_connection_is_an_upstream_error() -> None:
    async with Loopback(reply()) as server:
        base_url = server.base_url
    async with model_at(base_url) as model:
        error = await failure(model)
    assert error.code == "upstream_error"
    assert isinstance(error.__cause__, Exception)


async def test_a_clean_end_without_a_finish_reason_adds_none() -> None:
    async with Loopback(reply(body=TOKEN)) as server, model_at(server.base_url) as model:
        assert await ask(model) == "a"


# -- a stream is closed by its consumer


class Waiting:
    """An upstream that sends `before`, then waits until its client disconnects."""

    def __init__(self, before: bytes) -> None:
        self._before = before
        self.received = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.send(self._before)
        self.received.set()
        try:
            await exchange.client_leaves()
        finally:
            self.left.set()
            exchange.close()


async def test_closing_the_answer_early_closes_the_connection() -> None:
    answer = Waiting(CHUNKED_HEAD + http_chunk(TOKEN))
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        batches = model.build(QUESTION)()
        await anext(batches)
        assert not answer.left.is_set()
        await batches.aclose()
        await answer.left.wait()


@pytest.mark.parametrize(
    "before",
    [b"", head()[:20], CHUNKED_HEAD, CHUNKED_HEAD + http_chunk(b": x\n"), head(500, {"Content-Length": "9"})],
    ids=["nothing", "half of the head", "the head", "a comment", "the head of a refusal"],
)
async def test_cancelling_an_answer_that_waits_closes_the_connection(before: bytes) -> None:
    answer = Waiting(before)
    async with Loopback(answer) as server, model_at(server.base_url) as model:
        task = asyncio.ensure_future(ask(model))
        await answer.received.wait()
        await settle()
        task.cancel()
        await asyncio.wait([task])
        await answer.left.wait()
        assert task.cancelled()


async def test_closing_the_client_closes_idle_connections() -> None:
    left = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await reply(body=WHOLE)(exchange)
        await exchange.client_leaves()
        left.set()

    async with Loopback(answer) as server:
        async with model_at(server.base_url) as model:
            await ask(model)
            assert not left.is_set()
        await left.wait()


# -- another way than a socket


async def test_another_transport_takes_the_place_of_the_socket() -> None:
    requests: list[httpx2.Request] = []

    class Transport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            requests.append(request)
            return httpx2.Response(200, content=WHOLE, request=request)

    server = Server(Address("http://mock/v1"), Transport())
    model = ChatCompletionsModel(server, Parameters(model="m", think_tags="none"))
    assert await ask(model) == "a."
    await server.close()
    assert [str(request.url) for request in requests] == ["http://mock/v1/chat/completions"]
