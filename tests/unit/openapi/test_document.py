"""The document: true to the routes, at home in any project, and true of every byte that is answered."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart import Blueprint, Quart, Request
from quart_schema import QuartSchema

from quartapp import Chat, ChatRequest, chat_blueprint, create_app
from quartapp.blueprint import PROTOCOLS
from quartapp.core.errors import ChatError
from quartapp.core.events import (
    Annotation,
    Batch,
    Batches,
    Delta,
    Image,
    Reasoning,
    Refusal,
    Step,
    ToolApproval,
    ToolCall,
    ToolResult,
    Usage,
)
from quartapp.hooks import Hooks
from quartapp.mock import CATALOGUE
from quartapp.openapi.document import describe
from quartapp.protocols.chat_completions.request import parse_completion
from quartapp.protocols.native.request import parse
from quartapp.quart_host import QuartHost
from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import Protocol
from quartapp.routes.replies import handle_errors, render
from quartapp.routes.rules import EveryMethod, add_protocols
from quartapp.running import RunningChat
from quartapp.settings.settings import Settings
from tests.support.faults import LIMITS
from tests.support.http_client import RawClient
from tests.support.schema_check import check_body, document, events, hold_to_schema
from tests.support.serving import Server, Servers
from tests.support.vectors import formats, load
from tests.support.wire_formats import FORMATS, UI, Format

Json = dict[str, Any]

FAST = {"CHAT_MOCK_TOKENS_PER_S": "0"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def host(*prefixes_and_blueprints: tuple[str, Blueprint]) -> Quart:
    app = Quart("host", static_folder=None)
    app.add_url_rule("/", "home", lambda: "home")
    app.add_url_rule("/mine/<int:number>", "mine", lambda number: str(number))
    for prefix, blueprint in prefixes_and_blueprints:
        app.register_blueprint(blueprint, url_prefix=prefix)
    return app


async def get(app: Quart, path: str, **headers: str) -> tuple[int, str]:
    response = await app.test_client().get(path, headers=headers)
    return response.status_code, await response.get_data(as_text=True)


async def served(app: Quart, prefix: str = "", **headers: str) -> Json:
    status, text = await get(app, f"{prefix}/openapi.json", **headers)
    assert status == 200
    found: Json = json.loads(text)
    return found


@asynccontextmanager
async def running(app: Quart) -> AsyncIterator[Quart]:
    async with app.test_app():
        yield app


def operations(document: Json) -> dict[tuple[str, str], Json]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


# -- the document


async def test_the_document_is_valid_openapi() -> None:
    async with running(create_app(FAST)) as app:
        found = await served(app)
    assert found["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(found).iter_errors()) == []


@pytest.mark.parametrize("protocols", [chosen for size in range(5) for chosen in combinations(PROTOCOLS, size)])
async def test_the_document_of_any_protocols_is_valid_openapi(protocols: tuple[Protocol, ...]) -> None:
    blueprint = Blueprint("chosen", __name__)
    add_protocols(blueprint, RouteContext(lambda: None, Hooks(), protocols))
    app = host(("/ai", blueprint))
    async with app.app_context():
        found = describe(app, "chosen.", protocols, is_guarded=False)
    assert list(OpenAPIV31SpecValidator(found).iter_errors()) == []
    assert len(operations(found)) == sum(len(protocol.operations) for protocol in protocols)


async def test_the_document_has_each_route_with_its_methods_and_nothing_else() -> None:
    async with running(create_app(FAST)) as app:
        found = await served(app)
    others = (rule for rule in app.url_map.iter_rules() if not rule.websocket)
    rules = [rule for rule in others if not isinstance(rule.methods, EveryMethod)]
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) & set(METHODS)
    }
    assert operations(found).keys() == routes


def test_examples_are_accepted_by_their_routes() -> None:
    for operation in operations(document()).values():
        if "requestBody" in operation:
            media_type = operation["requestBody"]["content"]["application/json"]
            check_body("application/json", json.dumps(media_type["example"]).encode(), media_type["schema"])


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
ATTACHED: list[Json] = [
    IMAGE,
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
]
NO_PARTS: list[Json] = [
    {},
    {"type": "video_url", "video_url": {"url": "data:,"}},
    {**IMAGE, "file": {}},
    {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
    {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}},
    {"type": "image_url", "image_url": {"url": "ftp://example.com/a.png"}},
    {"type": "file", "file": {"file_data": "AAAA", "filename": "/a"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "ogg"}},
]


@pytest.mark.parametrize(("component", "read"), [("ChatBody", parse), ("CompletionBody", parse_completion)])
def test_the_document_describes_the_parts_of_a_message_as_they_are_accepted(
    component: str, read: Callable[[bytes, Settings], ChatRequest]
) -> None:
    schema = {"$ref": f"#/components/schemas/{component}"}
    settings = Settings.load({"CHAT_ALLOW_REMOTE_URLS": True, "CHAT_ALLOW_FILE_IDS": True})
    for part in [*ATTACHED, *NO_PARTS]:
        messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}, part]}]
        body = json.dumps({"model": "m", "messages": messages}).encode()
        if part in ATTACHED:
            check_body("application/json", body, schema)
            assert read(body, settings).messages == messages
        else:
            with pytest.raises(AssertionError):
                check_body("application/json", body, schema)
            with pytest.raises(ChatError):
                read(body, settings)


def test_no_two_operations_have_one_name() -> None:
    names = [operation["operationId"] for operation in operations(document()).values()]
    assert len(set(names)) == len(names)


def test_records_have_a_discriminator() -> None:
    schemas = document()["components"]["schemas"]
    record = schemas["Record"]["discriminator"]
    assert record["propertyName"] == "type"
    assert list(record["mapping"]) == [
        "start", "delta", "reasoning", "refusal", "tool_call", "step", "tool_result", "tool_approval", "annotation",
        "image", "ping", "done", "error",
    ]  # fmt: skip
    for kind, reference in record["mapping"].items():
        schema = schemas[reference.rpartition("/")[2]]
        assert schema["properties"]["type"] == {"enum": [kind]}
        assert '"null"' not in json.dumps(schema)


# -- a good guest


def snapshot(app: Quart) -> Json:
    """Return the parts of an app that quart-schema changes."""
    return {
        "json": type(app.json),
        "test client": app.test_client_class,
        "websocket": app.websocket_class,
        "make_response": app.make_response.__func__,  # type: ignore[attr-defined]
        "config": dict(app.config),
        "commands": sorted(app.cli.commands),
        "extensions": sorted(app.extensions),
        "rules": [rule.rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/ai")],
    }


async def test_a_host_app_is_unchanged() -> None:
    before = snapshot(host())
    async with running(host(("/ai", chat_blueprint(settings=FAST)))) as app:
        await served(app, "/ai")
        after = snapshot(app)
    extensions = after.pop("extensions")
    assert after == {name: value for name, value in before.items() if name != "extensions"}
    assert set(extensions) - set(before["extensions"]) == {"quartapp", "quartapp.openapi"}


async def test_a_hosts_quart_schema_and_the_chats_document_are_independent() -> None:
    app = host(("/ai", chat_blueprint(settings=FAST)))
    QuartSchema(app, convert_casing=True)
    async with running(app), running(host(("/ai", chat_blueprint(settings=FAST)))) as plain:
        assert await served(app, "/ai") == await served(plain, "/ai")
        assert "/mine/{number}" in (await served(app))["paths"]
        response = await app.test_client().post("/ai/api/chat", json={"message": "count to 2"})
        assert (await response.get_json())["finish_reason"] == "stop"


async def test_the_hosts_routes_are_not_in_it() -> None:
    async with running(host(("/ai", chat_blueprint(settings=FAST)))) as app:
        assert all(path.startswith("/ai/") for path in (await served(app, "/ai"))["paths"])


async def test_each_of_two_blueprints_has_a_document_of_its_own() -> None:
    async with running(host(("/a", chat_blueprint("chat", FAST)), ("/b", chat_blueprint("chat2", FAST)))) as app:
        one, other = await served(app, "/a"), await served(app, "/b")
    assert {path.removeprefix("/a") for path in one["paths"]} == {path.removeprefix("/b") for path in other["paths"]}
    assert "/a/api/stream" in one["paths"]
    assert "/b/api/stream" in other["paths"]


async def test_inside_another_blueprint_the_paths_have_both_prefixes() -> None:
    parent = Blueprint("parent", "host", url_prefix="/team")
    parent.register_blueprint(chat_blueprint(settings=FAST), url_prefix="/ai")
    async with running(host(("/v2", parent))) as app:
        found = await served(app, "/v2/ai")
    assert "/v2/ai/v1/chat/completions" in found["paths"]
    assert {path.removeprefix("/v2/ai") for path in found["paths"]} == document()["paths"].keys()


async def test_a_prefix_that_a_proxy_removes_is_in_the_servers_url() -> None:
    async with running(host(("/ai", chat_blueprint(settings=FAST)))) as app:
        client = app.test_client()
        response = await client.get("/behind/ai/openapi.json", root_path="/behind")
        assert (await response.get_json())["servers"] == [{"url": "/behind"}]
        assert (await served(app, "/ai"))["servers"] == [{"url": "/"}]


# -- authentication


def by_header(request: Request) -> str | None:
    return request.headers.get("X-Auth")


async def test_the_document_needs_authentication_and_describes_it() -> None:
    app = host(("/ai", chat_blueprint(settings=FAST, authenticate=by_header)))
    async with running(app):
        for path in ("openapi.json", "docs", "docs/swagger-ui.css"):
            assert (await get(app, f"/ai/{path}"))[0] == 401
            assert (await get(app, f"/ai/{path}", **{"X-Auth": "alice"}))[0] == 200
        found = operations(await served(app, "/ai", **{"X-Auth": "alice"}))
    public = {("GET", "/ai/"), ("GET", "/ai/static/{filename}")}
    assert {each for each, operation in found.items() if "401" not in operation["responses"]} == public


async def test_without_authentication_the_document_has_no_401() -> None:
    async with running(create_app(FAST)) as app:
        assert not any("401" in operation["responses"] for operation in operations(await served(app)).values())


# -- the page


class Links(HTMLParser):
    """Whatever a page would load or lead to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        self.scripts += tag == "script"


