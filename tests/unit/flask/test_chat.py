"""A chat in a Flask project: its hooks, logins, sessions and CSRF protection are those of the project."""

from __future__ import annotations

import asyncio
import gc
import io
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import flask
import pytest
from cachelib import FileSystemCache
from flask import Flask, g, session, url_for
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_session import Session
from flask_wtf import CSRFProtect

from quartapp import AnswerReport, Chat, ChatError, ChatRequest, Delta, Principal
from quartapp.core.outcome import Outcome
from quartapp.flask.loop import close_background_loop

QUESTION = {"message": "count to 3"}
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def _loop() -> Iterator[None]:
    yield
    close_background_loop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("quartapp", "asyncio"))]


def project() -> Flask:
    app = Flask("project", static_folder=None)
    app.secret_key = "a-test-secret"
    return app


def chat_in(app: Flask, **keywords: Any) -> Chat:
    return Chat(app, url_prefix="/ai", **({"mock_tokens_per_s": 0} | keywords))


def answer(client: FlaskClient, path: str = "/ai/api/stream", **options: Any) -> tuple[int, str]:
    response = client.post(path, **({"json": QUESTION} | options))
    return response.status_code, response.text


# -- routes


def test_the_test_client_of_the_project_gets_answers() -> None:
    app = project()
    chat_in(app)
    client = app.test_client()
    assert answer(client) == (200, "1 2 3")
    records = client.post("/ai/api/stream", json=QUESTION, headers={"Accept": "application/x-ndjson"}).text.split("\n")
    assert records[-2].startswith('{"type":"done"')
    complete = client.get("/ai/api/chat?message=count+to+2", headers=SAME_SITE | {"Accept": "application/json"})
    assert complete.get_json()["text"] == "1 2"


def test_errors_of_routing_are_in_the_form_of_the_protocol() -> None:
    app = project()
    chat_in(app)
    client = app.test_client()
    for path, code in (
        ("/ai/none", "not_found"),
        ("/ai/v1/none", "invalid_request_error"),
        ("/ai/api/stream", "method_not_allowed"),
    ):
        response = client.delete(path)
        assert response.content_type == "application/json"
        assert code in response.text
    assert client.options("/ai/api/stream").headers["Allow"] == "GET, POST, OPTIONS"
    assert client.get("/none").content_type.startswith("text/html")


def test_a_double_slash_is_one() -> None:
    app = project()
    chat_in(app)
    body = {"messages": [{"role": "user", "content": "count to 3"}]}
    response = app.test_client().post("/ai/v1//chat/completions", json=body)
    assert response.get_json()["choices"][0]["message"]["content"] == "1 2 3"


@pytest.mark.parametrize("slashes", ["//", "///"])
def test_slashes_after_the_prefix_are_one(slashes: str) -> None:
    app = project()
    chat_in(app)
    assert answer(app.test_client(), f"/ai{slashes}api/stream") == (200, "1 2 3")


def test_urls_and_the_tag_are_made_by_the_project() -> None:
    app = project()
    chat = chat_in(app)
    chat.authenticate(lambda request: request.args.get("user"))

    @app.get("/page")
    def page() -> str:
        return flask.render_template_string("{{ chat_tag(nonce='n-1') }} {{ url_for('chat.page') }}")

    html = app.test_client().get("/page?user=ann", environ_overrides={"SCRIPT_NAME": "/mounted"}).text
    assert html.startswith('<quart-chat src="/mounted/ai" user="')
    assert html.endswith('src="/mounted/ai/static/quart-chat.js" nonce="n-1"></script> /mounted/ai/')
    with app.test_request_context():
        assert url_for("chat.openai.completions") == "/ai/v1/chat/completions"


def test_a_page_with_the_tag_is_shown_if_authenticate_refuses() -> None:
    app = project()
    chat = chat_in(app)

    @chat.authenticate
    def refuse(request: flask.Request) -> str:
        if "abort" in request.args:
            flask.abort(401)
        raise ChatError("forbidden")

    app.get("/page")(lambda: flask.render_template_string("{{ chat_tag() }}"))
    for path in ("/page", "/page?abort"):
        assert app.test_client().get(path).text.startswith('<quart-chat src="/ai"></quart-chat>')


