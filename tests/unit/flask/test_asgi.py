"""A Flask project with the chat next to it, under a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from flask import Flask, Request, Response, abort, g, redirect, request, session
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart
from yarl import URL

from quartapp import Chat, Delta
from quartapp.blueprint import running_chats
from tests.support.serving import Server, Servers

QUESTION = {"message": "count to 5"}


def chat(url_prefix: str = "/ai", **keywords: Any) -> Chat:
    return Chat(url_prefix=url_prefix, **({"mock_tokens_per_s": 0} | keywords))


def project() -> Flask:
    """Return a Flask project with routes whose paths resemble the chat's prefix."""
    app = Flask("project", static_folder=None)

    @app.get("/")
    def home() -> str:
        return "home"

    @app.post("/echo/<name>")
    def echo(name: str) -> dict[str, object]:
        return {"name": name, "size": len(request.get_data()), "q": request.args.get("q"), "path": request.path}

    @app.get("/aix")
    def near() -> str:
        return "near"

    @app.get("/lines")
    def lines() -> Response:
        def body() -> Iterator[str]:
            yield "first\n"
            yield "second\n"

        return Response(body(), mimetype="text/plain")

    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError("a fault of the project's own")

    return app


@contextlib.asynccontextmanager
async def served(app: Quart) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a client of `app`, which hypercorn serves in this event loop."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    try:
        jar = aiohttp.CookieJar(unsafe=True)  # of an address
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as client:
            yield client
    finally:
        stop.set()
        await serving


async def test_every_route_of_the_chat_is_below_its_prefix() -> None:
    messages = [{"role": "user", "content": "count to 5"}]
    ui = [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "count to 5"}]}]
    async with served(chat().asgi(project())) as client:
        async with client.post("/ai/v1/chat/completions", json={"model": "mock", "messages": messages}) as reply:
            assert (await reply.json())["choices"][0]["message"]["content"] == "1 2 3 4 5"
        async with client.post("/ai/api/ui", json={"id": "c", "messages": ui}) as reply:
            assert (await reply.text()).endswith("data: [DONE]\n\n")
        async with client.get("/ai/api/chat", params=QUESTION, headers={"Accept": "application/json"}) as reply:
            assert (await reply.json())["text"] == "1 2 3 4 5"
        async with client.get("/v1/models") as reply:
            assert (reply.status, reply.content_type) == (404, "text/html")


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with served(chat().asgi(project())) as client:
        yield client


async def test_the_projects_own_routes_answer_as_before(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as home:
        assert (home.status, await home.text()) == (200, "home")
    async with client.post("/echo/%C3%A9?q=a%20b", data=b"x" * 1_000_000) as echo:
        assert await echo.json() == {"name": "é", "size": 1_000_000, "q": "a b", "path": "/echo/é"}
    async with client.head("/") as head:
        assert (head.status, head.headers["Content-Length"], await head.read()) == (200, "4", b"")
    async with client.get("/lines") as lines:
        assert [line async for line in lines.content] == [b"first\n", b"second\n"]


async def test_the_projects_own_errors_are_its_own(client: aiohttp.ClientSession) -> None:
    async with client.get("/nowhere") as missing, client.get("/fails") as failing, client.delete("/") as wrong:
        assert [missing.status, failing.status, wrong.status] == [404, 500, 405]
        assert "X-Request-ID" not in {*missing.headers, *failing.headers, *wrong.headers}


async def test_the_chat_streams_below_its_prefix(client: aiohttp.ClientSession) -> None:
    async with client.post("/ai/api/stream", json=QUESTION) as answered:
        assert (answered.status, await answered.text()) == (200, "1 2 3 4 5")
    async with client.post("/ai/api/stream", json=QUESTION, headers={"Accept": "application/x-ndjson"}) as answered:
        assert (await answered.read()).endswith(b'"total_tokens":11,"cached_input_tokens":0,"reasoning_tokens":0}}\n')
    async with client.get("/ai/") as page:
        assert (page.status, page.content_type) == (200, "text/html")
        assert "<quart-chat" in await page.text()


async def test_the_prefix_is_exact(client: aiohttp.ClientSession) -> None:
    async with client.get("/aix") as near:
        assert await near.text() == "near"
    async with client.get("/ai/nowhere") as missing:
        assert (missing.status, (await missing.json())["error"]["code"]) == (404, "not_found")
    async with client.post("/api/stream", json=QUESTION) as outside:
        assert (outside.status, outside.content_type) == (404, "text/html")


def background_loops() -> set[int | None]:
    """Return the threads of background loops, which projects under WSGI need."""
    return {thread.ident for thread in threading.enumerate() if thread.name == "quartapp-loop"}


async def test_a_prefix_after_two_slashes_is_the_prefix() -> None:
    """Flask finds the chat's rules there, but its thread cannot see that the client disconnects."""
    loops = background_loops()
    async with served(chat().asgi(project())) as client:
        url = URL(f"{client._base_url}").with_path("//ai/api/stream", encoded=True)
        async with client.post(url, json=QUESTION) as answered:
            assert (answered.status, await answered.text()) == (200, "1 2 3 4 5")
    assert background_loops() == loops


async def test_an_answer_and_the_project_do_not_wait_for_each_other() -> None:
    stalling = chat(model="fault-stall:2").asgi(project())
    async with served(stalling) as client, client.post("/ai/api/stream", json=QUESTION) as answered:
        assert await answered.content.readexactly(3) == b"1 2"
        async with client.get("/") as home:
            assert await home.text() == "home"


async def test_the_chat_lives_as_long_as_the_server() -> None:
    app = chat().asgi(project())
    assert running_chats(app) == {}
    async with served(app) as client:
        async with client.post("/ai/api/stream", json=QUESTION) as answered:
            await answered.read()
        [running] = running_chats(app).values()
        [server] = running.models.servers
        client_of_model = server.client
        assert not client_of_model.is_closed()
    assert client_of_model.is_closed()


async def test_chat_names_in_the_projects_config_count() -> None:
    flask_app = project()
    flask_app.config.update(CHAT_MODEL="mock-echo", CHAT_MOCK_TOKENS_PER_S=0, OTHER="x")
    async with (
        served(Chat(url_prefix="/ai").asgi(flask_app)) as client,
        client.post("/ai/api/stream", json=QUESTION) as answered,
    ):
        assert await answered.text() == "count to 5"


async def test_another_prefix_and_a_deeper_one_will_do() -> None:
    app = chat(url_prefix="/tools/chat").asgi(project())
    async with served(app) as client:
        async with client.post("/tools/chat/api/stream", json=QUESTION) as answered:
            assert await answered.text() == "1 2 3 4 5"
        async with client.get("/tools/") as page:
            assert "X-Request-ID" not in page.headers


@pytest.mark.parametrize("prefix", ["ai", "/ai/", "", "/"])
def test_a_wrong_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="for example /ai"):
        chat(url_prefix=prefix).asgi(project())


