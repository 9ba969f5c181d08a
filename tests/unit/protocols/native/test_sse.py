"""Server-sent events, by POST and for an `EventSource` by GET, and the GETs that must not reach a model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Request

from quartapp import create_app
from quartapp.core.events import Batch, Delta, Piece, Reasoning, Refusal, ToolCall
from tests.support.endpoints import (
    FAST,
    ID,
    PROMPT,
    Client,
    Log,
    OwnModel,
    Silent,
    chunk,
    event_stream,
    offered_by,
    serving,
)

SSE = {"Accept": "text/event-stream"}
CHAT = "/ai/api/chat"
EACH_ROUTE = pytest.mark.parametrize("path", ["/ai/api/stream", CHAT])


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


# -- the events


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_first_event_has_an_id_and_the_last_a_name(client: Client, method: str) -> None:
    reply = await (client.get() if method == "GET" else client.ask(**SSE))
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert reply.body.startswith(b"id: 0\nevent: start\ndata: {")
    start, *deltas, end = reply.events
    assert json.loads(start["data"]) == {"type": "start", "id": reply.headers["X-Request-ID"], "model": "mock"}
    assert [event.keys() for event in deltas] == [{"data"}] * len(deltas)
    assert "".join(json.loads(event["data"])["text"] for event in deltas) == "1 2 3"
    assert (list(end), end["event"]) == (["event", "data"], "end")
    assert json.loads(end["data"])["type"] == "done"


async def test_an_event_carries_the_record_that_ndjson_has() -> None:
    pieces: list[Piece] = [Reasoning("hm\n\n"), Delta("a\r\nb\u2028c"), ToolCall(0, "c1", "f", "{}"), Refusal("no")]
    batch = Batch(1, pieces, finish_reason="stop", ended=True)
    async with serving(models={"own": OwnModel(batch)}) as client:
        events = (await client.ask(**SSE)).data
        records = (await client.ask(Accept="application/x-ndjson")).records
    assert events[1:] == records[1:]
    assert [record["type"] for record in events[1:-1]] == ["reasoning", "delta", "tool_call", "refusal"]


@pytest.mark.parametrize("text", ["data: [DONE]\n\n", "event: end\nid: 1\n\n", "\r\r", ": x", "\ufeff", "\x00", "\n"])
async def test_text_of_a_model_is_never_an_event_of_the_stream(client: Client, text: str) -> None:
    reply = await client.ask({"message": text, "model": "mock-echo"}, **SSE)
    start, *deltas, end = reply.events
    assert (start["event"], end["event"]) == ("start", "end")
    assert "".join(json.loads(event["data"])["text"] for event in deltas) == text


async def test_a_failure_after_tokens_is_the_end(client: Client, log: Log) -> None:
    reply = await client.get({"message": PROMPT, "model": "fault-no-finish:2"})
    *_, end = reply.events
    assert (reply.status, end["event"]) == (200, "end")
    record = json.loads(end["data"])
    assert (record["type"], record["code"], record["id"]) == ("error", "upstream_truncated", log.only["id"])


async def test_after_the_status_timeout_a_stream_opens_and_a_ping_is_a_named_event() -> None:
    async with (
        Silent(event_stream(chunk({"content": "hi"}), chunk(finish_reason="stop"))) as upstream,
        serving(CHAT_STATUS_TIMEOUT_S=0.01, **offered_by(upstream)) as client,
        client.asking(**SSE) as connection,
    ):
        opened = await connection.receive()
        assert connection.status_code == 200
        upstream.release.set()
        rest = b"".join([data async for data in received(connection)])
    assert opened.startswith(b"id: 0\nevent: start\n")
    assert opened.endswith(b'}\n\nevent: ping\ndata: {"type":"ping"}\n\n')
    assert b'data: {"type":"delta","text":"hi"}\n\n' in rest


async def received(connection: Any) -> AsyncIterator[bytes]:
    """Return the bytes on `connection`, up to the empty body that ends a response."""
    while data := await connection.receive():
        yield data


# -- by GET


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "text/event-stream"),
        ("text/*", "text/event-stream"),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", "text/event-stream"),
        ("text/plain", "text/plain"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json", "application/json"),
        ("text/plain, text/event-stream;q=0.9", "text/plain"),
    ],
)
async def test_accept_counts_for_get_too(client: Client, accept: str, media_type: str) -> None:
    reply = await client.get(Accept=accept)
    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, media_type)
    assert b"3" in reply.body


async def test_an_unknown_format_is_refused_with_the_list_of_formats(client: Client) -> None:
    reply = await client.get(Accept="image/png")
    assert reply.error["code"] == "not_acceptable"
    assert reply.headers["X-Offered"] == "text/plain, application/x-ndjson, text/event-stream, application/json"


@EACH_ROUTE
@pytest.mark.parametrize(
    ("query", "path_at_fault"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": ["a", "b"]}, "message"),
        ({"message": "a", "model": ["b", "c"]}, "model"),
        ({"message": "a", "temperature": "1"}, "temperature"),
        ({"message": "a", "token": "canary"}, "token"),
        ({"message": "a", "x": ["1", "2"]}, ""),
    ],
)
async def test_a_query_holds_a_message_and_perhaps_a_model_once(
    client: Client, path: str, query: dict[str, Any], path_at_fault: str
) -> None:
    client.path = path
    reply = await client.get(query)
    assert (reply.error["code"], reply.error["path"]) == ("invalid_request", path_at_fault)
    assert "canary" not in reply.body.decode()


async def test_a_query_is_limited_as_a_body_is() -> None:
    async with serving(CHAT_MAX_PROMPT_CHARS=5) as client:
        assert (await client.get({"message": "12345", "model": "mock-echo"})).status == 200
        assert (await client.get({"message": "123456"})).error["code"] == "too_large"


async def test_invalid_utf_8_in_a_query_is_unchanged(client: Client) -> None:
    reply = await client.send(path=f"{client.path}?message=a%FFb&model=mock-echo", method="GET", headers=SSE)
    assert json.loads(reply.events[1]["data"])["text"] == "a%FFb"


# -- reconnects


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_reconnect_after_the_end_gets_204_and_calls_no_model(client: Client, log: Log, method: str) -> None:
    headers = {"Last-Event-ID": "0", **SSE}
    reply = await (client.get(**headers) if method == "GET" else client.ask(**headers))
    assert (reply.status, reply.body, log.lines) == (204, b"", [])


# -- requests without a user's intention


@EACH_ROUTE
async def test_head_is_refused(client: Client, log: Log, path: str) -> None:
    reply = await client.send(path=f"{path}?message=hi", method="HEAD")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, POST, OPTIONS")
    assert [word for word, _ in log.lines] == ["refused"]


BOTH = {"Accept": "text/event-stream, application/json;q=0.5"}

UNWANTED = [
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://front.example.evil.example"},
]


@EACH_ROUTE
@pytest.mark.parametrize("headers", UNWANTED)
async def test_a_cross_site_get_or_a_prefetch_is_refused_and_calls_no_model(
    log: Log, path: str, headers: dict[str, str]
) -> None:
    async with serving(path=path, CHAT_ORIGINS="https://front.example") as client:
        assert (await client.get(**headers)).error["code"] == "forbidden"
    assert log.only["error"] == "forbidden"


BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NO_FORMAT = {
    "an image": {"Accept": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"},
    "a script": {"Accept": "*/*"},
    "a style sheet": {"Accept": "text/css,*/*;q=0.1"},
    "a frame, a form, a link": {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    "nothing": {},
    "a format that is not wanted": {"Accept": "text/event-stream;q=0, application/json;q=0, */*"},
}
FOREIGN = {
    "a foreign origin": {"Origin": "http://evil.example", **BOTH},
    "another port": {"Origin": "http://localhost:81", **BOTH},
    "a sandboxed frame": {"Origin": "null", **BOTH},
    "a foreign page": {"Referer": "http://evil.example/page?http://localhost/", **BOTH},
    "a page with our name in its user": {"Referer": "http://localhost@evil.example/", **BOTH},
    "a browser that shows no page": {"User-Agent": BROWSER, **BOTH},
    "a browser that shows no page, only a purpose": {"User-Agent": BROWSER, "Sec-Fetch-Dest": "empty", **BOTH},
    "an image by its headers": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "image", **BOTH},
    "a frame by its headers": {"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document", **BOTH},
}


@EACH_ROUTE
@pytest.mark.parametrize("name", NO_FORMAT | FOREIGN)
async def test_a_get_without_the_header_of_a_script_is_refused_and_calls_no_model(
    log: Log, path: str, name: str
) -> None:
    code = "not_acceptable" if name in NO_FORMAT else "forbidden"
    async with serving(path=path, CHAT_ORIGINS="https://front.example") as client:
        headers = (NO_FORMAT | FOREIGN)[name]
        reply = await client.send(path=f"{path}?message=hi", method="GET", headers=headers)
        assert reply.error["code"] == code
    assert log.only["error"] == code


@EACH_ROUTE
async def test_a_get_without_a_format_is_refused_with_the_header_to_send(path: str) -> None:
    async with serving(path=path) as client:
        reply = await client.send(path=f"{path}?message=hi", method="GET", headers={"Accept": "*/*"})
        assert (reply.error["code"], reply.error["path"]) == ("not_acceptable", "Accept")
        assert "application/json" in reply.headers["X-Offered"]


@EACH_ROUTE
async def test_a_browser_without_a_page_is_refused_with_the_missing_header(path: str) -> None:
    async with serving(path=path) as client:
        reply = await client.send(path=f"{path}?message=hi", method="GET", headers={"User-Agent": BROWSER, **BOTH})
        assert (reply.error["code"], reply.error["path"]) == ("forbidden", "Referer")


@EACH_ROUTE
@pytest.mark.parametrize(
    "headers",
    [
        BOTH,
        {"Referer": "http://localhost/page", **BOTH},
        {"Origin": "http://localhost", "Host": "localhost", **BOTH},
        {"User-Agent": "curl/8.14.1", **BOTH},
        {"User-Agent": BROWSER, "Referer": "http://localhost/page", **BOTH},
        {"User-Agent": BROWSER, "Origin": "https://front.example", **BOTH},
        {"User-Agent": BROWSER, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"},
        {"Referer": "http://chat.example:8080/", "Host": "chat.example:8080", **BOTH},
        {"Referer": "https://chat.example/", "Host": "inner:8000", "X-Forwarded-Host": "chat.example", **BOTH},
        {"Referer": "https://front.example/", "Origin": "https://front.example", **BOTH},
        {"Accept": "*/*", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_get_with_the_header_of_a_script_is_answered_without_fetch_headers(
    path: str, headers: dict[str, str]
) -> None:
    async with serving(path=path, CHAT_ORIGINS="https://front.example") as client:
        reply = await client.send(path=f"{path}?message=hi", method="GET", headers=headers)
        assert reply.status == 200


@EACH_ROUTE
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://front.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://front.example"},
    ],
)
async def test_a_get_from_the_same_or_an_allowed_origin_is_answered(path: str, headers: dict[str, str]) -> None:
    async with serving(path=path, CHAT_ORIGINS="https://front.example") as client:
        assert (await client.get(**headers)).status == 200


async def test_refusals_of_a_get_come_in_the_order_of_the_contract() -> None:
    headers = {"Sec-Purpose": "prefetch", "Accept": "image/png", "Last-Event-ID": "0"}

    def authenticate(request: Request) -> str | None:
        return request.headers.get("X-Auth")

    async with serving(authenticate=authenticate) as client:
        for code, absent in (("forbidden", "Sec-Purpose"), ("not_acceptable", "Accept")):
            assert (await client.get({}, **headers)).error["code"] == code
            del headers[absent]
        assert (await client.get({}, **headers)).status == 204
        assert (await client.get({})).error["code"] == "unauthorized"
        assert (await client.get({}, **{"X-Auth": "ann"})).error["code"] == "invalid_request"
        unknown = {"message": "hi", "model": "nope"}
        assert (await client.get(unknown, **{"X-Auth": "ann"})).error["code"] == "model_not_found"


# -- the log


@EACH_ROUTE
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({"message": PROMPT}, {}),
        ({"message": PROMPT, "model": "fault-drop:1"}, {}),
        ({"message": PROMPT, "model": "nope"}, {}),
        ({"message": PROMPT, "x": "y"}, {}),
        ({"message": PROMPT}, {"Sec-Purpose": "prefetch"}),
        ({"message": PROMPT}, {"Accept": "image/png"}),
    ],
)
async def test_no_log_line_contains_the_query(
    log: Log, path: str, query: dict[str, str], headers: dict[str, str]
) -> None:
    async with serving(path=path) as client:
        await client.get(query, **headers)
    assert len(log.lines) == 1
    assert "canary-prompt" not in log.text
    assert "message=" not in log.text


async def test_a_crash_under_get_is_logged_without_the_query(log: Log) -> None:
    async with serving(models={"own": OwnModel(ValueError("x"))}) as client:
        assert (await client.get()).error["code"] == "internal_error"
    assert log.only["causes"] == ["ValueError"]
    assert "canary-prompt" not in log.text


async def test_an_app_of_its_own_answers_a_get_too(log: Log) -> None:
    app = create_app(FAST)
    async with app.test_app():
        reply = await Client(app, "/api/stream").get()
    assert ID.fullmatch(reply.headers["X-Request-ID"])
    assert reply.events[-1]["event"] == "end"
    assert "canary-prompt" not in log.text
