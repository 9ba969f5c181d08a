"""The guards of every route, and the leases that they hold for a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart

from quartapp import Principal, chat_blueprint
from quartapp.answer.report import AnswerReport
from quartapp.blueprint import running_chats
from quartapp.core.errors import ChatError
from quartapp.guards.guard import Guard, GuardContext, Guards, Lease, Leases
from quartapp.guards.slots import Slots
from tests.support.endpoints import FAST

ANN = Principal("ann", plan="free", claims={"team": 7})

#: A request to each route that needs authentication: method, path and body.
ROUTES = {
    "stream": ("POST", "/api/stream", {"message": "hello"}),
    "stream by GET": ("GET", "/api/stream?message=hello", None),
    "chat": ("POST", "/api/chat", {"message": "hello"}),
    "chat by GET": ("GET", "/api/chat?message=hello", None),
    "models": ("GET", "/api/models", None),
    "completions": ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    "models of OpenAI": ("GET", "/v1/models", None),
    "a model of OpenAI": ("GET", "/v1/models/mock", None),
    "ui": (
        "POST",
        "/api/ui",
        {"id": "1", "messages": [{"id": "2", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
    ),
    "resume": ("GET", "/api/ui/1/stream", None),
    "document": ("GET", "/openapi.json", None),
    "docs": ("GET", "/docs", None),
    "a file of docs": ("GET", "/docs/swagger-ui.css", None),
}
ANSWERS = ("stream", "stream by GET", "chat", "chat by GET", "completions", "ui")


class Recorder:
    """A guard that records the contexts and the settled reports, and can refuse."""

    def __init__(self, refusal: ChatError | None = None) -> None:
        self.contexts: list[GuardContext] = []
        self.reports: list[AnswerReport | None] = []
        self.acquired, self.settled = asyncio.Event(), asyncio.Event()
        self._refusal = refusal

    async def acquire(self, context: GuardContext) -> Lease:
        self.contexts.append(context)
        self.acquired.set()
        if self._refusal is not None:
            raise self._refusal
        return self

    def settle(self, report: AnswerReport | None) -> None:
        self.reports.append(report)
        self.settled.set()


@contextlib.asynccontextmanager
async def guarded(before_body: Guard, before_model: Guard, **settings: Any) -> AsyncIterator[Any]:
    """Yield a test client of a chat with these guards."""
    app = Quart("host", static_folder=None)
    blueprint = chat_blueprint(settings={**FAST, **settings}, authenticate=lambda _: ANN)
    app.register_blueprint(blueprint)
    async with app.test_app():
        running_chats(app)[blueprint].guards = Guards((before_body,), (before_model,))
        yield app.test_client()


async def request(client: Any, name: str) -> Any:
    method, path, body = ROUTES[name]
    response = await client.open(path, method=method, json=body, headers={"Accept": "*/*", "Sec-Fetch-Dest": "empty"})
    await response.get_data()
    return response


@pytest.mark.parametrize("name", ROUTES)
async def test_each_route_runs_the_guards_with_the_principal(name: str) -> None:
    first, second = Recorder(), Recorder()
    async with guarded(first, second) as client:
        assert (await request(client, name)).status_code in (200, 204)
    assert [context.principal for context in first.contexts] == [ANN]
    assert [context.chat_request is None for context in first.contexts] == [True]
    assert len(second.contexts) == (name in ANSWERS)
    assert all(context.chat_request is not None and context.principal is ANN for context in second.contexts)


@pytest.mark.parametrize("name", ROUTES)
async def test_each_route_is_refused_by_a_guard(name: str) -> None:
    first, second = Recorder(ChatError("rate_limited", retry_after_s=9)), Recorder()
    async with guarded(first, second) as client:
        response = await request(client, name)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "9")
    assert (first.reports, second.contexts) == ([], [])


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_settles_each_lease_once_with_its_report(name: str) -> None:
    first, second = Recorder(), Recorder()
    async with guarded(first, second) as client:
        await request(client, name)
    assert first.reports == second.reports
    assert [report and report.ending for report in first.reports] == ["done"]


@pytest.mark.parametrize("name", sorted(ROUTES.keys() - ANSWERS))
async def test_a_route_without_an_answer_settles_its_lease_at_once(name: str) -> None:
    first = Recorder()
    async with guarded(first, Recorder()) as client:
        await request(client, name)
        assert first.reports == [None]


async def test_a_refusal_settles_the_leases_before_it() -> None:
    first, second = Recorder(), Recorder(ChatError("budget_exceeded"))
    async with guarded(first, second) as client:
        assert (await request(client, "stream")).status_code == 429
    assert (first.reports, second.reports) == ([None], [])


async def test_an_invalid_body_settles_the_leases() -> None:
    first, second = Recorder(), Recorder()
    async with guarded(first, second) as client:
        assert (await client.post("/api/stream", json={"message": 7})).status_code == 422
    assert (first.reports, second.contexts) == ([None], [])


async def test_a_failure_before_the_first_event_settles_the_leases_with_its_report() -> None:
    first = Recorder()
    async with guarded(first, Recorder(), CHAT_MODEL="fault-status:429") as client:
        assert (await request(client, "stream")).status_code == 429
    assert [report and report.ending for report in first.reports] == ["upstream_busy"]


async def test_a_disconnect_settles_the_leases_with_its_report() -> None:
    first, second = Recorder(), Recorder()
    async with guarded(first, second, CHAT_MODEL="fault-slow-first-token:60") as client:
        async with client.request("/api/stream", method="POST", headers={"Content-Type": "application/json"}) as sent:
            await sent.send(b'{"message": "hello"}')
            await sent.send_complete()
            await second.acquired.wait()
            await sent.disconnect()
        await first.settled.wait()
    assert [report and report.ending for report in first.reports] == ["client_disconnected"]
    assert first.reports == second.reports


async def test_a_lease_that_fails_is_logged_and_the_others_are_settled(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def settle(self, report: AnswerReport | None) -> None:
            raise ZeroDivisionError

    leases, first, last = Leases(), Recorder(), Recorder()
    context = GuardContext(None, None)
    await leases.acquire([first, Broken(), last], context)
    leases.settle()
    leases.settle()
    assert (first.reports, last.reports) == ([None], [None])
    assert [record.name for record in caplog.records] == ["quartapp.guards"]


async def test_a_slot_is_free_again_after_its_lease_is_settled() -> None:
    slots, context = Slots(1), GuardContext(None, None)
    lease = await slots.acquire(context)
    with pytest.raises(ChatError, match="overloaded"):
        await slots.acquire(context)
    lease.settle(None)
    await slots.acquire(context)


def test_a_principal_compares_by_its_facts() -> None:
    assert Principal("ann", plan="free", claims={"team": 7}) == ANN != Principal("ann")
