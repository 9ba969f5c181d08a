"""Pages from elsewhere: none may read by default, and with a setting exactly those that it names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Blueprint, Quart

from quartapp import chat_blueprint
from tests.support.endpoints import FAST, PROMPT, STREAM, Client, Reply, serving

FRONT, OTHER = "http://localhost:5173", "https://chat.example.com"
ORIGINS = f"{FRONT}, {OTHER}"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-auth"}
COMPLETION = {"model": "mock", "messages": [{"role": "user", "content": PROMPT}]}
UI = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": PROMPT}]}]}

ROUTES = {STREAM: {}, "/ai/api/chat": {}, "/ai/v1/chat/completions": COMPLETION, "/ai/api/ui": UI}
EACH_ROUTE = pytest.mark.parametrize("path", ROUTES)

# Alike, but not the same.
FOREIGN = [
    "http://localhost:5174",
    "https://localhost:5173",
    "http://localhost",
    "http://localhost:5173.evil.example",
    "http://localhost:5173/",
    "HTTP://LOCALHOST:5173",
    "https://evil-chat.example.com",
    "https://chat.example.com.evil.example",
    "https://a.chat.example.com",
    "http://localhost:5173, https://chat.example.com",
    "null",
    "*",
    "",
]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving(CHAT_ORIGINS=ORIGINS) as client:
        yield client


def cors(reply: Reply) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.headers.items() if name.lower().startswith("access-control-")}


async def get(client: Client, path: str, origin: str | None) -> Reply:
    client.path = path
    return await client.ask(ROUTES[path] or {"message": PROMPT}, **({} if origin is None else {"Origin": origin}))


# -- reading


@EACH_ROUTE
@pytest.mark.parametrize("origin", [FRONT, OTHER])
async def test_an_origin_that_is_named_may_read(client: Client, path: str, origin: str) -> None:
    reply = await get(client, path, origin)
    assert reply.status == 200
    assert cors(reply) == {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "Retry-After, X-Offered, X-Request-ID, X-Should-Retry",
    }
    assert reply.headers["Vary"] == "Origin"


@EACH_ROUTE
@pytest.mark.parametrize("origin", [*FOREIGN, None])
async def test_no_other_origin_may(client: Client, path: str, origin: str | None) -> None:
    reply = await get(client, path, origin)
    assert (reply.status, cors(reply), reply.headers["Vary"]) == (200, {}, "Origin")


@EACH_ROUTE
async def test_by_default_none_may(path: str) -> None:
    async with serving() as client:
        reply = await get(client, path, FRONT)
        preflight = await client.send(path=path, method="OPTIONS", headers={"Origin": FRONT, **PREFLIGHT})
    for each in (reply, preflight):
        assert cors(each) == {}
        assert "Vary" not in each.headers


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        (STREAM, "POST", b"{", 400),
        (STREAM, "POST", b'{"message":"hi","model":"fault-status:429"}', 429),
        (STREAM, "PUT", b"", 405),
        ("/ai/nope", "GET", b"", 404),
        ("/ai/v1/models/nope", "GET", b"", 404),
        ("/ai/v1/nope", "GET", b"", 404),
        ("/ai/api/ui", "POST", b"{", 400),
        ("/ai/api/ui/c1/stream", "GET", b"", 204),
        ("/ai/v1/models", "GET", b"", 200),
    ],
)
async def test_refusals_can_be_read_too(client: Client, path: str, method: str, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json", "Origin": FRONT}
    reply = await client.send(body, path=path, method=method, headers=headers)
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (status, FRONT)
    assert "Access-Control-Allow-Methods" not in reply.headers


async def test_a_401_and_a_crash_can_be_read_too() -> None:
    def authenticate(request: Any) -> str | None:
        if "X-Crash" in request.headers:
            raise RuntimeError("canary")
        return None

    async with serving(CHAT_ORIGINS=FRONT, authenticate=authenticate) as client:
        for headers, status in (({}, 401), ({"X-Crash": "1"}, 500)):
            reply = await client.ask(Origin=FRONT, **headers)
            assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (status, FRONT)


async def test_cookies_are_not_allowed_across_origins(client: Client) -> None:
    for method in ("POST", "OPTIONS"):
        reply = await client.send(method=method, headers={"Origin": FRONT, **PREFLIGHT})
        assert "Access-Control-Allow-Credentials" not in reply.headers


# -- preflights


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (STREAM, "GET, POST, OPTIONS"),
        ("/ai/api/chat", "GET, POST, OPTIONS"),
        ("/ai/v1/chat/completions", "POST, OPTIONS"),
        ("/ai/v1/models", "GET, HEAD, OPTIONS"),
        ("/ai/v1/models/a/b", "GET, HEAD, OPTIONS"),
        ("/ai/api/ui", "POST, OPTIONS"),
        ("/ai/api/ui/c1/stream", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_preflight_allows_the_methods_and_headers_of_the_route(client: Client, path: str, methods: str) -> None:
    reply = await client.send(path=path, method="OPTIONS", headers={"Origin": FRONT, **PREFLIGHT})
    assert (reply.status, reply.body) == (204, b"")
    headers = cors(reply)
    assert (headers["access-control-allow-origin"], headers["access-control-allow-methods"]) == (FRONT, methods)
    allowed = headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-auth", "last-event-id", "*"} <= set(allowed)
    assert headers["access-control-max-age"] == "600"
    assert reply.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_preflight_of_another_origin_allows_nothing(client: Client, origin: str) -> None:
    reply = await client.send(method="OPTIONS", headers={"Origin": origin, **PREFLIGHT})
    assert (reply.status, cors(reply)) == (204, {})


async def test_a_preflight_is_not_authenticated() -> None:
    async with serving(CHAT_ORIGINS=FRONT, authenticate=lambda _: None) as client:
        reply = await client.send(method="OPTIONS", headers={"Origin": FRONT, **PREFLIGHT})
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (204, FRONT)


# -- where the chat is


async def test_cors_applies_below_several_prefixes_and_not_to_the_host() -> None:
    host, outer = Quart("host", static_folder=None), Blueprint("outer", "outer")
    outer.register_blueprint(chat_blueprint(settings={**FAST, "CHAT_ORIGINS": FRONT}), url_prefix="/ai")
    host.register_blueprint(outer, url_prefix="/a")

    @host.get("/own")
    async def own() -> str:
        return "the host's own word"

    async with host.test_app():
        client = Client(host, "/a/ai/v1/chat/completions")
        assert cors(await client.ask(COMPLETION, Origin=FRONT))["access-control-allow-origin"] == FRONT
        for path in ("/own", "/a/nope", "/nope"):
            reply = await client.send(path=path, method="GET", headers={"Origin": FRONT})
            assert cors(reply) == {}
            assert "Vary" not in reply.headers


async def test_two_chats_of_an_app_have_origins_of_their_own() -> None:
    host = Quart("host", static_folder=None)
    for name, origin in (("one", FRONT), ("two", OTHER)):
        settings = {**FAST, "CHAT_ORIGINS": origin}
        host.register_blueprint(chat_blueprint(name, settings), url_prefix=f"/{name}")
    async with host.test_app():
        for name, own in (("one", FRONT), ("two", OTHER)):
            client = Client(host, f"/{name}/api/stream")
            replies = [await client.ask(Origin=origin) for origin in (FRONT, OTHER)]
            assert [reply.headers.get("Access-Control-Allow-Origin") for reply in replies] == [
                origin if origin == own else None for origin in (FRONT, OTHER)
            ]


async def test_a_page_of_an_origin_that_may_reads_an_event_stream(client: Client) -> None:
    reply = await client.get(Origin=FRONT, **{"Sec-Fetch-Site": "same-site"})
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, FRONT)
    assert json.loads(reply.events[-1]["data"])["type"] == "done"