# -- the contexts of the project


def login_project(**keywords: Any) -> tuple[Flask, Chat]:
    """A project whose session has the user, and which writes the user's visits into the session."""
    app, protected = project(), chat(**keywords)
    app.secret_key = "a-test-secret"

    @app.get("/login")
    def log_in() -> str:
        session["user"] = "ann"
        return ""

    @app.before_request
    def load_user() -> None:
        g.user = session.get("user")
        g.thread = threading.current_thread()

    @protected.authenticate
    def who(_: Request) -> str | None:
        assert g.thread is threading.current_thread()
        session["visits"] = session.get("visits", 0) + 1
        return g.user if isinstance(g.user, str) else None

    return app, protected


async def test_the_session_of_the_project_protects_the_chat_and_is_saved() -> None:
    app, protected = login_project()
    async with served(protected.asgi(app)) as client:
        async with client.post("/ai/api/stream", json=QUESTION) as refused:
            assert (refused.status, (await refused.json())["error"]["code"]) == (401, "unauthorized")
            assert "Set-Cookie" in refused.headers
        await client.get("/login")
        visits = []
        for _ in range(2):
            async with client.post("/ai/api/stream", json=QUESTION) as answered:
                assert await answered.text() == "1 2 3 4 5"
                assert (answered.content_type, answered.headers.getall("Vary")) == ("text/plain", ["Cookie"])
                cookie = answered.cookies["session"].value
                visits.append(app.session_interface.get_signing_serializer(app).loads(cookie)["visits"])  # type: ignore[attr-defined]
        assert visits[1] == visits[0] + 1


async def test_a_before_request_function_may_answer_itself() -> None:
    app, protected = login_project()
    app.before_request(lambda: None if g.user else redirect("/login"))
    async with (
        served(protected.asgi(app)) as client,
        client.post("/ai/api/stream", json=QUESTION, allow_redirects=False) as answered,
    ):
        assert (answered.status, answered.headers["Location"]) == (302, "/login")


async def test_a_before_request_function_that_fails_is_a_fault_of_the_project() -> None:
    app = project()

    @app.before_request
    def fail() -> None:
        abort(418)

    async with served(chat().asgi(app)) as client, client.post("/ai/api/stream", json=QUESTION) as answered:
        assert (answered.status, answered.content_type) == (418, "text/html")


async def test_a_before_request_function_that_raises_is_an_error_of_the_project() -> None:
    app = project()
    app.register_error_handler(500, lambda _: ("an error page of the project", 500))

    @app.before_request
    def fail() -> None:
        raise ZeroDivisionError

    async with served(chat().asgi(app)) as client, client.post("/ai/api/stream", json=QUESTION) as answered:
        assert (answered.status, await answered.text()) == (500, "an error page of the project")