@pytest.mark.parametrize("is_async", [False, True])
def test_the_tag_for_an_unknown_user_has_no_key(is_async: bool) -> None:
    app = project()
    chat = chat_in(app)

    def refuse(_: flask.Request) -> str:
        raise ChatError("unauthorized")

    async def refuse_later(_: flask.Request) -> str:
        raise ChatError("unauthorized")

    chat.authenticate(refuse_later if is_async else refuse)
    app.get("/page")(lambda: flask.render_template_string("{{ chat_tag() }}"))
    assert app.test_client().get("/page").text.startswith('<quart-chat src="/ai">')


def test_several_chats_and_apps_do_not_mix() -> None:
    first, second = project(), project()
    chat = Chat(url_prefix="/ai", mock_tokens_per_s=0)
    for app in (first, second):
        chat.init_app(app)
    Chat(first, name="echo", url_prefix="/echo", model="mock-echo")
    second.config["CHAT_MODEL"] = "mock-echo"
    assert answer(first.test_client()) == (200, "1 2 3")
    assert answer(first.test_client(), "/echo/api/stream") == (200, "count to 3")
    assert answer(second.test_client()) == (200, "count to 3")


def test_nothing_of_the_host_changes_for_its_own_routes() -> None:
    plain, app = project(), project()
    chat_in(app)
    for each in (plain, app):
        each.get("/")(lambda: "home")
    for path in ("/", "/none", "/aix"):
        ours, theirs = app.test_client().get(path), plain.test_client().get(path)
        assert (ours.status, ours.data, [*ours.headers]) == (theirs.status, theirs.data, [*theirs.headers])
    assert app.before_request_funcs == plain.before_request_funcs
    assert app.error_handler_spec == plain.error_handler_spec
    assert app.config == plain.config


@pytest.mark.parametrize("reads", ["data", "form", "json"])
def test_a_hook_of_the_project_may_read_the_body_first(reads: str) -> None:
    app = project()
    chat_in(app)

    @app.before_request
    def read() -> None:
        if reads == "data":
            flask.request.get_data()
        elif reads == "json":
            flask.request.get_json()
        else:
            assert not flask.request.form

    assert answer(app.test_client()) == (200, "1 2 3")


def test_an_answer_without_text_ends() -> None:
    app = project()
    chat = chat_in(app)

    @chat.model("empty")
    async def empty(_: ChatRequest) -> Any:
        for text in list[str]():
            yield text

    assert answer(app.test_client()) == (200, "")


def test_a_body_without_a_length_is_read_if_the_server_ends_it() -> None:
    app = project()
    chat_in(app)
    response = app.test_client().post(
        "/ai/api/stream",
        input_stream=io.BytesIO(b'{"message": "count to 3"}'),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": None},
    )
    assert (response.status_code, response.text) == (200, "1 2 3")


def test_a_lower_limit_of_the_project_for_bodies_counts() -> None:
    app = project()
    app.config["MAX_CONTENT_LENGTH"] = 100
    chat_in(app)
    status, body = answer(app.test_client(), json={"message": "count to 3" + " " * 100})
    assert (status, '"code": "too_large"' in body) == (413, True)


def test_an_answer_whose_response_the_project_drops_is_cancelled() -> None:
    app = project()
    chat, endings = chat_in(app, model="fault-stall:1"), SimpleQueue[str]()
    chat.on_answer(lambda report: endings.put(report.ending))

    @app.after_request
    def fail(_: flask.Response) -> flask.Response:
        raise ZeroDivisionError

    assert answer(app.test_client())[0] == 500
    assert endings.get(timeout=5) == "client_disconnected"


# -- contexts


def test_hooks_run_in_the_thread_and_the_context_of_the_request(tmp_path: Any) -> None:
    """So a connection of SQLite, which belongs to its thread, can be used in all hooks of one request."""
    app, chat = project(), Chat(url_prefix="/ai", mock_tokens_per_s=0)
    closed: list[bool] = []

    @app.before_request
    def connect() -> None:
        g.db = sqlite3.connect(tmp_path / "db")
        g.db.execute("create table if not exists visits (n integer)")

    @app.teardown_request
    def close(_: BaseException | None) -> None:
        if "db" in g:
            g.pop("db").close()
            closed.append(True)

    @chat.authenticate
    def who(request: flask.Request) -> str:
        assert request.path == "/ai/api/stream"
        g.db.execute("insert into visits values (1)")
        session["visits"] = session.get("visits", 0) + 1
        return "ann"

    @chat.prepare
    def count(_: ChatRequest, principal: Principal | None) -> None:
        assert g.db.execute("select count(*) from visits").fetchone() == (1,)
        assert principal == Principal("ann")

    @chat.prepare
    async def later(chat_request: ChatRequest, _: Principal | None) -> ChatRequest:
        return chat_request.with_context(f"visit {session['visits']}")

    chat.init_app(app)
    client = app.test_client()
    assert answer(client) == (200, "1 2 3")
    assert closed == [True]
    with client.session_transaction() as saved:
        assert saved["visits"] == 1


