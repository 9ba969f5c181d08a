"""`Chat` on Quart apps: conventions of an extension, keywords, hooks, and answers for code of the project."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from typing import Any, TypedDict, get_type_hints

import pytest
from flask import Flask
from quart import Quart, abort, current_app, g, render_template_string, request, session
from quart_auth import AuthUser, QuartAuth, current_user, login_user

from quartapp import (
    AnswerReport,
    Chat,
    ChatError,
    ChatRequest,
    Delta,
    Done,
    Principal,
    Settings,
    SettingsError,
    chat_blueprint,
)
from quartapp.settings.keywords import SettingsKeywords


class Fast(TypedDict):
    """The mock model without its usual speed limit."""

    mock_tokens_per_s: float


FAST: Fast = {"mock_tokens_per_s": 0}
QUESTION = {"message": "count to 3"}


def project() -> Quart:
    app = Quart("project", static_folder=None)
    app.secret_key = "a-test-secret"
    return app


async def answer(client: Any, path: str = "/ai/api/stream", **options: Any) -> tuple[int, str]:
    response = await client.post(path, **({"json": QUESTION} | options))
    return response.status_code, await response.get_data(as_text=True)


# -- an extension


async def test_a_chat_is_added_at_once_or_by_init_app() -> None:
    at_once, later = project(), project()
    chat = Chat(at_once, url_prefix="/ai", **FAST)
    chat.init_app(later)
    for app in (at_once, later):
        async with app.test_app() as running:
            assert await answer(running.test_client()) == (200, "1 2 3")


async def test_two_chats_of_one_app_have_their_own_settings() -> None:
    app = project()
    Chat(app, url_prefix="/ai", **FAST)
    Chat(app, name="echo", url_prefix="/echo", model="mock-echo", **FAST)
    async with app.test_app() as running:
        client = running.test_client()
        assert await answer(client) == (200, "1 2 3")
        assert await answer(client, "/echo/api/stream") == (200, "count to 3")


async def test_a_keyword_takes_precedence_over_the_config_of_the_app() -> None:
    app = project()
    app.config.update(CHAT_MODEL="mock", CHAT_MOCK_TOKENS_PER_S=0)
    Chat(app, url_prefix="/ai", model="mock-echo")
    async with app.test_app() as running:
        assert await answer(running.test_client()) == (200, "count to 3")


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"modle": "mock"}, "modle: not a keyword of Chat, perhaps model is meant; for example model='mock'"),
        ({"url_prefx": "/ai"}, "url_prefx: not a keyword of Chat, perhaps url_prefix is meant"),
        ({"CHAT_MODEL": "mock"}, "CHAT_MODEL: not a keyword of Chat, perhaps model is meant"),
        ({"api_key": "sk-1"}, "api_key: not a keyword of Chat, perhaps openai_api_key is meant"),
        ({"authenticate": print}, "authenticate: a decorator of Chat; for example @chat.authenticate"),
        ({"max_messages": 0}, "CHAT_MAX_MESSAGES: "),
        ({"model": "none-such"}, "CHAT_MODEL: no model of the mock server"),
        ({"models": {"fast": {"kind": "openai", "key_env": "NOT_SET"}}}, "CHAT_MODELS: models.fast.key_env: "),
    ],
)
def test_a_wrong_keyword_stops_at_init_app(keywords: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Chat(**keywords).init_app(project())
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize("prefix", ["ai", "/ai/", "/"])
def test_a_wrong_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="for example /ai"):
        Chat(url_prefix=prefix)


async def test_an_app_may_be_given_by_its_proxy_and_only_once() -> None:
    app = project()
    async with app.app_context():
        chat = Chat(current_app, url_prefix="/ai", **FAST)
    with pytest.raises(RuntimeError, match="the chat chat is in this app already"):
        chat.init_app(app)
    async with app.test_app() as running:
        assert await answer(running.test_client()) == (200, "1 2 3")


def test_routes_of_the_app_that_come_first_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    app = project()
    app.add_url_rule("/ai/api/stream", "own", lambda: "own")
    Chat(app, url_prefix="/ai")
    assert "routes below the prefix of the chat, for example /ai/api/stream" in caplog.text


def test_a_flask_app_is_served_by_asgi_and_gets_no_blueprint_of_quart() -> None:
    with pytest.raises(TypeError, match="asgi takes a Flask app, not Quart"):
        Chat(url_prefix="/ai").asgi(project())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a Flask app gets the chat by Chat\(app"):
        Flask("project").register_blueprint(chat_blueprint())


@pytest.mark.parametrize(
    ("hook", "function", "parameters"),
    [
        ("authenticate", lambda: "ann", "(request)"),
        ("prepare", lambda request: request, "(request, principal)"),
        ("on_answer", lambda: None, "(report)"),
        ("authenticate", "ann", "(request)"),
    ],
)
def test_a_hook_with_wrong_parameters_is_refused(hook: str, function: Any, parameters: str) -> None:
    with pytest.raises(TypeError, match=f"{hook} is .*called with {re.escape(parameters)}"):
        getattr(Chat(), hook)(function)


async def test_a_filter_is_registered_with_and_without_a_window() -> None:
    app = project()
    chat = Chat(app, url_prefix="/ai", **FAST)

    @chat.filter
    def two(text: str, principal: Any) -> str:
        return text.replace("2", "two")

    @chat.filter(window=4096)
    def three(text: str, principal: Any) -> str:
        return text.replace("3", "three")

    assert two("2", None) + three("3", None) == "twothree"
    async with app.test_app() as running:
        assert await answer(running.test_client()) == (200, "1 two three")


@pytest.mark.parametrize("window", [0, 4097, -1, 1.5, "64", True, None])
def test_the_window_of_a_filter_is_checked(window: Any) -> None:
    with pytest.raises(ValueError, match="from 1 to 4096, not"):
        Chat().filter(window=window)


def test_a_filter_is_a_sync_function_of_two_parameters() -> None:
    async def filter_later(text: str, principal: Any) -> str:
        return text

    with pytest.raises(TypeError, match="filter takes a sync function"):
        Chat().filter(filter_later)  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"filter is called with \(text, principal\)"):
        Chat().filter(lambda text: text)  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"filter is a function that is called with \(text, principal\)"):
        Chat().filter("text")  # type: ignore[call-overload]


def test_another_object_than_an_app_is_refused() -> None:
    with pytest.raises(TypeError, match="a Quart or Flask app, not dict"):
        Chat({})  # type: ignore[arg-type]


def test_the_typed_keywords_are_the_settings() -> None:
    assert list(SettingsKeywords.__annotations__) == list(Settings.model_fields)
    assert get_type_hints(SettingsKeywords)["max_messages"] is int


@pytest.mark.parametrize(
    ("without", "path", "rest"),
    [
        ("page", "/ai/", "/ai/static/quart-chat.js"),
        (("page", "files"), "/ai/static/quart-chat.js", "/ai/api/models"),
        ("docs", "/ai/openapi.json", "/ai/api/models"),
        ("openai", "/ai/v1/models", "/ai/api/models"),
        (("native", "page"), "/ai/api/models", "/ai/v1/models"),
    ],
)
async def test_left_out_routes_are_not_found(without: Any, path: str, rest: str) -> None:
    app = project()
    Chat(app, url_prefix="/ai", without=[without] if isinstance(without, str) else without, **FAST)
    async with app.test_app() as running:
        client = running.test_client()
        assert (await client.get(path)).status_code == 404
        assert (await client.get(rest)).status_code == 200


@pytest.mark.parametrize(
    ("without", "sentence"), [(["v1"], "'v1' is none of"), (["native"], "the page needs native and files")]
)
def test_a_wrong_switch_is_refused(without: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Chat(without=without)


# -- hooks


async def test_hooks_run_in_the_context_of_the_request() -> None:
    app, chat = project(), Chat(url_prefix="/ai", **FAST)
    seen: dict[str, Any] = {}

    @app.before_request
    def log_in() -> None:
        g.user = "ann"

    @chat.authenticate
    def who(request_: Any) -> str:
        assert request_.path == request.path
        session["visits"] = session.get("visits", 0) + 1
        seen["thread"] = threading.current_thread()
        return str(g.user)

    @chat.prepare
    async def add(chat_request: ChatRequest, principal: Principal | None) -> None:
        seen["prepare"] = (chat_request.text, principal and principal.id, g.user, session["visits"])

    chat.init_app(app)
    async with app.test_app() as running:
        client = running.test_client()
        assert await answer(client) == (200, "1 2 3")
        assert await answer(client) == (200, "1 2 3")
    assert seen["prepare"] == ("count to 3", "ann", "ann", 2)
    assert seen["thread"] is not threading.main_thread()


@pytest.mark.parametrize("is_async", [False, True])
async def test_prepare_changes_the_request(is_async: bool) -> None:
    chat = Chat(
        url_prefix="/ai", models={"a": {"kind": "mock"}, "echo": {"kind": "mock", "model": "mock-echo"}}, **FAST
    )

    def prepare(chat_request: ChatRequest, _: Principal | None) -> ChatRequest:
        return chat_request.with_model("echo").with_context("Today is Monday.")

    async def prepare_later(chat_request: ChatRequest, principal: Principal | None) -> ChatRequest:
        return prepare(chat_request, principal)

    chat.prepare(prepare_later if is_async else prepare)
    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        assert await answer(running.test_client()) == (200, "count to 3")


async def test_prepare_refuses_with_an_error_or_an_abort() -> None:
    chat = Chat(url_prefix="/ai", **FAST)

    @chat.prepare
    def refuse(chat_request: ChatRequest, _: Principal | None) -> None:
        if "4" in chat_request.text:
            abort(403)
        raise ChatError("budget_exceeded", retry_after_s=60)

    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        client = running.test_client()
        response = await client.post("/ai/api/stream", json=QUESTION)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
        assert (await client.post("/ai/api/stream", json={"message": "count to 4"})).status_code == 403
        assert (await client.post("/ai/api/stream", json=QUESTION)).status_code == 429  # no place is left taken


@pytest.mark.parametrize(
    "error", [ZeroDivisionError, StopIteration, SystemExit, KeyboardInterrupt, asyncio.CancelledError]
)
@pytest.mark.parametrize("hook", ["authenticate", "prepare"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_hook_that_raises_is_a_500_with_an_id(
    error: type[BaseException], hook: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise error

    async def fail_later(*_: Any) -> None:
        raise error

    chat = Chat(url_prefix="/ai", **FAST)
    getattr(chat, hook)(fail_later if is_async else fail)
    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        response = await running.test_client().post("/ai/api/stream", json=QUESTION)
        body = await response.get_json()
    assert (response.status_code, body["error"]["code"]) == (500, "internal_error")
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert body["error"]["id"] in record.getMessage()
    assert record.exc_info is not None


async def test_a_prepare_that_returns_something_else_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    chat = Chat(url_prefix="/ai", **FAST)
    chat.prepare(lambda *_: "text")  # type: ignore[type-var]
    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        assert (await answer(running.test_client()))[0] == 500
    assert "prepare returned str, not a ChatRequest or None" in caplog.text


# -- the end of an answer


async def reports_of(chat: Chat, body: dict[str, Any], path: str = "/ai/api/stream") -> list[AnswerReport]:
    reports: list[AnswerReport] = []
    chat.on_answer(reports.append)
    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        await (await running.test_client().post(path, json=body)).get_data()
    return reports


async def test_on_answer_gets_question_answer_and_user() -> None:
    chat = Chat(url_prefix="/ai", **FAST)
    chat.authenticate(lambda _: Principal("u-17", plan="free"))
    [report] = await reports_of(chat, QUESTION)
    assert report.is_complete
    assert (report.request and report.request.text, report.text) == ("count to 3", "1 2 3")
    assert (report.principal and report.principal.plan, report.usage and report.usage.output_tokens) == ("free", 3)


async def test_on_answer_gets_the_part_of_a_truncated_answer() -> None:
    [report] = await reports_of(Chat(url_prefix="/ai", **FAST), QUESTION | {"model": "fault-drop:2"})
    assert (report.is_complete, report.ending, report.text) == (False, "upstream_error", "1 2")


async def test_on_answer_gets_a_refused_answer_without_text() -> None:
    [report] = await reports_of(Chat(url_prefix="/ai", **FAST), QUESTION | {"model": "fault-status:503"})
    assert (report.ending, report.text) == ("upstream_overloaded", "")


@pytest.mark.parametrize("stream", [False, True])
async def test_on_answer_gets_the_text_of_unchanged_chunks(stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": "count to 3"}], "stream": stream}
    [report] = await reports_of(Chat(url_prefix="/ai", **FAST), body, "/ai/v1/chat/completions")
    assert report.text == "1 2 3"


async def test_on_answer_gets_tool_calls_of_unchanged_chunks() -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    body = {"messages": [{"role": "user", "content": "Rain?"}], "stream": True, "tools": [tool]}
    [report] = await reports_of(
        Chat(url_prefix="/ai", **FAST), body | {"model": "mock-tool-call"}, "/ai/v1/chat/completions"
    )
    assert report.answer is not None
    [call] = report.answer.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("weather", {})
    assert call.id


async def test_a_failing_on_answer_is_logged_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    chat = Chat(url_prefix="/ai", **FAST)

    @chat.on_answer
    def fail(report: AnswerReport) -> None:
        raise ZeroDivisionError

    @chat.on_answer
    async def end(report: AnswerReport) -> None:
        raise SystemExit

    reports = await reports_of(chat, QUESTION)
    assert len(reports) == 1
    assert f"on_answer failed for the answer {reports[0].id}" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "SystemExit" in caplog.text


async def test_on_answer_has_an_app_context_sync_or_async() -> None:
    chat, names = Chat(url_prefix="/ai", **FAST), []
    chat.on_answer(lambda _: names.append(current_app.name))

    @chat.on_answer
    async def later(_: AnswerReport) -> None:
        names.append(current_app.name)

    await reports_of(chat, QUESTION)
    assert names == ["project", "project"]


async def test_the_stop_of_the_app_waits_for_on_answer() -> None:
    chat, go, saved = Chat(url_prefix="/ai", **FAST), asyncio.Event(), []

    @chat.on_answer
    async def save(report: AnswerReport) -> None:
        await go.wait()
        saved.append(report.ending)

    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        await answer(running.test_client())
        asyncio.get_running_loop().call_soon(go.set)
    assert saved == ["done"]


async def test_a_signal_is_sent_with_the_app() -> None:
    from quartapp.signals import answer_ended

    app, seen = project(), []
    Chat(app, url_prefix="/ai", **FAST)

    def note(sender: Any, report: AnswerReport) -> None:
        seen.append((sender, report.text))

    with answer_ended.connected_to(note):
        async with app.test_app() as running:
            await answer(running.test_client())
    assert seen == [(app, "1 2 3")]


# -- models of the project


async def names(app: Quart) -> list[str]:
    response = await app.test_client().get("/ai/api/models")
    offer = await response.get_json()
    return [offer["default"], *(model["id"] for model in offer["models"])]


async def test_a_model_in_python_is_next_to_configured_ones() -> None:
    chat = Chat(url_prefix="/ai", models={"fast": {"kind": "mock"}}, **FAST)

    @chat.model("haiku")
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        assert await names(app) == ["haiku", "haiku", "fast"]
        client = running.test_client()
        assert await answer(client) == (200, "An old silent pond")
        assert await answer(client, json=QUESTION | {"model": "fast"}) == (200, "1 2 3")


async def test_an_empty_table_leaves_only_models_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    chat = Chat(url_prefix="/ai", models={})

    @chat.model("haiku")
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    app = project()
    chat.init_app(app)
    async with app.test_app():
        assert await names(app) == ["haiku", "haiku"]


async def test_models_in_python_and_of_the_table_are_fallbacks_of_each_other() -> None:
    table = {"down": {"kind": "mock", "model": "fault-status:503", "fallbacks": ["haiku"]}, "fast": {"kind": "mock"}}
    chat = Chat(url_prefix="/ai", models=table, **FAST)

    @chat.model("haiku", offered=False)
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    @chat.model("busy", fallbacks=["fast"])
    async def busy(_: ChatRequest) -> Any:
        for text in list[str]():
            yield text
        raise ChatError("upstream_busy")

    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        assert await names(app) == ["busy", "busy", "down", "fast"]
        client = running.test_client()
        assert await answer(client, json=QUESTION | {"model": "down"}) == (200, "An old silent pond")
        assert await answer(client, json=QUESTION | {"model": "busy"}) == (200, "1 2 3")


async def test_an_exception_of_a_model_in_python_is_worth_a_retry_and_a_fallback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat(url_prefix="/ai", models={"fast": {"kind": "mock"}}, max_retry_wait_s=1, **FAST)
    calls: list[str] = []

    @chat.model("broken", retries=1, fallbacks=["fast"])
    async def broken(request: ChatRequest) -> Any:
        calls.append(request.text)
        for text in list[str]():
            yield text
        raise ConnectionError("the database is away")

    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        assert await answer(running.test_client()) == (200, "1 2 3")
    assert calls == ["count to 3"] * 2
    assert "the database is away" in caplog.text


async def test_a_model_in_python_that_is_silent_is_replaced_by_its_fallback() -> None:
    chat = Chat(url_prefix="/ai", models={"fast": {"kind": "mock"}}, **FAST)

    @chat.model("silent", fallbacks=["fast"], first_event_timeout_s=0.01)
    async def silent(_: ChatRequest) -> Any:
        await asyncio.Event().wait()
        yield ""

    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        assert await answer(running.test_client()) == (200, "1 2 3")


async def test_prepare_may_choose_a_model_that_clients_cannot() -> None:
    chat = Chat(url_prefix="/ai", models={"fast": {"kind": "mock"}}, model="fast", **FAST)

    @chat.model("best", offered=False)
    async def best(request: ChatRequest) -> Any:
        yield f"for {request.principal and request.principal.id}"

    @chat.authenticate
    def who(request_: Any) -> int:
        return int(request_.headers["X-User"])

    @chat.prepare
    def choose(chat_request: ChatRequest, principal: Principal) -> ChatRequest | None:
        return chat_request.with_model("best") if principal.id == "1" else None

    app = project()
    chat.init_app(app)
    async with app.test_app() as running:
        client = running.test_client()
        assert await answer(client, headers={"X-User": "1"}) == (200, "for 1")
        assert await answer(client, headers={"X-User": "2"}) == (200, "1 2 3")
        assert (await answer(client, headers={"X-User": "2"}, json=QUESTION | {"model": "best"}))[0] == 404
        assert isinstance([event async for event in chat.stream("hi", model="best")][-1], Done)


async def test_a_model_comes_before_the_start_and_has_a_name() -> None:
    app = project()
    chat = Chat(app, url_prefix="/ai", models={"fast": {"kind": "mock", "fallbacks": ["haiku"]}}, **FAST)
    with pytest.raises(TypeError, match="takes the name of the model"):
        chat.model(print)  # type: ignore[arg-type]

    @chat.model("haiku")  # after the app, as decorators of a chat that got its app at once
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    async with app.test_app():
        with pytest.raises(RuntimeError, match="the model late comes too late"):
            chat.model("late")


@pytest.mark.parametrize("fallbacks", [["none"], ["haiku"]])
def test_an_unknown_fallback_of_a_model_in_python_stops_the_start(fallbacks: list[str]) -> None:
    chat = Chat()

    @chat.model("haiku", fallbacks=fallbacks)
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    with pytest.raises(
        SettingsError, match=f"the model haiku: its fallback {fallbacks[0]} is unknown; there is no other one"
    ):
        chat.init_app(project())


def test_models_that_clients_cannot_request_stop_the_start() -> None:
    chat = Chat()

    @chat.model("haiku", offered=False)
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    with pytest.raises(SettingsError, match="none of the models is offered"):
        chat.init_app(project())


def test_a_default_that_is_not_in_the_table_stops_at_init_app() -> None:
    with pytest.raises(SettingsError, match="CHAT_MODEL: none of the models that are offered"):
        Chat(models={"fast": {"kind": "mock"}}, model="none").init_app(project())


async def test_a_new_request_of_prepare_keeps_the_principal() -> None:
    chat = Chat(url_prefix="/ai", **FAST)
    chat.authenticate(lambda _: "ann")
    chat.prepare(lambda *_: ChatRequest([{"role": "user", "content": "count to 2"}]))
    [report] = await reports_of(chat, QUESTION)
    assert (report.principal and report.principal.id, report.question, report.text) == ("ann", "count to 2", "1 2")


def test_a_name_in_the_table_and_in_python_stops_the_start() -> None:
    chat = Chat(models={"haiku": {"kind": "mock"}})

    @chat.model("haiku")
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    with pytest.raises(SettingsError, match=r"models\.haiku: the name of a model in Python too"):
        chat.init_app(project())


def test_a_function_that_never_answers_is_no_model() -> None:
    with pytest.raises(TypeError, match="not an async generator function"):
        Chat().model("x")(answer)  # type: ignore[type-var]


# -- answers for code of the project


async def test_stream_and_iterate_yield_the_events_of_an_answer() -> None:
    app, chat = project(), Chat(url_prefix="/ai", **FAST)
    reports: list[AnswerReport] = []
    chat.on_answer(reports.append)
    chat.init_app(app)
    async with app.test_app():
        events = [event async for event in chat.stream("count to 3", principal=Principal("ann"))]
        iterated = await asyncio.to_thread(lambda: list(chat.iterate([{"role": "user", "content": "count to 3"}])))
    for each in (events, iterated):
        assert "".join(event.text for event in each if isinstance(event, Delta)) == "1 2 3"
        assert isinstance(each[-1], Done)
    assert [report.principal and report.principal.id for report in reports] == ["ann", None]


async def noted(stream: AsyncIterator[Any], texts: list[Any]) -> AsyncIterator[Any]:
    """Yield nothing, and note the events up to an exception."""
    async for event in stream:
        texts += [event]
    for event in ():
        yield event


async def test_stream_raises_for_an_answer_that_is_not_complete() -> None:
    app = project()
    texts: list[Any] = []
    chat = Chat(app, url_prefix="/ai", **FAST)
    async with app.test_app():
        stream = chat.stream("count to 3", model="fault-drop:2")
        with pytest.raises(ChatError, match="upstream_error"):
            texts.extend([event async for event in noted(stream, texts)])
        with pytest.raises(ChatError, match="upstream_overloaded"):
            await asyncio.to_thread(lambda: list(chat.iterate("count to 3", model="fault-status:503")))
        with pytest.raises(ChatError, match="model_not_found"):
            [_ async for _ in chat.stream("count to 3", model="none")]
        for messages, path in (([{"role": "user", "content": 7}], "messages.0.content.str"), (7, "messages")):
            with pytest.raises(ChatError, match="invalid_request") as raised:
                [_ async for _ in chat.stream(messages)]  # type: ignore[arg-type]
            assert raised.value.path == path
        with pytest.raises(ChatError, match="invalid_request") as raised:
            [_ async for _ in chat.stream("count to 3", temprature=1)]
        assert raised.value.sentence == "Unknown parameter: 'temprature'."
    assert [event.text for event in texts if isinstance(event, Delta)] == ["1", " 2"]


async def test_closing_a_stream_cancels_the_answer() -> None:
    app, chat, endings = (
        project(),
        Chat(url_prefix="/ai", max_open_streams=1, **FAST),
        asyncio.Queue[str](),
    )
    chat.on_answer(lambda report: endings.put_nowait(report.ending))

    @chat.on_answer
    async def note(report: AnswerReport) -> None:
        await endings.put(report.ending)

    chat.init_app(app)
    async with app.test_app():
        stream = chat.stream("count to 5", model="fault-stall:1")
        assert await anext(stream)
        await stream.aclose()
        assert await endings.get() == "client_disconnected"
        assert isinstance([event async for event in chat.stream("count to 1")][-1], Done)


async def test_the_client_of_a_model_runs_in_the_loop_of_the_chat() -> None:
    app, chat = project(), Chat(url_prefix="/ai", **FAST)
    chat.init_app(app)

    def ask() -> list[str]:
        return [model.id for model in chat.run(chat.client().models.list()).data]

    async with app.test_app():
        assert "mock" in await asyncio.to_thread(ask)
        assert "mock" in [model.id for model in (await chat.run_async(chat.client("mock").models.list())).data]
        with pytest.raises(RuntimeError, match="would block the event loop"):
            chat.run(chat.client().models.list())


async def test_a_model_in_python_has_no_client() -> None:
    app, chat = project(), Chat(url_prefix="/ai")

    @chat.model("haiku")
    async def haiku(_: ChatRequest) -> Any:
        yield "An old silent pond"

    chat.init_app(app)
    async with app.test_app():
        with pytest.raises(LookupError, match="haiku is written in Python"):
            chat.client()


async def test_without_a_running_app_the_reason_is_given() -> None:
    chat = Chat(**FAST)
    with pytest.raises(RuntimeError, match="there is no current app"):
        chat.stream("count to 3")
    app = project()
    chat.init_app(app)
    with pytest.raises(RuntimeError, match="the chat is not running"):
        chat.stream("count to 3")
    other = project()
    chat.init_app(other)
    with pytest.raises(RuntimeError, match="there is no current app"):
        chat.stream("count to 3")
    stranger = project()
    async with stranger.app_context():
        with pytest.raises(RuntimeError, match="init_app was not called for the current app"):
            chat.stream("count to 3")
    async with app.test_app(), app.app_context():
        assert [event async for event in chat.stream("count to 1")]


# -- the tag


async def test_the_tag_of_a_template_has_prefix_nonce_and_user() -> None:
    app, chat = project(), Chat(url_prefix="/ai", **FAST)
    chat.authenticate(lambda r: r.args.get("user"))
    chat.init_app(app)

    @app.get("/page")
    async def page() -> str:
        return await render_template_string("{{ chat_tag(nonce='n-1', heading='<Hi>', system_prompt='') }}")

    async with app.test_app() as running:
        client = running.test_client()
        html = await (await client.get("/page", query_string={"user": "ann"})).get_data(as_text=True)
        assert html.startswith('<quart-chat src="/ai" user="')
        assert html.endswith(
            ' heading="&lt;Hi&gt;" system-prompt=""></quart-chat>'
            '<script type="module" src="/ai/static/quart-chat.js" nonce="n-1"></script>'
        )
        assert "ann" not in html
        anonymous = await (await client.get("/page")).get_data(as_text=True)
        assert anonymous.startswith('<quart-chat src="/ai" heading=')


# -- logins of Quart projects


async def test_a_session_of_quart_protects_the_chat() -> None:
    app, chat = project(), Chat(url_prefix="/ai", **FAST)
    chat.authenticate(lambda _: session.get("user"))
    chat.init_app(app)

    @app.get("/login")
    async def log_in() -> str:
        session["user"] = "ann"
        return ""

    async with app.test_app() as running:
        client = running.test_client()
        assert (await answer(client))[0] == 401
        await client.get("/login")
        assert await answer(client) == (200, "1 2 3")
        assert (await answer(client, headers={"Sec-Fetch-Site": "cross-site"}))[0] == 403


async def test_quart_auth_protects_the_chat() -> None:
    app, chat = project(), Chat(url_prefix="/ai", **FAST)
    app.config["QUART_AUTH_COOKIE_SECURE"] = False
    QuartAuth(app)
    chat.authenticate(lambda _: current_user.auth_id)
    chat.init_app(app)

    @app.get("/login")
    async def log_in() -> str:
        login_user(AuthUser("ann"))
        return ""

    async with app.test_app() as running:
        client = running.test_client()
        assert (await answer(client))[0] == 401
        await client.get("/login")
        assert await answer(client) == (200, "1 2 3")
        client.set_cookie("localhost", "QUART_AUTH", "forged")
        assert (await answer(client))[0] == 401


async def test_a_tag_without_brackets_is_an_error() -> None:
    app = project()
    Chat(app, url_prefix="/ai", **FAST)

    @app.get("/page")
    async def page() -> str:
        return await render_template_string("{{ chat_tag }}")

    async with app.test_app() as running:
        assert (await running.test_client().get("/page")).status_code == 500


async def test_each_chat_of_an_app_has_a_tag_of_its_own_name() -> None:
    app = project()
    Chat(app, url_prefix="/ai", **FAST)
    Chat(app, name="help", url_prefix="/help", **FAST)

    @app.get("/page")
    async def page() -> str:
        return await render_template_string("{{ chat_tag() }} {{ help_tag() }}")

    async with app.test_app() as running:
        html = await (await running.test_client().get("/page")).get_data(as_text=True)
    assert re.findall('quart-chat src="([^"]*)"', html) == ["/ai", "/help"]
