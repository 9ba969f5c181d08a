"""Several blueprints and apps in a process: each has its own settings, its own clients and its own lifetime."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openai import AsyncOpenAI
from quart import Blueprint, Quart, Request, redirect, request
from quart_schema import QuartSchema

from quartapp import Chat, ChatRequest, chat_blueprint, create_app
from quartapp.blueprint import PROTOCOLS, running_chats
from quartapp.core.events import Batch, Batches, Delta
from quartapp.settings.settings import Settings

ROOT = Path(__file__).parents[2]

PACE = {"CHAT_MOCK_TOKENS_PER_S": "0"}
ECHO = {**PACE, "CHAT_MODEL": "mock-echo"}
COUNT = {**PACE, "CHAT_MODEL": "mock-count"}
QUESTION = {"message": "up to 3"}


def host(*prefixes_and_blueprints: tuple[str, Blueprint]) -> Quart:
    """Return a host app with blueprints below prefixes."""
    app = Quart("host", static_folder=None)
    for prefix, blueprint in prefixes_and_blueprints:
        app.register_blueprint(blueprint, url_prefix=prefix)
    return app


async def post(app: Quart, prefix: str = "", **headers: str) -> tuple[int, str]:
    response = await app.test_client().post(f"{prefix}/api/stream", json=QUESTION, headers=headers)
    return response.status_code, await response.get_data(as_text=True)


async def code(app: Quart, path: str) -> tuple[int, str]:
    """Return the status and the code of an error."""
    response = await app.test_client().get(path, headers={"Accept": "text/event-stream"})
    return response.status_code, json.loads(await response.get_data())["error"]["code"]


def client_of(app: Quart, blueprint: Blueprint) -> AsyncOpenAI:
    [server] = running_chats(app)[blueprint].models.servers
    return server.client


# -- several at once


async def test_two_blueprints_of_an_app_have_settings_and_clients_of_their_own() -> None:
    echo, count = chat_blueprint("echo", ECHO), chat_blueprint("count", COUNT)
    app = host(("/echo", echo), ("/count", count))
    async with app.test_app():
        assert await post(app, "/echo") == (200, "up to 3")
        assert await post(app, "/count") == (200, "1 2 3")
        assert client_of(app, echo) is not client_of(app, count)


async def test_two_blueprints_of_an_app_have_room_of_their_own() -> None:
    stalling = {**PACE, "CHAT_MODEL": "fault-stall:1", "CHAT_MAX_OPEN_STREAMS": "1"}
    one, other = chat_blueprint("one", stalling), chat_blueprint("other", COUNT)
    app = host(("/one", one), ("/other", other))
    body = json.dumps(QUESTION).encode()
    async with app.test_app():
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        async with app.test_client().request("/one/api/stream", method="POST", headers=headers) as connection:
            await connection.send(body)
            await connection.send_complete()
            assert await asyncio.wait_for(connection.receive(), 5) == b"1"
            assert (await post(app, "/one"))[0] == 503
            assert await post(app, "/other") == (200, "1 2 3")
            await connection.disconnect()


async def test_two_apps_of_a_process_share_nothing() -> None:
    one, other = create_app(ECHO), create_app(COUNT)
    async with one.test_app(), other.test_app():
        assert list(await asyncio.gather(post(one), post(other))) == [(200, "up to 3"), (200, "1 2 3")]
        (first_chat,), (second_chat,) = running_chats(one).values(), running_chats(other).values()
        assert first_chat.models.servers[0] is not second_chat.models.servers[0]
        await first_chat.close()
        assert await post(other) == (200, "1 2 3")


async def test_one_blueprint_in_two_apps_obeys_each_apps_own_config() -> None:
    blueprint = chat_blueprint()
    one, other = host(("/ai", blueprint)), host(("/ai", blueprint))
    one.config.update(ECHO)
    other.config.update(COUNT)
    async with one.test_app(), other.test_app():
        assert await post(one, "/ai") == (200, "up to 3")
        assert await post(other, "/ai") == (200, "1 2 3")
        assert client_of(one, blueprint) is not client_of(other, blueprint)


async def test_a_blueprint_inside_another_answers_below_both_prefixes() -> None:
    parent = Blueprint("parent", "host", url_prefix="/team")
    parent.register_blueprint(chat_blueprint(settings=COUNT), url_prefix="/ai")
    app = host(("/v2", parent))
    async with app.test_app():
        page = await app.test_client().get("/v2/ai/")
        assert (page.status_code, page.mimetype) == (200, "text/html")
        assert await post(app, "/v2/ai") == (200, "1 2 3")
        assert await code(app, "/v2/ai/nowhere") == (404, "not_found")
        assert await code(app, "/v2/ai/api/stream") == (422, "invalid_request")
        assert await code(app, "/v2/ai/v1/chat/completions") == (405, "method_not_allowed")


async def test_each_call_makes_a_blueprint_of_its_own() -> None:
    assert chat_blueprint() is not chat_blueprint()


# -- starting and stopping


async def test_an_app_can_be_stopped_and_started_again() -> None:
    blueprint = chat_blueprint(settings=COUNT)
    app = host(("/ai", blueprint))
    clients = []
    for _ in range(3):
        async with app.test_app():
            clients.append(client_of(app, blueprint))
            assert await post(app, "/ai") == (200, "1 2 3")
        assert (await post(app, "/ai"))[0] == 503
    assert len(set(map(id, clients))) == 3
    assert all(client.is_closed() for client in clients)


async def test_settings_are_read_when_the_app_starts() -> None:
    app = create_app(PACE)
    app.config["CHAT_MODEL"] = "mock-echo"
    async with app.test_app():
        assert await post(app) == (200, "up to 3")
    app.config["CHAT_MODEL"] = "mock-count"
    async with app.test_app():
        assert await post(app) == (200, "1 2 3")


async def test_the_log_warns_once_that_the_mock_model_answers(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(PACE)
    with caplog.at_level(logging.INFO, "quartapp"):
        async with app.test_app():
            await post(app)
            await post(app)
    assert sum("the mock model answers" in record.message for record in caplog.records) == 1


KEY = "sk-canary-7f3a9b1c2d4e5f60"
TABLE: dict[str, Any] = {
    "fast": {"kind": "openai", "key_env": "OPENAI_API_KEY", "model": "gpt-5.4-mini"},
    "near": {"kind": "compatible", "base_url": "http://127.0.0.1:11434/v1/secret-path", "offered": False},
    "mock": {"kind": "mock", "model": "mock-echo"},
}


@pytest.mark.parametrize(
    ("settings", "models", "lines"),
    [
        (
            {"CHAT_MODELS": TABLE},
            None,
            [
                "model fast: openai, gpt-5.4-mini at api.openai.com:443",
                "model near: compatible, near at 127.0.0.1:11434, not offered",
                "model mock: mock, mock-echo in this process",
            ],
        ),
        (
            {"OPENAI_BASE_URL": "http://[::1]:8001/v1", "CHAT_MODEL": "m"},
            None,
            ["model m: compatible, m at [::1]:8001"],
        ),
    ],
)
async def test_the_log_contains_the_models_at_the_start(
    settings: dict[str, Any], models: Any, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    app = host(("/ai", chat_blueprint(settings={**settings, "OPENAI_API_KEY": KEY}, models=models)))
    with caplog.at_level(logging.INFO, "quartapp"):
        async with app.test_app():
            assert [record.message for record in caplog.records] == lines


async def test_the_log_contains_the_code_of_models_in_python(caplog: pytest.LogCaptureFixture) -> None:
    app = host(("/ai", chat_blueprint(models={"parrot": Parrot()})))
    with caplog.at_level(logging.INFO, "quartapp"):
        async with app.test_app():
            assert f"model parrot: Python, {__name__}.Parrot" in caplog.messages


# -- a good guest


async def test_a_host_keeps_its_own_error_pages() -> None:
    app = host(("/ai", chat_blueprint(settings=COUNT)))
    async with app.test_app():
        response = await app.test_client().get("/nowhere")
        assert (response.status_code, response.mimetype) == (404, "text/html")
        assert "X-Request-ID" not in response.headers


async def test_a_hosts_hook_may_redirect_clients() -> None:
    app = host(("/ai", chat_blueprint(settings=COUNT)))
    app.before_request(lambda: redirect("/login"))
    async with app.test_app():
        response = await app.test_client().post("/ai/api/stream", json=QUESTION)
        assert (response.status_code, response.headers["Location"]) == (302, "/login")


async def test_a_hosts_hook_that_raises_is_a_500_without_its_message() -> None:
    app = host(("/ai", chat_blueprint(settings=COUNT)))

    @app.before_request
    async def broken() -> None:
        raise RuntimeError("canary of a fault")

    async with app.test_app():
        status, text = await post(app, "/ai")
        assert (status, json.loads(text)["error"]["code"]) == (500, "internal_error")
        assert "canary" not in text


async def test_a_hosts_openapi_document_has_the_hosts_routes_alone() -> None:
    app = host(("/ai", chat_blueprint("one", COUNT)), ("/team", chat_blueprint("other", COUNT)))
    QuartSchema(app)

    @app.get("/own")
    async def own() -> str:
        return ""

    async with app.test_app():
        client = app.test_client()
        assert [*(await (await client.get("/openapi.json")).get_json())["paths"]] == ["/own"]
        for prefix in ("/ai", "/team"):
            document = await (await client.get(f"{prefix}/openapi.json")).get_json()
            assert f"{prefix}/api/stream" in document["paths"]
            assert (await client.get(f"{prefix}/static/chat.js")).status_code == 200


# -- authentication


async def by_header_async(request: Request) -> str | None:
    return request.headers.get("X-Auth")


def by_header(request: Request) -> str | None:
    return request.headers.get("X-Auth")


@pytest.mark.parametrize("authenticate", [by_header, by_header_async])
async def test_the_log_contains_the_principal(authenticate: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = host(("/ai", chat_blueprint(settings=COUNT, authenticate=authenticate)))
    with caplog.at_level(logging.INFO, "quartapp"):
        async with app.test_app():
            status, text = await post(app, "/ai")
            assert (status, json.loads(text)["error"]["code"]) == (401, "unauthorized")
            assert await post(app, "/ai", **{"X-Auth": "alice"}) == (200, "1 2 3")
    answers = [vars(record)["answer"] for record in caplog.records if hasattr(record, "answer")]
    assert [answer["who"] for answer in answers] == ["alice"]


async def test_an_unauthorized_request_is_refused_before_its_body_is_parsed() -> None:
    app = host(("/ai", chat_blueprint(settings=COUNT, authenticate=lambda _: None)))
    async with app.test_app():
        response = await app.test_client().post("/ai/api/stream", data=b"not json", headers={"Content-Type": "text/x"})
        assert response.status_code == 401


# -- models of a project's own


class Parrot:
    """A model that is no server."""

    async def stream(self, request: ChatRequest, /) -> Batches:
        yield Batch(1, [Delta(str(request.messages[-1]["content"]).upper())])
        yield Batch(1, finish_reason="stop", ended=True)


async def test_a_project_can_bring_models_of_its_own() -> None:
    app = host(("/ai", chat_blueprint(models={"parrot": Parrot()})))
    async with app.test_app():
        assert await post(app, "/ai") == (200, "UP TO 3")
        other = {"message": "x", "model": "mock"}
        refused = await app.test_client().post("/ai/api/stream", json=other)
        assert refused.status_code == 404


async def test_loaded_settings_may_be_an_argument() -> None:
    app = host(("/ai", chat_blueprint(settings=Settings.load(COUNT))))
    async with app.test_app():
        assert await post(app, "/ai") == (200, "1 2 3")


MIB = 2**20
LARGE = {"CHAT_MAX_BODY_BYTES": 32 * MIB}


def apps_with(config: dict[str, Any]) -> dict[str, Quart]:
    flask = Flask("project", static_folder=None)
    flask.config.from_mapping(config)
    return {"": create_app(config), "/ai": Chat(url_prefix="/ai").asgi(flask)}


async def test_the_setting_alone_limits_a_body_in_apps_of_our_own() -> None:
    """Quart's own limit is 16 MiB."""
    for prefix, app in apps_with(LARGE).items():
        async with app.test_app():
            response = await app.test_client().post(f"{prefix}/api/stream", json={"message": "x" * 17 * MIB})
            assert (await response.get_json())["error"]["path"] == "messages"  # it was read
    for prefix, app in apps_with({**LARGE, "MAX_CONTENT_LENGTH": 1000}).items():
        async with app.test_app():
            response = await app.test_client().post(f"{prefix}/api/stream", json={"message": "x" * 2000})
            assert response.status_code == 413