def test_on_answer_has_an_app_context_and_the_report() -> None:
    app, reports = project(), []
    chat = chat_in(app)

    @chat.on_answer
    def save(report: AnswerReport) -> None:
        reports.append((flask.current_app.name, report.text, flask.has_request_context()))

    @chat.on_answer
    async def save_later(report: AnswerReport) -> None:
        reports.append((flask.current_app.name, report.text, flask.has_request_context()))

    answer(app.test_client())  # a response to a test client ends after these hooks
    assert reports == [("project", "1 2 3", False)] * 2


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration, SystemExit])
@pytest.mark.parametrize("hook", ["authenticate", "prepare"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_that_raises_is_a_500_with_an_id(
    error: type[BaseException], hook: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise error

    async def fail_later(*_: Any) -> None:
        raise error

    app = project()
    getattr(chat_in(app), hook)(fail_later if is_async else fail)
    response = app.test_client().post("/ai/api/stream", json=QUESTION)
    assert response.status_code == 500
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert response.get_json()["error"]["id"] in record.getMessage()


def test_a_hook_may_refuse_with_an_error_or_an_abort() -> None:
    app = project()
    chat = chat_in(app)

    @chat.prepare
    def refuse(chat_request: ChatRequest, _: Principal | None) -> None:
        if "4" in chat_request.text:
            flask.abort(403)
        raise ChatError("rate_limited", retry_after_s=7)

    client = app.test_client()
    response = client.post("/ai/api/stream", json=QUESTION)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert answer(client, json={"message": "count to 4"})[0] == 403


def test_a_before_request_function_may_answer_itself() -> None:
    app = project()
    chat_in(app)
    app.before_request(lambda: flask.redirect("/login"))
    response = app.test_client().post("/ai/api/stream", json=QUESTION)
    assert (response.status_code, response.headers["Location"]) == (302, "/login")


def test_iterate_and_run_work_in_a_view() -> None:
    app = project()
    chat = chat_in(app)

    @app.get("/count")
    def count() -> str:
        return "".join(event.text for event in chat.iterate("count to 3") if isinstance(event, Delta))

    @app.get("/models")
    def models() -> list[str]:
        return [model.id for model in chat.run(chat.client().models.list()).data]

    client = app.test_client()
    assert client.get("/count").text == "1 2 3"
    assert "mock" in client.get("/models").get_json()


# -- logins


class User(UserMixin):  # type: ignore[misc]
    def __init__(self, id: str) -> None:
        self.id = id


def login_project(**config: Any) -> Flask:
    """A project with Flask-Login, whose login protects the chat in one line."""
    app = project()
    app.config.update(config)
    manager = LoginManager(app)
    manager.user_loader(User)

    @app.get("/login/<name>")
    def log_in(name: str) -> str:
        login_user(User(name), remember=True)
        return name

    @app.get("/logout")
    def log_out() -> str:
        logout_user()
        return ""

    chat = chat_in(app)
    chat.authenticate(lambda _: current_user.get_id())
    return app


def test_the_login_of_the_project_protects_the_chat() -> None:
    client = login_project().test_client()
    assert answer(client)[0] == 401
    client.get("/login/ann")
    assert answer(client) == (200, "1 2 3")
    client.get("/logout")
    assert answer(client)[0] == 401


def test_a_remember_cookie_and_an_older_key_are_enough() -> None:
    app = login_project()
    client = app.test_client()
    client.get("/login/ann")
    client.delete_cookie("session")
    assert answer(client) == (200, "1 2 3")
    client.delete_cookie("remember_token")
    app.config.update(SECRET_KEY="a-new-secret", SECRET_KEY_FALLBACKS=["a-test-secret"])
    assert answer(client) == (200, "1 2 3")
    app.config.update(SECRET_KEY_FALLBACKS=[])
    assert answer(client)[0] == 401


def test_a_session_on_the_server_is_enough(tmp_path: Path) -> None:
    store = FileSystemCache(str(tmp_path))
    app = login_project(SESSION_TYPE="cachelib", SESSION_CACHELIB=store)
    Session(app)
    client = app.test_client()
    client.get("/login/ann")
    client.delete_cookie("remember_token")
    assert answer(client) == (200, "1 2 3")
    store.clear()
    assert answer(client)[0] == 401


def test_a_forged_or_expired_session_is_refused() -> None:
    app = login_project()
    client = app.test_client()
    client.get("/login/ann")
    client.delete_cookie("remember_token")
    cookie = client.get_cookie("session")
    assert cookie is not None
    client.set_cookie("session", cookie.value[:-2] + "xx")
    assert answer(client)[0] == 401
    client.set_cookie("session", cookie.value)
    assert answer(client)[0] == 200
    app.permanent_session_lifetime = -1
    assert answer(client)[0] == 401


# -- requests of other sites

FOREIGN = [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_cookie_with_a_foreign_page_is_refused(headers: dict[str, str]) -> None:
    client = login_project().test_client()
    client.get("/login/ann")
    assert answer(client, headers=headers)[0] == 403
    assert client.get("/ai/api/stream?message=hi", headers=headers).status_code == 403


def test_a_cookie_with_the_own_page_or_without_a_page_is_accepted() -> None:
    client = login_project().test_client()
    client.get("/login/ann")
    assert answer(client, headers=SAME_SITE)[0] == 200
    assert answer(client, headers={"Origin": "http://localhost"})[0] == 200
    assert answer(client)[0] == 200
    stream = {"Accept": "text/event-stream"}
    assert client.get("/ai/api/stream?message=hi", headers=SAME_SITE | stream).status_code == 200
    assert client.get("/ai/api/stream?message=hi", headers=stream).status_code == 403


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        ("https://example.org", {"Host": "example.org:443"}),  # nginx with `Host $host:$server_port`
        ("http://example.org", {"Host": "example.org:80"}),
        ("http://example.org:8080", {"Host": "EXAMPLE.org:8080"}),
        ("http://[::1]:8080", {"Host": "[::1]:8080"}),
        ("https://example.org", {"Host": "127.0.0.1:8000", "X-Forwarded-Host": "example.org"}),
        ("https://example.org", {"Host": "127.0.0.1:8000", "X-Forwarded-Host": "example.org, inner.example"}),
        ("https://example.org", {"Host": "127.0.0.1:8000", "X-Forwarded-Host": "example.org:443"}),
    ],
)
def test_a_cookie_with_the_own_page_behind_a_proxy_is_accepted(origin: str, headers: dict[str, str]) -> None:
    """Old browsers, and all browsers over http, send no Sec-Fetch-Site."""
    app = project()
    chat_in(app)
    client = app.test_client(use_cookies=False)
    assert answer(client, headers=headers | {"Origin": origin, "Cookie": "a=b"})[0] == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "example.org"),
        ("", "example.org"),
        ("http://example.org:81", "example.org:80"),
        ("http://example.org:443", "example.org:80"),
        ("https://example.org.evil.example", "example.org"),
        ("https://evil.example/https://example.org", "example.org"),
        ("https://example.org@evil.example", "example.org"),
        ("https://evil.example, https://example.org", "example.org"),
        ("example.org", "example.org"),
    ],
)
def test_a_cookie_with_another_page_is_refused(origin: str, host: str) -> None:
    app = project()
    chat_in(app)
    client = app.test_client(use_cookies=False)
    assert answer(client, headers={"Origin": origin, "Host": host, "Cookie": "a=b"})[0] == 403


