"""The clients of a test: every format over the test clients of Flask and Quart, complete and not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import flask
import pytest
import quart
from quart import Quart

from quartapp import Chat, ChatError, Reasoning, Refusal, ToolCall
from quartapp.blueprint import running_chats
from quartapp.testing import AnswerError, MockModel, TruncatedAnswerError, chat_client
from quartapp.testing.formats import FORMATS
from tests.support.testing_apps import Host, ask, make_app

MOCK = {"model": "mock"}

HOSTS = pytest.mark.parametrize("host", ["flask", "quart"])
EACH_FORMAT = pytest.mark.parametrize("format", FORMATS)
STREAMED = pytest.mark.parametrize("format", ["text", "ndjson", "sse", "openai", "ai_sdk"])
WHOLE = pytest.mark.parametrize("format", ["json", "openai_json"])


@pytest.fixture
def model() -> Iterator[MockModel]:
    with MockModel().installed() as model:
        yield model


@HOSTS
@EACH_FORMAT
def test_a_complete_answer_has_its_text(model: MockModel, host: Host, format: str) -> None:
    app = make_app(host, **MOCK)
    model.answer("Buy ", "möre ", "tea. 🍵")
    answer = ask(app, format=format)
    assert (answer.text, answer.finish_reason, answer.status) == ("Buy möre tea. 🍵", "stop", 200)
    assert answer.headers["x-request-id"]
    assert model.requests[-1].text == "Write"
    messages = [{"content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Again"}]
    assert ask(app, messages, format).text.startswith("You said: Again")
    assert [each["content"] for each in model.requests[-1].messages] == ["Hi", "Hello.", "Again"]


@HOSTS
@STREAMED
@pytest.mark.parametrize("fault", ["drop", "no-finish"])
def test_a_truncated_answer_raises_with_the_text_so_far(model: MockModel, host: Host, format: str, fault: str) -> None:
    model.fault(fault, "Buy ", "möre ")
    with pytest.raises(TruncatedAnswerError, match=r"the answer is truncated \(.+\) after 'Buy möre '") as caught:
        ask(make_app(host, **MOCK), format=format)
    assert (caught.value.text, caught.value.status) == ("Buy möre ", 200)
    code = "upstream_error" if fault == "drop" else "upstream_truncated"
    assert caught.value.code == (None if format in ("text", "ai_sdk") else code)


@HOSTS
@WHOLE
def test_a_truncated_answer_is_a_refusal_where_nothing_is_streamed(model: MockModel, host: Host, format: str) -> None:
    model.fault("drop", "Buy ")
    with pytest.raises(AnswerError, match="status 502, upstream_error") as caught:
        ask(make_app(host, **MOCK), format=format)
    assert caught.value.text == ""


@HOSTS
@EACH_FORMAT
def test_a_refusal_raises_with_its_status_and_code(model: MockModel, host: Host, format: str) -> None:
    model.fail("upstream_busy")
    with pytest.raises(AnswerError, match="status 429") as caught:
        ask(make_app(host, **MOCK), format=format)
    assert not isinstance(caught.value, TruncatedAnswerError)
    code = "rate_limit_exceeded" if format.startswith("openai") else "upstream_busy"
    assert caught.value.code == (None if format == "ai_sdk" else code)
    assert caught.value.message == "The model is busy; try again later."
    assert caught.value.response.headers["Retry-After"] == "7"


@pytest.mark.parametrize("format", ["ndjson", "sse", "openai", "ai_sdk"])
def test_an_error_after_the_status_and_before_a_piece_is_no_truncation(model: MockModel, format: str) -> None:
    model.fault("stall", after=0)
    app = make_app("flask", **MOCK, status_timeout_s=0.01, first_event_timeout_s=0.2)
    with pytest.raises(AnswerError) as caught:
        ask(app, format=format)
    assert caught.value.status == 200
    assert isinstance(caught.value, TruncatedAnswerError) is (format == "ai_sdk")  # its error has no code


PIECES = (
    Reasoning("Hm."),
    "Let me look.",
    ToolCall(0, "call_1", "weather", '{"city": '),
    ToolCall(0, arguments='"Bern"}'),
    ToolCall(1, "call_2", "shop", "{}"),
)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "text"])
def test_reasoning_and_tool_calls_are_collected(model: MockModel, format: str) -> None:
    model.answer(*PIECES)
    answer = ask(make_app("flask", **MOCK), format=format)
    assert (answer.reasoning, answer.text) == ("Hm.", "Let me look.")
    assert [(call.id, call.name, call.input) for call in answer.tool_calls] == [
        ("call_1", "weather", {"city": "Bern"}),
        ("call_2", "shop", {}),
    ]
    assert answer.finish_reason == ("tool-calls" if format == "ai_sdk" else "tool_calls")
    assert answer.usage is not None
    assert repr(answer).startswith('<ChatAnswer \'Let me look.\', weather({"city": "Bern"}), shop({}), tool')


@pytest.mark.parametrize("format", ["ndjson", "sse", "json", "openai", "openai_json"])
def test_a_refusal_of_the_model_is_no_text(model: MockModel, format: str) -> None:
    model.answer(Refusal("No."))
    answer = ask(make_app("flask", **MOCK), format=format)
    assert (answer.text, answer.refusal) == ("", "No.")


def test_a_field_and_a_header_are_sent() -> None:
    app = flask.Flask("project")
    chat = Chat(app, model="mock")

    @chat.authenticate
    def who(request: flask.Request) -> str | None:
        return request.headers.get("X-User")

    client = chat_client(app.test_client(), headers={"X-User": "ann"})
    with MockModel().installed() as model:
        client.ask("Hi", temperature=0.5)
        with pytest.raises(AnswerError, match="422, invalid_request"):
            client.ask("Hi", temperatur=0.5)
        with pytest.raises(AnswerError, match="401, unauthorized"):
            client.ask("Hi", headers={"X-User": ""})
    assert [request.params["temperature"] for request in model.requests] == [0.5]


@HOSTS
def test_the_cookies_of_the_test_client_are_sent(model: MockModel, host: Host) -> None:
    def user(request: Any) -> Any:
        return (flask.session if host == "flask" else quart.session).get("user")

    app = flask.Flask("project") if host == "flask" else Quart("project")
    app.secret_key = "secret"
    Chat(app, model="mock").authenticate(user)
    if isinstance(app, Quart):
        asyncio.run(_ask_logged_in(app))
        return
    client = app.test_client()
    with pytest.raises(AnswerError, match="401"):
        chat_client(client).ask("Hi")
    with client.session_transaction() as login:
        login["user"] = "ann"
    assert chat_client(client).ask("Hi").text


async def _ask_logged_in(app: Quart) -> None:
    client = app.test_client()
    with pytest.raises(AnswerError, match="401"):
        await chat_client(client).ask("Hi")
    async with client.session_transaction() as login:
        login["user"] = "ann"
    assert (await chat_client(client).ask("Hi")).text


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="'xml' is none of text, ndjson"):
        chat_client(flask.Flask("project").test_client(), format="xml")


def test_a_page_in_place_of_the_chat_is_an_error_with_its_text() -> None:
    with pytest.raises(AnswerError, match=r"(?s)status 404, no code: .*Not Found"):
        chat_client(flask.Flask("project").test_client()).ask("Hi")


@pytest.mark.parametrize("format", ["ndjson", "sse", "json", "ai_sdk"])
def test_a_tool_in_python_runs_and_its_result_is_collected(model: MockModel, format: str) -> None:
    app = flask.Flask("project")
    chat = Chat(app, url_prefix="/ai", model="mock")

    @chat.tool
    def weather(city: str) -> str:
        """Return the weather in a city."""
        return f"sunny in {city}"

    @chat.tool(needs_approval=True)
    def book(city: str) -> str:
        """Book a journey to a city."""
        raise AssertionError("it was not approved")

    model.call_tool("weather", city="Bern")
    model.answer("Take ", "no umbrella.")
    answer = ask(app, format=format)
    assert answer.text == "Take no umbrella."
    assert [call.name for call in answer.tool_calls] == ["weather"]
    assert [result["content"] for result in answer.tool_results] == ["sunny in Bern"]
    assert model.requests[1].messages[-1]["content"] == "sunny in Bern"
    model.call_tool("book", city="Bern")
    answer = ask(app, format=format)
    assert [each["id"] for each in answer.tool_approvals] == [answer.tool_calls[0].id]


# -- a Quart app


async def test_an_app_that_runs_is_not_started_again(model: MockModel) -> None:
    app = make_app("quart", **MOCK)
    assert isinstance(app, Quart)
    starts: list[str] = []
    app.before_serving(lambda: starts.append("start"))
    async with app.test_app() as running:
        client = chat_client(running.test_client(), "/ai")
        for _ in range(2):
            await client.ask("Hi")
    assert starts == ["start"]


async def test_a_block_starts_the_app_once(model: MockModel) -> None:
    app = make_app("quart", **MOCK)
    assert isinstance(app, Quart)
    starts: list[str] = []
    app.before_serving(lambda: starts.append("start"))
    async with chat_client(app.test_client(), "/ai") as client:
        for _ in range(2):
            await client.ask("Hi")
    assert starts == ["start"]
    await chat_client(app.test_client(), "/ai").ask("Hi")
    assert starts == ["start", "start"]
    assert not any(chat.is_open for chat in running_chats(app).values())


def test_an_app_of_an_earlier_event_loop_is_started_again(model: MockModel) -> None:
    app = make_app("quart", **MOCK)
    assert isinstance(app, Quart)
    asyncio.run(app.startup())  # without a stop
    model.answer("tea")
    assert ask(app).text == "tea"


async def test_the_hooks_have_ended_with_the_answer(model: MockModel) -> None:
    saved: list[str] = []
    app = Quart("project")
    chat = Chat(app, model="mock")

    @chat.on_answer
    async def save(report: Any) -> None:
        await asyncio.sleep(0)
        saved.append(report.text)

    model.answer("tea")
    async with app.test_app():
        await chat_client(app.test_client()).ask("Hi")
        assert saved == ["tea"]


async def test_a_cancelled_test_is_cancelled(model: MockModel) -> None:
    app = make_app("quart", **MOCK)
    assert isinstance(app, Quart)
    model.fault("stall", after=0)
    async with app.test_app():
        asking = asyncio.create_task(chat_client(app.test_client(), "/ai", "text").ask("Hi"))
        while not model.requests:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


# -- parsers


@pytest.mark.parametrize(
    ("format", "body"),
    [
        ("ndjson", '{"type":"delta","text":"a"}\n{"type":"done","fin'),
        ("sse", 'data: {"type":"delta","text":"a"}\n\nevent: end\ndata: {"type":"done","finish_reason":"stop"}'),
        ("openai", 'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'),
        ("ai_sdk", 'data: {"type":"text-delta","id":"1","delta":"a"}\n\ndata: [DONE]\n\n'),
    ],
)
def test_a_body_without_its_end_is_truncated(format: str, body: str) -> None:
    """A proxy or a function of `after_request` may truncate it."""
    app = flask.Flask("project")
    app.post("/chat" + FORMATS[format].path)(lambda: body)
    with pytest.raises(TruncatedAnswerError, match="ended without") as caught:
        chat_client(app.test_client(), format=format).ask("Hi")
    assert (caught.value.text, caught.value.code) == ("a", None)


def test_results_of_tools_are_collected() -> None:
    records = [
        {"type": "start", "id": "1", "model": "m"},
        {"type": "tool_call", "index": 0, "id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "step"},
        {"type": "tool_result", "id": "call_1", "content": "sunny"},
        {"type": "tool_call", "index": 0, "id": "call_2", "name": "book", "arguments": "{}"},
        {"type": "tool_approval", "id": "call_2", "name": "book"},
        {"type": "new_kind", "text": "later versions may add some"},
        {"type": "done", "finish_reason": "stop"},
    ]
    app = flask.Flask("project")
    app.post("/chat/api/stream")(lambda: "".join(json.dumps(record) + "\n" for record in records))
    answer = chat_client(app.test_client()).ask("Hi")
    assert [call.name for call in answer.tool_calls] == ["weather", "book"]
    assert answer.tool_results == [{"id": "call_1", "content": "sunny"}]
    assert answer.tool_approvals == [{"id": "call_2", "name": "book"}]
    assert answer.records == records


def test_an_error_of_a_hook_names_its_code(model: MockModel) -> None:
    app = flask.Flask("project")
    chat = Chat(app, model="mock")

    @chat.prepare
    def refuse(request: object, principal: object) -> None:
        raise ChatError("budget_exceeded")

    with pytest.raises(AnswerError, match="429, budget_exceeded"):
        chat_client(app.test_client()).ask("Hi")
    assert model.requests == []