@pytest.mark.xfail(strict=True, reason="the context of a request to the chat has no body under ASGI")
async def test_a_before_request_function_may_read_the_body() -> None:
    """It may under WSGI."""
    app, sizes = project(), list[int]()

    @app.before_request
    def read() -> None:
        sizes.append(len(request.get_data()))

    async with served(chat().asgi(app)) as client, client.post("/ai/api/stream", json=QUESTION) as answered:
        assert (answered.status, await answered.text()) == (200, "1 2 3 4 5")
    assert sizes == [len(json.dumps(QUESTION))]


@pytest.mark.parametrize("kind", ["after_request", "teardown_request"])
async def test_a_function_of_the_project_that_fails_after_the_hooks_is_logged(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = project()

    def fail(_: object) -> Any:
        raise ZeroDivisionError

    getattr(app, kind)(fail)
    async with served(chat().asgi(app)) as client, client.post("/ai/api/stream", json=QUESTION) as answered:
        assert await answered.text() == "1 2 3 4 5"
    [record] = [record for record in caplog.records if record.name == "project"]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_open_answers_hold_no_thread_and_no_context() -> None:
    """More answers are open than there are threads, and the project closes its resources before the model is called."""
    app, closed = project(), []
    app.teardown_request(lambda _: closed.append(True))
    asgi = chat(model="fault-stall:2").asgi(app, workers=2)
    async with served(asgi) as client, contextlib.AsyncExitStack() as open_answers:
        for _ in range(5):
            answered = await open_answers.enter_async_context(client.post("/ai/api/stream", json=QUESTION))
            assert await answered.content.readexactly(3) == b"1 2"
        assert len(closed) == 5
        async with client.get("/") as home:
            assert await home.text() == "home"


async def test_headers_of_after_request_functions_are_those_of_the_answer() -> None:
    app = project()

    @app.after_request
    def mark(response: Response) -> Response:
        response.headers["X-Project"] = "yes"
        response.headers["Cache-Control"] = "private"
        return response

    async with served(chat().asgi(app)) as client:
        async with client.post("/ai/api/stream", json=QUESTION) as answered:
            assert answered.headers["X-Project"] == "yes"
            assert answered.headers.getall("Cache-Control") == ["no-cache, no-transform"]
        async with client.get("/ai/none") as missing:
            assert (missing.status, missing.headers["X-Project"]) == (404, "yes")


async def test_code_of_the_project_uses_the_chat_of_its_server() -> None:
    app, asked = project(), chat()

    @app.get("/count")
    def count() -> str:
        return "".join(event.text for event in asked.iterate("count to 3") if isinstance(event, Delta))

    loops = background_loops()
    async with served(asked.asgi(app)) as client, client.get("/count") as counted:
        assert await counted.text() == "1 2 3"
    assert background_loops() == loops


# -- what the project reads

LINES = (b"x" * 70 + b"\n") * 10_000
DOCUMENT = json.dumps({"name": "b" * 700_000}).encode()
WAYS = ("at-once", "pieces", "lines", "limited-lines", "json", "nothing")


async def read_by(server: Server) -> dict[str, tuple[int, str]]:
    """Return what the project on `server` reads of a large body, for each way to read it and each way to send it."""
    result = {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        for way in [*WAYS, *(f"small/{way}" for way in WAYS)]:
            body = DOCUMENT if "json" in way else LINES
            if way == "nothing" or "/" in way:  # in one read: servers close a connection before they have read all
                body = body[:20_000]
            headers = {"Content-Type": "application/json" if "json" in way else "text/plain"}
            for sent, data in (("at once", body), ("in chunks", in_chunks(body))):
                async with client.post(f"/{way}", data=data, headers=headers) as answer:
                    result[f"{way} {sent}"] = answer.status, await answer.text()
    return result


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


@pytest.mark.parametrize("kind", ["hypercorn", "gunicorn"])
async def test_the_project_reads_the_bodies_that_a_wsgi_server_gives_it(kind: str, servers: Servers) -> None:
    expected = await read_by(servers.get("bare gunicorn", "uploads:app"))
    assert expected["lines in chunks"][0] == 200
    assert await read_by(servers.get(kind, "uploads:asgi")) == expected


@pytest.mark.parametrize("head", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_truncated_upload_does_not_look_complete(head: str, servers: Servers) -> None:
    server = servers.start("hypercorn", "uploads:asgi")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"POST /at-once HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n4\r\nhalf\r\n".encode())
    await server.wait_for_log("lost")
    assert "read at-once" not in server.log_text()


async def test_the_projects_errors_go_to_stderr(servers: Servers) -> None:
    url = f"http://127.0.0.1:{servers.get('hypercorn', 'uploads:asgi').port}/errors"
    async with aiohttp.request("GET", url) as answer:
        assert await answer.json() == {"size": 0, "are_stderr": True}