@pytest.mark.parametrize("is_first", [False, True])
def test_the_chat_is_exempt_from_csrf_tokens_and_the_project_is_not(is_first: bool) -> None:
    app = project()
    if is_first:
        CSRFProtect(app)
    chat_in(app)
    if not is_first:
        CSRFProtect(app)
    app.post("/form")(lambda: "sent")
    client = app.test_client()
    assert answer(client) == (200, "1 2 3")
    body = {"messages": [{"role": "user", "content": "count to 3"}]}
    assert answer(client, "/ai/v1/chat/completions", json=body)[0] == 200
    assert client.post("/form").status_code == 400


# -- the process


def test_nothing_runs_before_the_first_request() -> None:
    before = threading.active_count()
    app = project()
    chat_in(app)
    assert threading.active_count() == before
    answer(app.test_client())
    assert "quartapp-loop" in [thread.name for thread in threading.enumerate()]


def test_a_chat_is_closed_with_its_app() -> None:
    app = project()
    chat = chat_in(app)
    answer(app.test_client())
    with app.app_context():
        client = chat.client()
    del app
    gc.collect()
    close_background_loop()
    assert client.is_closed()


def test_the_chat_starts_again_after_its_loop_was_closed() -> None:
    app = project()
    chat_in(app)
    assert answer(app.test_client()) == (200, "1 2 3")
    close_background_loop()
    assert answer(app.test_client()) == (200, "1 2 3")