async def links(app: Quart, prefix: str) -> Links:
    response = await app.test_client().get(f"{prefix}/docs")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert not re.search(r"unsafe|https?:|\*", policy)
    return Links(await response.get_data(as_text=True))


async def test_the_page_loads_what_this_server_has_and_nothing_else() -> None:
    async with running(host(("/ai", chat_blueprint(settings=FAST)))) as app:
        found = await links(app, "/ai")
        assert found.scripts == 2
        for link in found.found:
            if link != "data:,":
                assert re.fullmatch(r"[\w./-]+", link)
                assert (await get(app, f"/ai/{link}"))[0] == 200
        assert (await get(app, "/ai/docs/swagger-ui.js"))[0] == 404
        assert (await get(app, "/ai/docs/..%2F__init__.py"))[0] == 404


async def test_without_the_viewer_the_page_is_a_list_with_the_install_command() -> None:
    blueprint = Blueprint("bare", __name__)
    handle_errors(blueprint, render)
    chat = RunningChat(Settings.load({"CHAT_MODEL": "mock"}), host=QuartHost(host()))
    add_protocols(blueprint, RouteContext(lambda: chat, Hooks(), PROTOCOLS))
    async with running(host(("/ai", blueprint))) as app:
        found = await links(app, "/ai")
        assert (found.scripts, found.found) == (0, ["data:,", "openapi.json"])
        status, page = await get(app, "/ai/docs")
        assert status == 200
        assert "quartapp[docs]" in page
        assert "GET /ai/openapi.json" in page
        assert (await get(app, "/ai/docs/swagger-ui.css"))[0] == 404


