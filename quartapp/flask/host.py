"""A Flask project as the host of a chat: its hooks run in the thread and the contexts of the request they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from queue import SimpleQueue
from typing import Any
from weakref import ref

import flask

from quartapp.answer.report import AnswerReport
from quartapp.core.outcome import Outcome
from quartapp.hooks import HookThreads, awaited, is_async
from quartapp.signals import answer_ended


class Job:
    """A function for the thread of a request, and the future of its outcome in the event loop."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function, self._arguments = function, arguments
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Outcome] = self._loop.create_future()

    def run(self) -> None:
        """Call the function. This is called in the thread."""
        outcome = Outcome.of(self._function, *self._arguments)
        with suppress(RuntimeError):  # at the end of the process the loop may be closed
            self._loop.call_soon_threadsafe(self._set, outcome)

    def drop(self) -> None:
        """Set the result None, because the thread takes no more jobs. This is called in the event loop."""
        self._set(Outcome())

    async def result(self) -> Any:
        """Return the function's result, or raise its exception."""
        return (await self._future).get()

    def _set(self, outcome: Outcome) -> None:
        if not self._future.done():  # the task that waits for it may be cancelled
            self._future.set_result(outcome)


class RequestThread:
    """The thread that has Flask's contexts of one request. It takes jobs from a queue while the event loop needs it."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Any] = SimpleQueue()
        self._context = Context()
        self.request: flask.Request | None = None

    def enter(self) -> None:
        """Keep the contexts of the current thread for async hooks."""
        self._context = copy_context()
        self.request = flask.request._get_current_object()  # type: ignore[attr-defined]

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of `function`, which runs in the thread."""
        job = Job(function, arguments)
        self.jobs.put(job)
        return await job.result()

    async def run_async(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return the result of `work`, a task of the event loop with the contexts of the request."""
        outcome = Outcome.of_async(work)
        return (await asyncio.get_running_loop().create_task(outcome, context=self._context)).get()

    async def release(self) -> None:
        """Close the contexts if the server allows it before the response. Here it does not."""


#: The thread of the current request.
REQUEST_THREAD: ContextVar[RequestThread] = ContextVar("quartapp_request_thread")


class FlaskHost:
    """The host of a chat in a Flask project."""

    def __init__(self, app: flask.Flask) -> None:
        self._app = ref(app)  # because the app owns the chat
        self._threads = HookThreads()

    def request(self) -> Any:
        return REQUEST_THREAD.get().request

    async def call(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        thread = REQUEST_THREAD.get()
        if is_async(hook):
            return await thread.run_async(hook(*arguments))
        return await thread.run_async(awaited(await thread.run(hook, *arguments)))

    async def release(self) -> None:
        await REQUEST_THREAD.get().release()

    async def call_later(self, hook: Callable[..., Any], *arguments: Any, threads: HookThreads | None = None) -> Any:
        app = self._app()
        if app is None:
            raise RuntimeError("the Flask app does not exist any more")
        if is_async(hook):
            with app.app_context():
                return await hook(*arguments)

        def call() -> Any:
            with app.app_context():
                return hook(*arguments)

        return await (threads or self._threads).run(call)

    async def send_signal(self, report: AnswerReport) -> None:
        app = self._app()
        await self.call_later(lambda: answer_ended.send(app, report=report))