def test_a_wrong_model_stops_the_first_request_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """A chat that gets its app at once may get its models later, so their names are checked at its start."""
    app = project()
    chat_in(app, model="haiku")
    status, body = answer(app.test_client())
    assert (status, "could not start" in body) == (500, True)
    assert "the chat cannot start. CHAT_MODEL: no model of the mock server and none in Python" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_wrong_setting_stops_at_init_app() -> None:
    app = project()
    app.config["CHAT_MAX_MESAGES"] = 3
    with pytest.raises(Exception, match="perhaps CHAT_MAX_MESSAGES is meant"):
        chat_in(app)


# -- the background loop


def in_time(work: Callable[[], Any], within_s: float = 10) -> Any:
    """Return the result of `work`, which runs in a daemon thread, because it would hang if it fails."""
    results: SimpleQueue[Outcome] = SimpleQueue()
    threading.Thread(target=lambda: results.put(Outcome.of(work)), daemon=True).start()
    return results.get(timeout=within_s).get()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_work_of_the_project_cannot_end_the_loop(error: type[BaseException]) -> None:
    app = project()
    chat = chat_in(app)

    async def fail() -> None:
        raise error

    with pytest.raises(error):
        chat.run(fail())
    assert answer(app.test_client()) == (200, "1 2 3")


def test_the_end_of_the_loop_ends_the_work_that_a_thread_waits_for() -> None:
    """At the end of the process Python waits for that thread."""
    app = project()
    chat, has_begun, ends = chat_in(app), threading.Event(), SimpleQueue[BaseException]()

    async def wait() -> None:
        has_begun.set()
        await asyncio.Event().wait()

    def run() -> None:
        try:
            chat.run(wait())
        except BaseException as error:  # noqa: BLE001 - the test reads it
            ends.put(error)

    threading.Thread(target=run, daemon=True).start()
    assert has_begun.wait(5)
    close_background_loop()
    assert isinstance(ends.get(timeout=5), CancelledError)


@pytest.mark.parametrize("is_own_app", [True, False])
def test_an_async_hook_of_one_chat_may_ask_another(is_own_app: bool) -> None:
    app, other = project(), project()
    first = chat_in(app)
    second = Chat(app if is_own_app else other, name="second", url_prefix="/second", mock_tokens_per_s=0)
    texts: list[str] = []

    @first.prepare
    async def ask(*_: Any) -> None:
        events = [event async for event in second.stream("count to 2")]
        texts.append("".join(event.text for event in events if isinstance(event, Delta)))

    if not is_own_app:
        answer(other.test_client(), "/second/api/stream")
    assert in_time(lambda: answer(app.test_client())) == (200, "1 2 3")
    assert texts == ["1 2"]


def test_an_async_hook_that_would_start_a_chat_fails() -> None:
    """It waits for the loop in which it runs."""
    app, other = project(), project()
    first, second = chat_in(app), Chat(other, mock_tokens_per_s=0)

    @first.prepare
    async def ask(*_: Any) -> None:
        with pytest.raises(RuntimeError, match="the chat is not running"):
            second.stream("count to 2")

    assert in_time(lambda: answer(app.test_client())) == (200, "1 2 3")


def test_a_response_that_has_ended_stays_ended() -> None:
    app = project()
    chat_in(app)
    with app.test_request_context("/ai/api/stream", method="POST", json=QUESTION):
        body: Any = app.full_dispatch_request().response
        assert b"".join(body) == b"1 2 3"
        assert in_time(lambda: next(body, None)) is None


def test_a_hook_that_hangs_stops_neither_the_chat_nor_its_end() -> None:
    app = project()
    chat, go = chat_in(app), threading.Event()

    @chat.on_answer
    def hang(_: AnswerReport) -> None:
        go.wait()

    client = app.test_client()
    for _ in range(40):  # more than the default executor of the loop has threads
        assert answer(client, environ_overrides={"SERVER_SOFTWARE": "no test client"}) == (200, "1 2 3")

    async def resolve() -> list[Any]:
        return await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80), 5)

    try:
        assert chat.run(resolve())
        in_time(close_background_loop, 9)
    finally:
        go.set()
