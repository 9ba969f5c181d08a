"""The model of a test: its queue, its faults, its requests, and all models that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from quart import Quart

from quartapp import Annotation, Chat, Delta, Done, Image, Reasoning, Refusal, ToolCall, Usage
from quartapp.core.errors import ERROR_KINDS
from quartapp.direct import Message
from quartapp.testing import AnswerError, MockModel, TruncatedAnswerError, chat_client
from tests.support.testing_apps import SERVERS, Host, ask, make_app

HOSTS = pytest.mark.parametrize("host", ["flask", "quart"])
#: The failures that one answer of a server can be, without a time limit.
CAUSED = [
    *("context_too_long", "content_filtered", "upstream_refused", "upstream_unpaid", "upstream_busy"),
    *("upstream_error", "upstream_truncated", "upstream_overloaded"),
]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockModel]:
    """Yield the model of the test, next to a key of the developer's own."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    with MockModel().installed() as model:
        yield model


@HOSTS
@pytest.mark.parametrize("name", SERVERS)
def test_every_model_of_the_settings_answers(model: MockModel, host: Host, name: str) -> None:
    model.answer("Buy ", "more ", "tea.")
    assert ask(make_app(host), "Write a slogan", model=name).text == "Buy more tea."
    (request,) = model.requests
    assert request.model == SERVERS[name].get("model", "mock" if name == "own" else name)
    assert request.text == "Write a slogan"