# -- slashes

CHUNK = {"model": "mock-count", "messages": [{"role": "user", "content": "up to 3"}]}


@pytest.mark.parametrize("prefix", ["", "/ai", "/team/ai"])
@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1//chat/completions", CHUNK),
        ("/v1/chat///completions", CHUNK),
        ("/api//stream", QUESTION),
        ("/api//ui", None),
        ("/v1//models", None),
        ("/v1//nothing", None),
    ],
)
async def test_slashes_that_follow_each_other_count_as_one(prefix: str, path: str, document: Any) -> None:
    app = host((prefix, chat_blueprint(settings=COUNT)))
    single = re.sub("/{2,}", "/", path)
    async with app.test_app():
        client = app.test_client()
        method = "GET" if document is None else "POST"
        replies = [await client.open(f"{prefix}{each}", method=method, json=document) for each in (path, single)]
        bodies = [await reply.get_data() for reply in replies]
    assert [reply.status_code for reply in replies] == [replies[1].status_code] * 2
    assert (replies[1].status_code == 200) is (document is not None or path == "/v1//models")
    assert replies[0].content_type == replies[1].content_type
    assert replies[0].headers["X-Request-ID"] != replies[1].headers["X-Request-ID"]
    assert b"<html" not in bodies[0]


async def test_hooks_of_the_host_see_the_address_with_single_slashes() -> None:
    app = host(("/ai", chat_blueprint(settings=COUNT)))
    seen: list[tuple[str | None, str]] = []

    @app.before_request
    async def see() -> None:
        seen.append((request.endpoint, request.path))

    async with app.test_app():
        assert (await post(app, "/ai/"))[0] == 200
    assert seen == [("chat.stream", "/ai/api/stream")]


async def test_the_hosts_own_addresses_redirect_as_before() -> None:
    app = host(("/ai", chat_blueprint(settings=COUNT)))

    @app.get("/a/b")
    async def own() -> str:
        return "own"

    async with app.test_app():
        for path, target in (("/a//b", "/a/b"), ("/ai/../a//b", None), ("/ai", "/ai/")):
            reply = await app.test_client().get(path)
            assert (reply.status_code, reply.headers.get("Location", "").endswith(target or "")) == (
                (308, True) if target else (404, True)
            )


def test_the_table_of_protocols_lists_each_folder_of_a_protocol() -> None:
    folders = {path.parent.name for path in (ROOT / "quartapp" / "protocols").glob("*/routes.py")}
    listed = [route.view.__module__.split(".") for protocol in PROTOCOLS for route in protocol.routes[:1]]
    assert sorted(name for _, part, name, *_ in listed if part == "protocols") == sorted(folders)
