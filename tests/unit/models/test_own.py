"""Models in Python and hooks of the host app: what they may be, and how their own errors are shown."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, cast

import httpx2
import pytest
from quart import Quart, Request

from quartapp import Annotation, ChatError, ChatRequest, Delta, Done, Image, Reasoning, ToolCall, Usage, chat_blueprint
from quartapp.core.events import Batch, Batches
from quartapp.routes.replies import handle_errors, render
from quartapp.upstreams.in_process import ASGIApp, InProcessTransport
from tests.support.endpoints import Log, serving
from tests.support.host_code import BASE_EXCEPTIONS

QUESTION = {"message": "a haiku"}
OPENAI = {"model": "haiku", "messages": [{"role": "user", "content": "a haiku"}], "stream": True}
UI = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "a haiku"}]}]}
USAGE = Usage(3, 2, 5)


def host(model: Any = None, *, debug: bool = False, testing: bool = False, **given: Any) -> Quart:
    app = Quart("host", static_folder=None)
    app.debug, app.testing = debug, testing
    models = None if model is None else {"haiku": model}
    blueprint = chat_blueprint(settings={"CHAT_MOCK_TOKENS_PER_S": "0"}, models=models, **given)
    app.register_blueprint(blueprint, url_prefix="/ai")
    return app


async def post(app: Quart, path: str = "/ai/api/stream", body: Any = QUESTION, **headers: str) -> tuple[int, str]:
    response = await app.test_client().post(path, json=body, headers=headers)
    return response.status_code, await response.get_data(as_text=True)


async def records(app: Quart) -> list[dict[str, Any]]:
    """Return the records of the answer after the first."""
    async with app.test_app():
        _, text = await post(app, Accept="application/x-ndjson")
    return [json.loads(line) for line in text.splitlines()][1:]


# -- what a model may be


async def haiku(_: ChatRequest) -> AsyncIterator[str]:
    yield "An old "
    yield ""
    yield "silent pond"


IMAGE = "data:image/png;base64,iVBORw0KGgo="


async def painter(_: ChatRequest) -> AsyncIterator[Image]:
    yield Image(IMAGE)


async def scholar(_: ChatRequest) -> AsyncIterator[str | Annotation | Image]:
    yield "An old pond"
    yield Annotation("url_citation", "https://a.example/", "A", 0, 3)
    yield Image(IMAGE)


async def eventful(_: ChatRequest) -> AsyncIterator[Reasoning | Delta | ToolCall | str | Done]:
    yield Reasoning("hm")
    yield "An old "
    yield Delta("pond")
    yield ToolCall(0, "call-1", "splash", "{}")
    yield Done("tool_calls", USAGE)
    yield "nobody reads this"


class Poet:
    def __init__(self, *verses: Any) -> None:
        self._verses = verses
        self.is_closed = False

    async def stream(self, request: ChatRequest, /) -> AsyncIterator[Any]:
        try:
            for each in self._verses:
                if isinstance(each, Exception):
                    raise each
                yield each
        finally:
            self.is_closed = True


class Lines:
    """An async iterator that is no generator."""

    def __init__(self, _: ChatRequest) -> None:
        self._lines = iter(["An old ", "silent pond"])

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        for line in self._lines:
            return line
        raise StopAsyncIteration


async def by_season(season: str, request: ChatRequest) -> AsyncIterator[str]:
    yield f"{season}: {request.messages[-1]['content']}"


HAIKU = [
    {"type": "delta", "text": "An old "},
    {"type": "delta", "text": "silent pond"},
    {"type": "done", "finish_reason": "stop"},
]


@pytest.mark.parametrize("model", [haiku, Lines, Poet("An old ", "silent pond")])
async def test_a_generator_of_str_is_a_model_whose_end_is_stop(model: Any) -> None:
    assert await records(host(model)) == HAIKU


async def nothing(request: ChatRequest) -> AsyncIterator[str]:
    if not request.messages:
        yield "never"


@pytest.mark.parametrize("model", [nothing, Poet(), Poet("")])
async def test_a_model_that_yields_nothing_gives_an_empty_answer_that_is_complete(model: Any) -> None:
    assert await records(host(model)) == [{"type": "done", "finish_reason": "stop"}]


async def test_a_partial_function_is_a_model_and_gets_the_request() -> None:
    assert (await records(host(partial(by_season, "spring"))))[0]["text"] == "spring: a haiku"


async def test_a_generator_of_events_is_a_model_that_ends_with_done() -> None:
    assert [event["type"] for event in await records(host(eventful))] == [
        "reasoning", "delta", "delta", "tool_call", "done",
    ]  # fmt: skip
    assert (await records(host(eventful)))[-1]["usage"] == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


async def test_a_model_that_yields_batches_and_no_finish_reason_is_truncated() -> None:
    *_, last = await records(host(Poet(Batch(1, [Delta("An old")]))))
    assert (last["type"], last["code"]) == ("error", "upstream_truncated")


async def test_a_model_is_closed_when_it_ends_early() -> None:
    poet = Poet("An old ", Done("stop"), "x")
    await records(host(poet))
    assert poet.is_closed


async def test_a_models_chat_error_is_what_clients_read() -> None:
    *_, last = await records(host(Poet("An old", ChatError("budget_exceeded"))))
    assert last["code"] == "budget_exceeded"


def sync(_: ChatRequest) -> Iterator[str]:
    yield "x"


async def returning(_: ChatRequest) -> str:
    return "x"


@pytest.mark.parametrize("model", ["haiku", 3, sync, returning])
def test_an_invalid_model_is_refused_when_the_blueprint_is_made(model: Any) -> None:
    with pytest.raises(TypeError, match="models: haiku is not an async generator function"):
        host(model)


# -- errors of the host's own code


class PondError(Exception):
    pass


FAULTS: dict[str, tuple[Any, str]] = {
    "raises": (Poet(PondError("no frog")), "PondError: no frog"),
    "raises later": (Poet("An old", PondError("no frog")), "PondError: no frog"),
    "yields a number": (Poet(3), "TypeError: model haiku yielded int; it yields str, or events of quartapp"),
    "returns text": (lambda _: "x", "TypeError: model haiku returned str; it yields its answer, in `async def`"),
    "returns a coroutine": (
        lambda request: returning(request),
        "TypeError: model haiku returned coroutine; it yields its answer, in `async def`",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_exception_of_a_model_is_in_the_log_with_its_traceback(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, words = FAULTS[fault]
    *_, last = await records(host(model)) or [{}]
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (line.name, line.exc_info is not None) == ("quartapp.answer", True)
    assert vars(line)["answer"]["error"] == "internal_error"
    assert words in caplog.text
    assert "Traceback (most recent call last)" in caplog.text
    assert words not in json.dumps(last)


def number(_: Request) -> Any:
    return 1.5


async def angry(_: Request) -> str:
    raise PondError("no frog")


def hooked() -> Quart:
    app = host()

    @app.before_request
    async def hook() -> None:
        raise PondError("no frog")

    return app


HOOKS: dict[str, tuple[Callable[[], Quart], str]] = {
    "authenticate returns a number": (
        lambda: host(authenticate=number),
        "TypeError: authenticate returned float, not a Principal, its id as a str or int, or None",
    ),
    "authenticate raises": (lambda: host(authenticate=angry), "PondError: no frog"),
    "a hook of the host raises": (hooked, "PondError: no frog"),
}

ROUTES = {"/ai/api/stream": QUESTION, "/ai/v1/chat/completions": OPENAI, "/ai/api/ui": UI}
WAYS = pytest.mark.parametrize("is_watched", [True, False], ids=["debug", "production"])


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("route", ROUTES)
@WAYS
async def test_an_exception_of_a_hook_is_in_the_log_and_in_debug_mode_in_the_response(
    hook: str, route: str, is_watched: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make, words = HOOKS[hook]
    app = make()
    app.debug = is_watched
    async with app.test_app():
        status, text = await post(app, route, ROUTES[route])
    assert status == 500
    assert "Something went wrong on our side." in text
    assert (words in text) is is_watched
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    fields = json.loads(line.getMessage().removeprefix("failed "))
    assert (fields["method"], fields["route"]) == ("POST", route)
    assert words in caplog.text
    assert "Traceback (most recent call last)" in caplog.text


@pytest.mark.parametrize("route", ROUTES)
@WAYS
async def test_an_exception_of_a_model_is_in_the_response_in_debug_mode(route: str, is_watched: bool) -> None:
    for model in (Poet(PondError("no frog")), Poet("An old", PondError("no frog"))):
        app = host(model, testing=is_watched)
        async with app.test_app():
            _, text = await post(app, route, ROUTES[route], Accept="text/event-stream")
        assert ("PondError: no frog" in text) is is_watched


async def test_an_internal_error_is_reported_by_its_place_alone_in_debug_mode_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Quart("host", static_folder=None)
    app.debug = True
    handle_errors(app, render)
    frame_globals: dict[str, Any] = {"__name__": "quartapp.routes.stream"}
    exec("async def view(): raise ValueError('canary')", frame_globals)
    app.add_url_rule("/", "view", frame_globals["view"])
    response = await app.test_client().get("/?message=canary")
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert json.loads(line.getMessage().removeprefix("failed "))["causes"] == ["ValueError"]
    assert "canary" not in caplog.text + await response.get_data(as_text=True)


# -- an app that was not started


@pytest.mark.parametrize("route", [*ROUTES, "/ai/", "/ai/v1/models"])
@pytest.mark.parametrize("is_testing", [True, False])
async def test_an_app_that_was_not_started_names_the_remedy(
    route: str, is_testing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = host(testing=is_testing)
    client = app.test_client()
    response = await (client.post(route, json=ROUTES[route]) if route in ROUTES else client.get(route))
    text = await response.get_data(as_text=True)
    sentence = "The chat is not running, because its app was not started: serve the app with lifespan on"
    assert response.status_code == 500
    assert (sentence in text) is is_testing
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert sentence in caplog.text
    assert "KeyError" not in caplog.text + text
    assert line.getMessage().startswith("failed ")


@pytest.mark.parametrize("error", BASE_EXCEPTIONS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_base_exception_of_a_model_ends_one_answer(
    error: BaseException, has_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        async def stream(self, request: ChatRequest, /) -> Batches:
            if has_begun:
                yield Batch(1, [Delta("a")])
            raise error

    log = Log(caplog)
    async with serving(models={"own": Failing()}) as client:
        reply = await client.ask(Accept="application/x-ndjson")
    code = reply.records[-1]["code"] if has_begun else reply.error["code"]
    assert (code, log.only["ending"]) == ("internal_error", "internal_error")


# -- citations and images


async def test_a_model_may_yield_citations_and_images() -> None:
    assert await records(host(scholar)) == [
        {"type": "delta", "text": "An old pond"},
        {
            "type": "annotation",
            "kind": "url_citation",
            "url": "https://a.example/",
            "title": "A",
            "start_index": 0,
            "end_index": 3,
        },
        {"type": "image", "url": IMAGE},
        {"type": "done", "finish_reason": "stop"},
    ]


async def test_text_of_images_alone_is_aborted_and_never_an_empty_answer() -> None:
    app = host(painter)
    transport = InProcessTransport(cast(ASGIApp, app))
    async with app.test_app(), httpx2.AsyncClient(transport=transport, base_url="http://host") as http:
        with pytest.raises(httpx2.ReadError):
            await http.post("/ai/api/stream", json=QUESTION, headers={"Accept": "text/plain"})
    assert (await records(host(painter)))[-1] == {"type": "done", "finish_reason": "stop"}