async def test_a_browser_shows_the_page_and_its_policy_forbids_nothing_that_it_does(
    servers: Servers, needs: Callable[[str], str], tmp_path: Path
) -> None:
    server = servers.get("quartapp", **FAST)
    url = f"http://127.0.0.1:{server.port}/docs#/native/post-stream"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=10000"]
    command = [needs("chromium"), *options, f"--user-data-dir={tmp_path}", "--dump-dom", url]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=50)
    assert "CONSOLE" not in done.stderr
    shown = re.sub(r"<[^>]+>|\u200b|\s", "", done.stdout)
    for path in document()["paths"]:
        assert path in shown
    assert "Therequestbodyisnestedtoodeeply." in shown


# -- every byte


#: A model that quotes the question would repeat the canary. The tests below use these models without one.
QUOTING = ("mock-echo", "mock-reasoning", "mock-tool-call")
MODELS = [name for name in CATALOGUE if name not in QUOTING]


async def read_all(server: Server, models: Sequence[str]) -> list[RawClient]:
    """Return the response of each of `models` in each format, all requested at once."""

    async def read_response(model: str, format: Format) -> RawClient:
        async with await RawClient.ask(
            server, "count to 5", f"{model}-{FORMATS.index(format)}", format, model
        ) as client:
            return await client.read()

    return list(await asyncio.gather(*(read_response(model, format) for model in models for format in FORMATS)))


async def test_responses_to_each_model_match_the_document_in_each_format(servers: Servers) -> None:
    for client in await read_all(servers.get("hypercorn", **FAST, **LIMITS), MODELS):
        hold(client)


