"""The route through a test client: what an answer looks like, how refusals look and in which order they come."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from quart import Blueprint, Quart, Request, Response, abort, request

from quartapp import ChatError, chat_blueprint, create_app
from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.events import Batch, Delta
from quartapp.hooks import Authenticate
from tests.support.endpoints import FAST, ID, NDJSON, PROMPT, STREAM, Client, Log, OwnModel, serving
from tests.support.mock_model import FAILS_AFTER_TOKENS

KEY = "canary-7f3a9b1c2d4e5f60"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as client:
        yield client


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


# -- an answer


async def test_text_is_the_answer_and_nothing_else(client: Client) -> None:
    reply = await client.ask()
    assert (reply.status, reply.body) == (200, b"1 2 3")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_ndjson_is_records_from_start_to_done(client: Client) -> None:
    reply = await client.ask(**NDJSON)
    start, *deltas, done = reply.records
    assert reply.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert start == {"type": "start", "id": reply.headers["X-Request-ID"], "model": "mock"}
    assert {delta["type"] for delta in deltas} == {"delta"}
    assert "".join(delta["text"] for delta in deltas) == "1 2 3"
    counts = done["usage"]
    assert done == {"type": "done", "finish_reason": "stop", "usage": counts}
    assert counts["total_tokens"] == counts["input_tokens"] + counts["output_tokens"]


@pytest.mark.parametrize("accept", ["text/plain", "application/x-ndjson", "text/event-stream"])
async def test_an_answer_has_the_headers_of_the_contract(client: Client, accept: str) -> None:
    headers = (await client.ask(Accept=accept)).headers
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ID.fullmatch(headers["X-Request-ID"])
    assert not {"content-encoding", "set-cookie", "server"} & {name.lower() for name, _ in headers.items()}


async def test_a_conversation_is_answered_too(client: Client) -> None:
    turns = [
        {"content": "count to 9"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "count to 2"},
    ]
    assert (await client.ask({"messages": turns, "max_tokens": 100})).body == b"1 2"


async def test_a_parameter_reaches_the_model(client: Client) -> None:
    reply = await client.ask({"message": "count to 9", "max_tokens": 2}, **NDJSON)
    assert reply.records[-1]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "text",
    [
        "é€😀",
        "\n\r\n\u2028\u2029\x85",
        "\x00\x1b[31m",
        '"}\n{"type":"done"}\n',
        "data: [DONE]\n\n",
        "\ufeff",
        "__proto__",
    ],
)
async def test_hostile_text_comes_back_unchanged(client: Client, text: str) -> None:
    question = {"message": text, "model": "mock-echo"}
    assert (await client.ask(question)).body.decode() == text
    records = (await client.ask(question, **NDJSON)).records
    assert [record["type"] for record in (records[0], records[-1])] == ["start", "done"]
    assert "".join(record["text"] for record in records[1:-1]) == text


async def test_reasoning_shows_in_records_only(client: Client) -> None:
    question = {"message": PROMPT, "model": "mock-reasoning"}
    records = (await client.ask(question, **NDJSON)).records
    kinds = [record["type"] for record in records]
    assert kinds.index("reasoning") < kinds.index("delta")
    text = "".join(record["text"] for record in records if record["type"] == "delta")
    assert (await client.ask(question)).body.decode() == text


async def test_a_refusal_of_the_model_shows_in_both(client: Client) -> None:
    question = {"message": PROMPT, "model": "mock-refusal"}
    records = (await client.ask(question, **NDJSON)).records
    text = "".join(record["text"] for record in records if record["type"] == "refusal")
    assert text
    assert (await client.ask(question)).body.decode() == text


async def test_a_tool_call_is_complete_once_its_fragments_are_joined(client: Client) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}]
    question = {"message": PROMPT, "model": "mock-tool-call", "tools": tools}
    records = (await client.ask(question, **NDJSON)).records
    calls = [record for record in records if record["type"] == "tool_call"]
    assert calls[0]["name"] == "weather"
    assert not any("name" in call or "id" in call for call in calls[1:])
    assert isinstance(json.loads("".join(call.get("arguments", "") for call in calls)), dict)
    assert records[-1]["finish_reason"] == "tool_calls"


# -- the format

TEXT, RECORDS, EVENTS, OBJECT = "text/plain", "application/x-ndjson", "text/event-stream", "application/json"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/*", TEXT),
        ("TEXT/Plain", TEXT),
        ("application/*", RECORDS),
        ("application/x-ndjson, text/plain", TEXT),
        ("application/x-ndjson;q=0.5, text/plain;q=0.5", TEXT),
        ("application/x-ndjson, text/plain;q=0.9", RECORDS),
        ("application/x-ndjson;q=0.8, text/plain;q=0.9", TEXT),
        ("text/plain;q=0, */*", RECORDS),
        ("*/*, text/plain;q=0", RECORDS),
        ("text/plain;q=0.1, */*", RECORDS),
        ("text/*;q=0.9, text/plain;q=0.2, application/x-ndjson;q=0.5", EVENTS),
        ("text/event-stream;q=0.4, text/plain;q=0.2, application/x-ndjson;q=0.5", RECORDS),
        ("text/event-stream", EVENTS),
        ("text/event-stream, text/plain", TEXT),
        ("Text/Event-Stream; charset=utf-8", EVENTS),
        ("text/plain;q=0, text/*", EVENTS),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", TEXT),
        ("application/json, text/plain, */*", TEXT),
        ("image/png, application/x-ndjson;q=0.001", RECORDS),
        ("text/plain; charset=utf-8", TEXT),
        ("application/x-ndjson; charset=utf-8", RECORDS),
        ("application/x-ndjson;charset=utf-8;q=0.9, text/plain;q=0.1", RECORDS),
        ("application/json", OBJECT),
        ("application/json;q=0.9, text/plain;q=0.8", OBJECT),
        ("application/json, application/x-ndjson", RECORDS),
        ("application/*, application/x-ndjson;q=0", OBJECT),
        ("text/html", None),
        ("image/*", None),
        ("text/plain;q=0", None),
        ("*/*;q=0", None),
        ("text/plain;q=0, application/x-ndjson;q=0.0, */*;q=0", None),
        ("application/json;q=0", None),
        ("text/event-stream;q=0", None),
        ("ndjson", None),
        ("text", None),
    ],
)
async def test_the_format_is_the_one_that_accept_prefers(client: Client, accept: str, chosen: str | None) -> None:
    reply = await client.ask(Accept=accept)
    if chosen is None:
        assert reply.error["code"] == "not_acceptable"
        assert reply.headers["X-Offered"] == ", ".join((TEXT, RECORDS, EVENTS, OBJECT))
    else:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == (OBJECT if chosen == OBJECT else f"{chosen}; charset=utf-8")


async def test_without_accept_the_format_is_text(client: Client) -> None:
    assert (await client.ask()).headers["Content-Type"] == "text/plain; charset=utf-8"


# -- an answer that fails

REFUSED = {
    "fault-status:400": ("upstream_refused", None),
    "fault-status:401": ("upstream_refused", None),
    "fault-status:429": ("upstream_busy", 7),
    "fault-status:500": ("upstream_error", None),
    "fault-status:503": ("upstream_overloaded", 7),
    "fault-status:529": ("upstream_overloaded", None),
    "fault-html:502": ("upstream_error", None),
    "fault-empty:500": ("upstream_error", None),
    "fault-endless-error": ("upstream_error", None),
    "fault-redirect": ("upstream_error", None),
    "fault-context-too-long": ("context_too_long", None),
    "fault-content-filtered": ("content_filtered", None),
    "fault-error-object:0": ("upstream_error", None),
    "fault-drop:0": ("upstream_error", None),
    "fault-garbage:0": ("upstream_error", None),
    "fault-endless-line": ("upstream_error", None),
    "fault-no-finish:0": ("upstream_truncated", None),
    "fault-no-finish-done:0": ("upstream_truncated", None),
}


@pytest.mark.parametrize("accept", [TEXT, RECORDS, EVENTS, OBJECT])
@pytest.mark.parametrize("model", REFUSED)
async def test_a_failure_before_the_first_event_is_a_true_status(
    client: Client, log: Log, model: str, accept: str
) -> None:
    reply = await client.ask({"message": PROMPT, "model": model}, Accept=accept)
    code, retry_after_s = REFUSED[model]
    assert reply.error["code"] == code
    assert reply.error.get("retry_after_s") == retry_after_s
    assert reply.headers.get("Retry-After") == (None if retry_after_s is None else str(retry_after_s))
    assert "upstream-secret" not in reply.body.decode() + log.text
    assert (log.only["id"], log.only["ending"], log.only["model"]) == (reply.error["id"], code, model)


@pytest.mark.parametrize(("model", "code"), FAILS_AFTER_TOKENS)
async def test_a_failure_after_tokens_is_the_last_record(client: Client, log: Log, model: str, code: str) -> None:
    reply = await client.ask({"message": PROMPT, "model": model}, **NDJSON)
    start, *deltas, last = reply.records
    assert reply.status == 200
    assert "".join(delta["text"] for delta in deltas) == "1 2"
    assert last == {"type": "error", "code": code, "message": KINDS[code].message, "id": start["id"]}
    assert "upstream-secret" not in reply.body.decode() + log.text
    assert (log.only["id"], log.only["ending"]) == (start["id"], code)


async def test_a_crash_of_a_model_in_python_is_an_internal_error(log: Log) -> None:
    async with serving(models={"own": OwnModel(ValueError(f"{KEY} {PROMPT}"))}) as client:
        reply = await client.ask()
    assert reply.error["code"] == "internal_error"
    assert log.only["causes"] == ["ValueError"]
    assert log.only["at"][-1].endswith(" stream")
    assert "canary" not in reply.body.decode()
    assert f"ValueError: {KEY}" in log.text


@pytest.mark.parametrize("accept", [TEXT, RECORDS, EVENTS, OBJECT])
async def test_a_model_in_python_may_split_characters(accept: str) -> None:
    batch = Batch(1, [Delta("a\ud83d")], finish_reason="stop", ended=True)
    async with serving(models={"own": OwnModel(batch)}) as client:
        reply = await client.ask(Accept=accept)
    assert reply.status == 200
    assert "a\ufffd" in reply.body.decode()


# -- refusals and their order


async def test_refusals_come_in_the_order_of_the_contract() -> None:
    document = {"message": PROMPT, "model": "fault-status:429"}
    headers = {"Content-Type": "text/plain", "Accept": "image/png"}
    request_fields: dict[str, Any] = {"path": "/ai/nope", "method": "PUT", "headers": headers, "body": b"x" * 2000}
    steps: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("not_found", {}, {}),
        ("method_not_allowed", {"path": STREAM}, {}),
        ("not_acceptable", {"method": "POST"}, {}),
        ("unauthorized", {}, {"Accept": "application/x-ndjson"}),
        ("unsupported_media_type", {}, {"X-Auth": "token-1"}),
        ("too_large", {}, {"Content-Type": "application/json"}),
        ("bad_request", {"body": b'{"n":1,"model":"nope"'}, {}),
        ("invalid_request", {"body": b'{"n":1,"message":"hi","model":"nope"}'}, {}),
        ("model_not_found", {"body": json.dumps({**document, "model": "nope"}).encode()}, {}),
        ("overloaded", {"body": json.dumps(document).encode()}, {}),
    ]
    async with (
        serving(authenticate=by_token, CHAT_MAX_BODY_BYTES=1024, CHAT_MAX_OPEN_STREAMS=1) as client,
        open_answer(client, **{"X-Auth": "token-1"}),
    ):
        for code, changed, header in steps:
            request_fields |= changed
            headers |= header
            assert (await client.send(**request_fields)).error["code"] == code
    async with serving(authenticate=by_token) as client:
        assert (await client.send(**request_fields)).error["code"] == "upstream_busy"


@asynccontextmanager
async def open_answer(client: Client, **headers: str) -> AsyncIterator[None]:
    """Open an answer that has begun and does not end."""
    fields = {"Content-Type": "application/json", **headers}
    async with client.test.request(STREAM, method="POST", headers=fields) as connection:
        await connection.send(json.dumps({"message": PROMPT, "model": "fault-stall:1"}).encode())
        await connection.send_complete()
        await connection.receive()
        yield
        await connection.disconnect()


async def test_a_slot_is_free_again_once_its_client_has_disconnected() -> None:
    async with serving(CHAT_MAX_OPEN_STREAMS=1) as client:
        async with open_answer(client):
            reply = await client.ask()
            assert (reply.error["code"], reply.error["retry_after_s"]) == ("overloaded", 1)
            assert reply.headers["Retry-After"] == "1"
        assert (await client.ask()).status == 200


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"", "bad_request", None),
        (b'{"message": "\xff"}', "bad_request", None),
        (rb'{"message": "\ud800"}', "bad_request", None),
        ('{"message": "hi"}'.encode("utf-16"), "bad_request", None),
        (b'{"message": "hi", "temperature": NaN}', "bad_request", None),
        (b"[" * 100_000, "too_deep", None),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep", None),
        (b"null", "invalid_request", ""),
        (b'{"message": "hi", "api_base": "http://127.0.0.1:1"}', "invalid_request", "api_base"),
        (b'{"messages": [{"role": "system", "content": "x"}]}', "invalid_request", "messages.0.role"),
        (b'{"message": "%b"}' % (b"a" * 100_001), "too_large", "messages"),
        (b" " * 262_145, "too_large", None),
        (b'{"message": "hi", "model": "../../x"}', "model_not_found", "model"),
        (b'{"message": "hi", "model": "http://127.0.0.1:1/"}', "model_not_found", "model"),
        (b'{"message": "<img onerror=alert(1)>", "x": "<img>"}', "invalid_request", "x"),
    ],
)
async def test_a_body_is_refused_by_code_and_path_and_without_an_echo(
    client: Client, log: Log, body: bytes, code: str, path: str | None
) -> None:
    reply = await client.send(body, headers={"Content-Type": "application/json"})
    assert (reply.error["code"], reply.error.get("path")) == (code, path)
    assert "<" not in reply.body.decode()
    [(word, line)] = log.lines
    assert (word, line["id"], line["error"]) == ("refused", reply.error["id"], code)


async def test_a_body_that_does_not_arrive_times_out() -> None:
    async with serving(CHAT_BODY_TIMEOUT_S=0.05) as client:
        headers = {"Content-Type": "application/json"}
        async with client.test.request(STREAM, method="POST", headers=headers) as connection:
            await connection.send(b'{"message":')
            body = await connection.receive()
        assert connection.status_code == 408
        assert json.loads(body)["error"]["code"] == "request_timeout"


# -- authentication


def by_token(request: Request) -> str | None:
    return {"token-1": "ann"}.get(request.headers.get("X-Auth", ""))


async def by_token_later(request: Request) -> str | None:
    await asyncio.sleep(0)
    return by_token(request)


@pytest.mark.parametrize("authenticate", [by_token, by_token_later])
async def test_the_principal_is_logged_and_an_anonymous_request_is_refused(
    log: Log, authenticate: Authenticate
) -> None:
    async with serving(authenticate=authenticate) as client:
        assert (await client.ask(**{"X-Auth": "token-1"})).status == 200
        assert (await client.ask(**{"X-Auth": KEY})).error["code"] == "unauthorized"
        assert (await client.ask()).error["code"] == "unauthorized"
    assert [line.get("who") for _, line in log.lines] == ["ann", None, None]
    assert KEY not in log.text


async def test_an_unauthorized_request_is_refused_before_its_body_arrives() -> None:
    async with serving(authenticate=by_token) as client:
        headers = {"Content-Type": "application/json", "Content-Length": "99999999"}
        async with client.test.request(STREAM, method="POST", headers=headers) as connection:
            body = await connection.receive()
        assert connection.status_code == 401
        assert json.loads(body)["error"]["code"] == "unauthorized"


async def test_a_request_is_authenticated_once() -> None:
    calls: list[str] = []

    def authenticate(request: Request) -> str:
        calls.append(request.path)
        return "ann"

    async with serving(authenticate=authenticate) as client:
        await client.ask()
        await client.send(path="/ai/nope")
        await client.send(method="PUT")
        await client.send(method="HEAD")
        await client.get()
    assert calls == [STREAM] * 2


def crash(_: Request) -> str:
    raise RuntimeError(f"{KEY} {PROMPT}")


async def crash_later(_: Request) -> str:
    await asyncio.sleep(0)
    return crash(_)


@pytest.mark.parametrize("authenticate", [crash, crash_later])
async def test_a_hook_that_crashes_is_an_internal_error_whose_place_is_logged(
    log: Log, authenticate: Authenticate
) -> None:
    async with serving(authenticate=authenticate) as client:
        reply = await client.ask()
    assert reply.error["code"] == "internal_error"
    [(word, line)] = log.lines
    assert (word, line["id"], line["causes"]) == ("failed", reply.error["id"], ["RuntimeError"])
    assert re.fullmatch(r".*test_routes\.py:\d+ crash", line["at"][-1])
    assert "canary" not in reply.body.decode()
    assert f"RuntimeError: {KEY}" in log.text


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "not_found"), (418, "bad_request"), (429, "rate_limited")],
)
async def test_a_hook_that_aborts_gets_the_chats_own_error(status: int, code: str) -> None:
    def authenticate(_: Request) -> str:
        abort(status, KEY)

    async with serving(authenticate=authenticate) as client:
        reply = await client.ask()
    assert reply.error["code"] == code
    assert KEY not in reply.body.decode()


async def test_a_hook_may_answer_with_a_response_of_its_own() -> None:
    async def authenticate(_: Request) -> str:
        abort(Response("go to /login", 303, {"Location": "/login"}))

    async with serving(authenticate=authenticate) as client:
        reply = await client.ask()
    assert (reply.status, reply.headers["Location"], reply.body) == (303, "/login", b"go to /login")


async def test_a_hook_may_forbid() -> None:
    def authenticate(_: Request) -> str:
        raise ChatError("rate_limited", retry_after_s=9)

    async with serving(authenticate=authenticate) as client:
        reply = await client.ask()
    assert (reply.error["code"], reply.headers["Retry-After"]) == ("rate_limited", "9")


async def test_a_hook_that_returns_no_name_takes_no_place_for_ever() -> None:
    class User:
        """A user object, as `current_user` of a login extension returns it."""

    def authenticate(_: Request) -> str:
        return cast(str, User())

    async with serving(authenticate=authenticate, CHAT_MAX_OPEN_STREAMS=1) as client:
        statuses = [(await client.ask()).status for _ in range(2)]
    assert statuses in ([200, 200], [500, 500])


# -- the id of a request


async def test_each_request_has_an_id_of_the_server(client: Client) -> None:
    ids = [(await client.ask()).headers["X-Request-ID"] for _ in range(5)]
    ids += [(await client.send(method="GET")).error["id"] for _ in range(5)]
    assert len(set(ids)) == 10


@pytest.mark.parametrize("sent", ["abc-1", "A" * 128, "a.b_c-9"])
@pytest.mark.parametrize("document", [{"message": "hi"}, {}])
async def test_a_safe_id_of_the_client_is_logged_next_to_the_servers(
    client: Client, log: Log, sent: str, document: Any
) -> None:
    reply = await client.ask(document, **{"X-Request-ID": sent})
    assert ID.fullmatch(reply.headers["X-Request-ID"])
    assert (log.only["id"], log.only["client_id"]) == (reply.headers["X-Request-ID"], sent)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "A" * 129,
        "A" * 15_000,
        "a b",
        "a;b",
        "\x1b[31m",
        "a\x7f",
        "é",
        "' OR 1=1--",
        "a\u2028".encode().decode("latin-1"),
    ],
)
@pytest.mark.parametrize("document", [{"message": "hi"}, {}])
async def test_an_unsafe_id_of_the_client_is_dropped(client: Client, log: Log, sent: str, document: Any) -> None:
    reply = await client.ask(document, **{"X-Request-ID": sent})
    assert ID.fullmatch(reply.headers["X-Request-ID"])
    assert "client_id" not in log.only


# -- the log


async def test_a_complete_answer_is_one_log_line(client: Client, log: Log) -> None:
    reply = await client.ask(**NDJSON)
    [(word, line)] = log.lines
    usage = reply.records[-1]["usage"]
    assert word == "answer"
    assert (line["id"], line["model"], line["ending"]) == (reply.headers["X-Request-ID"], "mock", "done")
    assert (line["input_tokens"], line["output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])
    assert line["finish_reason"] == "stop"
    assert 0 <= line["first_event_ms"] <= line["total_ms"]
    assert line["upstream_bytes"] > 0


@pytest.mark.parametrize(
    "document", [{"message": PROMPT}, {"message": PROMPT, "n": 1}, {"message": PROMPT, "model": "x"}]
)
async def test_a_prompt_is_in_no_log_line(client: Client, log: Log, document: Any) -> None:
    await client.ask(document)
    assert len(log.lines) == 1
    assert "canary-prompt" not in log.text


# -- other methods and addresses


async def test_another_method_is_refused_with_the_chats_own_error(client: Client) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE"):
        reply = await client.send(method=method)
        assert reply.error["code"] == "method_not_allowed"
        assert reply.headers["Allow"] == "GET, POST, OPTIONS"


@pytest.mark.parametrize("method", ["PROPFIND", "FOO", "M-SEARCH"])
@pytest.mark.parametrize("path", [STREAM, "/ai/", "/ai/nope"])
async def test_an_unknown_method_is_refused_with_the_chats_own_error(client: Client, method: str, path: str) -> None:
    reply = await client.send(method=method, path=path)
    assert reply.error["code"] in ("method_not_allowed", "not_found")


async def test_head_is_refused_and_calls_no_model(client: Client, log: Log) -> None:
    reply = await client.send(method="HEAD")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, POST, OPTIONS")
    assert log.only["error"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "methods"), [(STREAM, {"GET", "POST", "OPTIONS"}), ("/ai/", {"GET", "HEAD", "OPTIONS"})]
)
async def test_options_lists_the_allowed_methods(client: Client, path: str, methods: set[str]) -> None:
    reply = await client.send(method="OPTIONS", path=path)
    assert reply.status in (200, 204)
    assert reply.body == b""
    assert {method.strip() for method in reply.headers["Allow"].split(",")} == methods


async def test_a_method_in_a_header_does_not_count(client: Client) -> None:
    reply = await client.send(method="PUT", headers={"X-HTTP-Method-Override": "POST"})
    assert reply.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        *("/ai/nope", "/ai/api", "/ai/api/", "/ai/api/stream/", "/ai/api/stream/x", "/ai/api/Stream"),
        *("/ai/api/stream%00", "/ai/api/stream%2f", "/ai/%2e%2e/x", "/ai/<img src=x>"),
    ],
)
async def test_another_path_below_the_prefix_is_not_found_with_the_chats_own_error(
    client: Client, path: str, method: str
) -> None:
    reply = await client.send(path=path, method=method)
    assert reply.status == 404
    if method != "HEAD":
        assert reply.error["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        *("nope.js", "../errors.py", "%2e%2e/errors.py", "..%2ferrors.py", "%2e%2e%2ferrors.py", "..\\errors.py"),
        *("/etc/passwd", "page.js%00", ".", "..", "", "NUL", "con.txt", "page.js.map", ".git/config"),
    ],
)
async def test_a_file_that_is_not_a_part_of_the_page_is_not_found(client: Client, path: str) -> None:
    assert (await client.send(path=f"/ai/static/{path}", method="GET")).status == 404


async def test_a_hosts_pages_are_unchanged() -> None:
    host = Quart("host", static_folder=None)

    @host.errorhandler(404)
    async def lost(_: Exception) -> tuple[str, int]:
        return "the host's own page", 404

    @host.get("/crash")
    async def crash() -> str:
        raise ChatError("forbidden")

    @host.get("/here")
    async def here() -> str:
        return "the host's own word"

    async with serving(host=host) as client:
        assert (await client.send(path="/nope", method="GET")).body == b"the host's own page"
        assert (await client.send(path="/aix", method="GET")).body == b"the host's own page"
        assert (await client.send(path="/here", method="GET")).body == b"the host's own word"
        assert (await client.send(path="/here", method="POST")).headers["Content-Type"].startswith("text/html")
        assert (await client.send(path="/ai/nope", method="GET")).error["code"] == "not_found"


async def test_a_host_may_have_read_the_body_already() -> None:
    host = Quart("host", static_folder=None)
    seen: list[Any] = []

    @host.before_request
    async def look() -> None:
        seen.append(await request.get_json())

    async with serving(host=host) as client:
        assert (await client.ask()).body == b"1 2 3"
    assert seen == [{"message": PROMPT}]


# -- where the chat is


async def test_an_app_of_its_own_has_no_prefix() -> None:
    app = create_app(FAST)
    async with app.test_app():
        client = Client(app, "/api/stream")
        assert (await client.ask()).body == b"1 2 3"
        assert (await client.send(path="/nope", method="GET")).error["code"] == "not_found"
        assert (await client.send(method="PUT")).error["code"] == "method_not_allowed"


async def test_the_chat_may_have_several_prefixes() -> None:
    host, outer, inner = Quart("host", static_folder=None), Blueprint("outer", "outer"), Blueprint("inner", "inner")
    inner.register_blueprint(chat_blueprint(settings=FAST), url_prefix="/ai")
    outer.register_blueprint(inner, url_prefix="/b")
    host.register_blueprint(outer, url_prefix="/a")
    async with host.test_app():
        client = Client(host, "/a/b/ai/api/stream")
        assert (await client.ask()).body == b"1 2 3"
        assert (await client.send(path="/a/b/ai/nope", method="GET")).error["code"] == "not_found"
        assert (await client.send(path="/a/b/nope", method="GET")).headers["Content-Type"].startswith("text/html")


async def test_two_chats_in_one_app_know_nothing_of_each_other() -> None:
    host = Quart("host", static_folder=None)
    one = chat_blueprint("one", {**FAST, "CHAT_MODEL": "mock-count"}, authenticate=by_token)
    two = chat_blueprint("two", {**FAST, "CHAT_MODEL": "mock-echo"})
    host.register_blueprint(one, url_prefix="/one")
    host.register_blueprint(two, url_prefix="/two")
    async with host.test_app():
        first, second = Client(host, "/one/api/stream"), Client(host, "/two/api/stream")
        assert (await first.ask()).error["code"] == "unauthorized"
        assert (await first.ask(**{"X-Auth": "token-1"})).body == b"1 2 3"
        assert (await second.ask()).body == PROMPT.encode()


async def test_one_chat_may_be_in_two_apps() -> None:
    blueprint = chat_blueprint(settings=FAST)
    hosts = [Quart(name, static_folder=None) for name in ("one", "two")]
    for host in hosts:
        host.register_blueprint(blueprint, url_prefix="/ai")
    async with hosts[0].test_app():
        async with hosts[1].test_app():
            assert [(await Client(host).ask()).body for host in hosts] == [b"1 2 3"] * 2
        assert (await Client(hosts[0]).ask()).body == b"1 2 3"