@HOSTS
def test_no_model_of_the_settings_needs_its_key(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with MockModel().installed() as model:
        model.answer("tea")
        assert ask(make_app(host)).text == "tea"


def test_an_app_that_ran_before_the_test_is_answered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-unused")
    app = make_app("flask", models={"local": SERVERS["local"]}, retries=0)
    with pytest.raises(AnswerError, match="upstream_error"):
        ask(app)
    with MockModel().installed() as model:
        model.answer("tea")
        assert ask(app).text == "tea"
    with pytest.raises(AnswerError, match="upstream_error"):
        ask(app)


def test_the_inner_one_of_two_models_answers() -> None:
    app = make_app("flask", models={"local": SERVERS["local"]})
    with MockModel().installed() as outer, MockModel().installed() as inner:
        inner.answer("inner")
        assert ask(app).text == "inner"
    assert (len(outer.requests), len(inner.requests)) == (0, 1)


def test_code_of_the_project_is_answered_over_the_client_of_a_server(model: MockModel) -> None:
    app = Flask("project")
    chat = Chat(app, models=SERVERS)
    messages: Any = [{"role": "user", "content": "Write"}]
    model.answer("Buy ", "tea.")
    with app.app_context():
        call = chat.client("fast").chat.completions.create(model="gpt-5", messages=messages)
        assert chat.run(call).choices[0].message.content == "Buy tea."


def test_a_model_in_python_is_code_of_the_project(model: MockModel) -> None:
    app = Flask("project")
    chat = Chat(app, models=SERVERS)

    @chat.model("haiku")
    async def haiku(request: object) -> Any:
        yield "An old silent pond"

    with app.app_context():
        events = list(chat.iterate("Write", model="haiku"))
    assert Delta("An old silent pond") in events
    assert model.requests == []


# -- answers


ALL_PIECES = (
    Reasoning("Green "),
    Reasoning("or black?"),
    "Buy ",
    Delta("tea."),
    Annotation("url_citation", url="https://tea.example/", title="Tea", start_index=0, end_index=3),
    Refusal("No milk."),
    ToolCall(0, "call_1", "weather", '{"city": '),
    ToolCall(0, arguments='"Bern"}'),
    ToolCall(1, "call_2", "shop", "{}"),
    Image("data:image/png;base64,iVBORw0KGgo="),
    Done("tool_calls", Usage(5, 6, 11)),
)


@pytest.mark.parametrize("name", ["fast", "deep"])
def test_each_event_of_an_answer_arrives(model: MockModel, name: str) -> None:
    model.answer(*ALL_PIECES)
    answer = ask(make_app("flask"), model=name)
    assert (answer.reasoning, answer.text, answer.refusal) == ("Green or black?", "Buy tea.", "No milk.")
    assert [(call.name, call.input) for call in answer.tool_calls] == [("weather", {"city": "Bern"}), ("shop", {})]
    assert answer.images == ["data:image/png;base64,iVBORw0KGgo="]
    assert [each["url"] for each in answer.annotations] == ["https://tea.example/"]
    assert answer.finish_reason == "tool_calls"
    assert answer.usage is not None
    assert answer.usage["total_tokens"] == 11


def test_answers_are_taken_in_their_order_and_then_the_question_is_echoed(model: MockModel) -> None:
    app = make_app("flask")
    model.answer("first")
    model.answer("second")
    assert model.pending == 2
    assert [ask(app, "What?").text for _ in range(3)] == ["first", "second", "What?"]
    assert model.pending == 0


def test_a_model_of_the_mock_server_keeps_its_own_answer() -> None:
    app = make_app("flask", model="mock")
    with MockModel().installed():
        assert ask(app, "count to 3").text == "1 2 3"
        with pytest.raises(TruncatedAnswerError):
            ask(app, "count to 3", model="fault-drop:2")


def test_a_function_answers_while_the_queue_is_empty(model: MockModel) -> None:
    app = make_app("flask")

    @model.answer_each
    def shout(request: Any) -> Any:
        return None if request.text == "echo" else [Reasoning("Louder."), request.text.upper()]

    model.answer("queued")
    assert [ask(app, text).text for text in ("hi", "hi", "echo")] == ["queued", "HI", "echo"]
    model.reset()
    assert ask(app, "hi").text == "hi"


def test_a_tool_is_called_and_its_result_is_received(model: MockModel) -> None:
    app = make_app("flask")
    model.call_tool("weather", city="Bern")
    (call,) = ask(app).tool_calls
    assert (call.name, call.input) == ("weather", {"city": "Bern"})
    call_object = {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": call.arguments}}
    messages: list[Message] = [
        {"role": "user", "content": "And?"},
        {"role": "assistant", "tool_calls": [call_object]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    ask(app, messages)
    assert model.requests[-1].messages[-1]["content"] == "sunny"


@pytest.mark.parametrize("piece", [3, None, Done("stop")])
def test_a_piece_of_another_type_is_refused(piece: Any) -> None:
    with pytest.raises(TypeError, match="an answer consists of"):
        MockModel().answer(piece, "text")


# -- failures


@pytest.mark.parametrize("name", ["local", "deep"])
@pytest.mark.parametrize("code", CAUSED)
def test_a_failure_has_its_code_and_status_and_is_not_retried(model: MockModel, name: str, code: str) -> None:
    model.fail(code)
    with pytest.raises(AnswerError) as caught:
        ask(make_app("flask", models={name: SERVERS[name]}))
    assert (caught.value.code, caught.value.status) == (code, ERROR_KINDS[code].status)
    assert not isinstance(caught.value, TruncatedAnswerError)
    assert len(model.requests) == 1


@pytest.mark.parametrize("code", ["upstream_timeout", "rate_limited", "nonsense"])
def test_a_code_that_no_answer_causes_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="upstream_busy"):
        MockModel().fail(code)


@pytest.mark.parametrize("name", ["fast", "deep"])
@pytest.mark.parametrize("fault", ["drop", "no-finish", "error-object", "garbage"])
def test_a_fault_follows_the_pieces(model: MockModel, name: str, fault: str) -> None:
    model.fault(fault, "Buy ", "more ")
    with pytest.raises(TruncatedAnswerError) as caught:
        ask(make_app("flask"), model=name)
    assert caught.value.text == "Buy more "


@pytest.mark.parametrize(
    ("arguments", "after", "text"),
    [
        (["drop"], 2, "1 2"),
        (["fault-drop:2"], None, "1 2"),
        (["drop", "Buy ", "more ", "tea."], 1, "Buy "),
        (["drop", "Buy ", "tea."], None, "Buy tea."),
    ],
)
def test_a_fault_comes_after_some_tokens(model: MockModel, arguments: list[str], after: int | None, text: str) -> None:
    model.fault(*arguments, after=after)
    with pytest.raises(TruncatedAnswerError) as caught:
        ask(make_app("flask"), "count")
    assert caught.value.text == text


def test_the_time_limits_of_the_app_end_a_silent_answer(model: MockModel) -> None:
    model.fault("stall", "Buy ")
    with pytest.raises(TruncatedAnswerError) as caught:
        ask(make_app("flask", model="mock", idle_timeout_s=0.05))
    assert (caught.value.code, caught.value.text) == ("upstream_timeout", "Buy ")


def test_pieces_do_not_set_a_number_that_counts_something_else(model: MockModel) -> None:
    model.fault("slow-end", "Buy ", "tea.", after=0)
    model.fault("crlf", "Buy ", "tea.")
    app = make_app("flask")
    assert [ask(app).text for _ in range(2)] == ["Buy tea."] * 2


@pytest.mark.parametrize(("name", "after"), [("drip", None), ("status", 20), ("html:1", None), ("drop:2", 3)])
def test_an_unknown_fault_is_refused(name: str, after: int | None) -> None:
    with pytest.raises(ValueError, match="has no fault"):
        MockModel().fault(name, after=after)


def test_a_fault_of_chunks_is_refused_by_the_responses_api(model: MockModel) -> None:
    model.fault("usage-odd")
    with pytest.raises(AnswerError, match="upstream_refused"):
        ask(make_app("flask"), model="deep")


FALLBACK = {"fast": SERVERS["local"] | {"fallbacks": ["other"], "retries": 1}, "other": SERVERS["local"]}


def test_a_fallback_takes_the_next_answer(model: MockModel) -> None:
    model.fail("upstream_busy")
    model.answer("from the fallback")
    assert ask(make_app("flask", models=FALLBACK)).text == "from the fallback"
    assert [request.model for request in model.requests] == ["fast", "other"]


def test_a_retry_takes_the_next_answer_if_the_test_wants_retries(model: MockModel) -> None:
    model.retries = True
    model.fail("upstream_error")
    model.answer("retried")
    assert ask(make_app("flask", models=FALLBACK)).text == "retried"
    assert [request.model for request in model.requests] == ["fast", "fast"]
    model.retries = False
    model.fail("upstream_error")
    model.answer("from the fallback")
    assert ask(make_app("flask", models=FALLBACK)).text == "from the fallback"


# -- strict


def test_a_strict_model_fails_for_a_request_that_the_test_did_not_expect() -> None:
    with MockModel(strict=True).installed() as model:
        model.answer("tea")
        app = make_app("flask", model="mock")
        ask(app)
        model.check()
        with pytest.raises(AnswerError) as caught:
            ask(app, "One more?")
        assert caught.value.status == 502
    with pytest.raises(AssertionError, match=r"no answer for:\n<ModelRequest to mock.*One more\?"):
        model.check()


def test_a_strict_model_fails_for_an_answer_that_no_request_took() -> None:
    model = MockModel(strict=True)
    model.answer("tea")
    with pytest.raises(AssertionError, match="no request took 1 of its queued answers"):
        model.check()


def test_a_model_that_is_not_strict_accepts_both(model: MockModel) -> None:
    model.answer("tea")
    ask(make_app("flask"))
    ask(make_app("flask"))
    model.answer("tea")
    model.check()


# -- requests


def test_a_request_is_what_the_server_gets(model: MockModel) -> None:
    app = make_app("flask", models=SERVERS, system_prompt="Be brief.")
    for name in ("fast", "deep"):
        ask(app, [{"role": "user", "content": "Write"}], model=name, temperature=0.5, max_tokens=40)
        request = model.requests[-1]
        assert (request.text, request.system) == ("Write", "Be brief.")
        assert request.params["temperature"] == 0.5
        assert "stream" not in request.params
        assert request.body["stream"] is True
    assert [request.path for request in model.requests] == ["/v1/chat/completions", "/v1/responses"]


def test_no_header_of_a_request_holds_the_key(model: MockModel) -> None:
    ask(make_app("flask"))
    (request,) = model.requests
    assert request.headers["content-type"] == "application/json"
    assert "canary" not in repr(vars(request))


def test_a_request_is_shown_with_its_parameters_and_messages(model: MockModel) -> None:
    ask(make_app("flask", model="mock", system_prompt="Be brief."), "x" * 100, temperature=0.5)
    shown = repr(model.requests)
    assert f"<ModelRequest to mock, temperature=0.5; system: 'Be brief.'; user: '{'x' * 80}…'>" in shown
    assert repr(model) == "<MockModel: 0 queued, 1 requests>"


async def test_the_hooks_of_a_quart_project_see_the_answer(model: MockModel) -> None:
    reports: list[Any] = []
    app = Quart("project")
    chat = Chat(app, url_prefix="/ai", models=SERVERS)
    chat.on_answer(reports.append)
    model.fault("drop", "Buy ")
    with pytest.raises(TruncatedAnswerError):
        await chat_client(app.test_client(), "/ai").ask("Write")
    assert [(report.text, report.is_complete) for report in reports] == [("Buy ", False)]