async def test_each_kind_of_event_matches_the_document_in_each_format(servers: Servers) -> None:
    models = [name for name in MODELS if name.startswith("mock")]
    clients = await read_all(servers.get("hypercorn", **FAST), [*models, "fault-drop:3"])
    for client in clients:
        hold(client)
    records = {record["type"] for client in clients for record in events_of(client, "/api/stream")}
    assert records >= {"start", "delta", "refusal", "done", "error"}
    parts = {part["type"] for client in clients for part in events_of(client, "/api/ui")}
    assert parts >= {"start", "text-delta", "finish-step", "error", "finish"}


def hold(client: RawClient) -> None:
    content_type = client.headers.get("content-type", "")
    format = client.format
    hold_to_schema(format.method, format.path, client.status, content_type, client.body, is_whole=client.is_whole)


def events_of(client: RawClient, path: str) -> Iterator[Json]:
    """Yield the data of the events of a stream."""
    is_stream = client.headers.get("content-type", "").startswith("text/event-stream")
    for event in events(client.body.decode()) if is_stream and client.format.path == path else ():
        if event["data"] != "[DONE]":
            yield json.loads(event["data"])


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
QUESTION = {"messages": [{"role": "user", "content": "Oslo"}], "tools": TOOLS}


@pytest.mark.parametrize("model", QUOTING)
@pytest.mark.parametrize(
    ("path", "accept", "document"),
    [
        ("/api/stream", "application/x-ndjson", QUESTION),
        ("/api/stream", "text/event-stream", QUESTION),
        ("/api/chat", "application/json", QUESTION),
        ("/v1/chat/completions", "*/*", {**QUESTION, "stream": True, "stream_options": {"include_usage": True}}),
        ("/v1/chat/completions", "*/*", {**QUESTION, "n": 2, "logprobs": True}),
    ],
)
async def test_reasoning_and_tool_calls_match_the_document(model: str, path: str, accept: str, document: Json) -> None:
    async with running(create_app(FAST)) as app:
        response = await app.test_client().post(path, json={**document, "model": model}, headers={"Accept": accept})
        body = await response.get_data(as_text=False)
    assert response.status_code == 200
    assert b"Oslo" in body or b"weather" in body
    hold_to_schema("POST", path, 200, response.headers["Content-Type"], body)


#: Where the vectors' bytes of each format would come from.
VECTORS = {
    "text": ("/api/stream", "text/plain"),
    "ndjson": ("/api/stream", "application/x-ndjson"),
    "sse": ("/api/stream", "text/event-stream"),
    "json": ("/api/chat", "application/json"),
    "openai": ("/v1/chat/completions", "text/event-stream"),
    "ai_sdk": ("/api/ui", "text/event-stream"),
}


@pytest.mark.parametrize("format", formats())
def test_the_vectors_match_the_document(format: str) -> None:
    path, media_type = VECTORS[format]
    for case in load(format):
        hold_to_schema("POST", path, 200, media_type, case.data)


class Everything:
    """A model that emits an event of each kind."""

    async def stream(self, _: ChatRequest, /) -> Batches:
        yield Batch(1, [Reasoning("so"), Delta("a"), Refusal("no"), Delta("b")])
        yield Batch(1, [Annotation("url_citation", "https://a.test/", "A"), Image("data:image/png;base64,AAAA")])
        yield Batch(1, [ToolCall(0, "one", "f", '{"x":'), ToolCall(0, arguments="1}"), ToolCall(1, "two", "g", "{not")])
        yield Batch(1, [Step(), ToolApproval("two", "g"), ToolResult("one", "f", "1")])
        yield Batch(1, [ToolCall(2, "three", "h", "{}"), Step(), ToolResult("three", "h", "no", is_error=True)])
        yield Batch(1, finish_reason="tool_calls", usage=Usage(1, 2, 3), ended=True)


async def test_events_of_a_model_in_python_match_the_document_in_each_format() -> None:
    async with running(host(("/ai", chat_blueprint(models={"everything": Everything()})))) as app:
        client = app.test_client()
        for format in FORMATS:
            question = format.document("hi", "everything")
            send: Any = client.get if format.method == "GET" else client.post
            more = {"query_string": question} if format.method == "GET" else {"json": question}
            response = await send(f"/ai{format.path}", headers={"Accept": format.accept}, **more)
            body = await response.get_data(as_text=False)
            assert response.status_code == 200
            hold_to_schema(format.method, format.path, 200, response.headers["Content-Type"], body)
            if format is UI:
                parts = {json.loads(event["data"])["type"] for event in list(events(body.decode()))[:-1]}
                named = document()["components"]["schemas"]["UIMessageChunk"]["discriminator"]["mapping"]
                assert parts == named.keys() - {"error", "data-ping"}


@pytest.mark.parametrize("status", [400, 418, 422, 503])
async def test_errors_of_the_host_app_match_the_document_in_each_format(status: int) -> None:
    chat = Chat(app := Quart("host", static_folder=None), url_prefix="/ai", mock_tokens_per_s=0)

    @chat.prepare
    def refuse(request: ChatRequest, principal: Any) -> None:
        raise ChatError("brand_unsafe", message="No.", status=status)

    async with running(app):
        for format in FORMATS:
            question = format.document("hi", "mock")
            send: Any = app.test_client().get if format.method == "GET" else app.test_client().post
            more = {"query_string": question} if format.method == "GET" else {"json": question}
            response = await send(f"/ai{format.path}", headers={"Accept": format.accept}, **more)
            body = await response.get_data(as_text=False)
            is_openais = format.path.startswith("/v1")
            assert response.status_code == (400 if is_openais and status == 422 else status)
            hold_to_schema(format.method, format.path, response.status_code, response.headers["Content-Type"], body)
            assert response.headers.get("x-should-retry") == ("false" if is_openais else None)
            if is_openais:
                kind = "server_error" if status == 503 else "invalid_request_error"
                error = {"message": "No.", "type": kind, "code": "brand_unsafe", "param": None}
                assert json.loads(body) == {"error": error}


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"code": "Own", "message": "", "id": ""}}',
        b'{"error": {"code": "not_found", "message": "", "id": ""}}',
    ],
)
def test_an_error_of_the_host_app_has_no_listed_code(body: bytes) -> None:
    with pytest.raises(AssertionError):
        hold_to_schema("POST", "/api/stream", 418, "application/json", body)


async def test_a_ping_matches_the_document(servers: Servers) -> None:
    server = servers.get("hypercorn", **FAST, CHAT_STATUS_TIMEOUT_S="0.2", CHAT_KEEP_ALIVE_S="0.1")
    for format in (format for format in FORMATS if format.has_records):
        async with await RawClient.ask(server, "count to 1", "ping", format, "fault-slow-first-token:0.6") as client:
            assert format.ping in (await client.read()).body
            hold(client)


@pytest.mark.parametrize("path", ["/api/stream", "/api/chat", "/v1/chat/completions", "/api/ui"])
@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("POST", {}, b"{"),
        ("POST", {}, b"[]"),
        ("POST", {}, b'{"messages": []}'),
        ("POST", {}, b"[" * 50 + b"]" * 50),
        ("POST", {}, b" " * 300_000),
        ("POST", {"Content-Type": "text/csv"}, b"a,b"),
        ("DELETE", {}, b""),
        ("HEAD", {}, b""),
        ("OPTIONS", {}, b""),
    ],
)
async def test_refusals_match_the_document(path: str, method: str, headers: Json, body: bytes) -> None:
    async with running(create_app(FAST)) as app:
        sent = {"Content-Type": "application/json", **headers}
        send: Any = getattr(app.test_client(), method.lower())
        response = await send(path, data=body, headers=sent)
        received = await response.get_data(as_text=False)
    assert response.status_code == 204 if method == "OPTIONS" else response.status_code >= 400
    hold_to_schema(method, path, response.status_code, response.headers.get("Content-Type", ""), received)


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (418, "application/json", b"{}"),
        (200, "text/csv", b"a,b"),
        (422, "application/json", b'{"error": {"code": "rate_limited", "message": "", "id": ""}}'),
        (422, "application/json", b'{"error": {"code": "invalid_request", "message": "", "id": "", "key": "sk"}}'),
        (200, "application/x-ndjson", b'{"type":"delta","text":null}\n'),
        (200, "application/x-ndjson", b'{"type":"delta","text":"a","more":1}\n'),
        (200, "application/x-ndjson", b'{"type":"done"'),
        (200, "text/event-stream", b'data: {"type":"other"}\n\n'),
        (200, "text/event-stream", b'event: pong\ndata: {"type":"ping"}\n\n'),
        (200, "text/event-stream", b"data: {not json\n\n"),
        (200, "text/event-stream", b"\xff\n\n"),
        (200, "application/json", b'{"id":"1","model":"m","finish_reason":NaN,"text":""}'),
    ],
)
def test_the_check_refuses_what_it_is_for(status: int, content_type: str, body: bytes) -> None:
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        hold_to_schema("POST", "/api/stream", status, content_type, body)
