"""A Quart app as the host of a chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from quart import Quart, current_app, request

from quartapp.answer.report import AnswerReport
from quartapp.core.outcome import Outcome
from quartapp.hooks import HookThreads, awaited, is_async
from quartapp.signals import answer_ended


class QuartHost:
    """The host of a chat in a Quart app. A thread that runs a hook has the contexts of its request."""

    def __init__(self, app: Quart) -> None:
        self._app = app
        self._threads = HookThreads()

    @classmethod
    def current(cls) -> QuartHost:
        """Return the host for the current app."""
        return cls(cast(Any, current_app)._get_current_object())

    def request(self) -> Any:
        return cast(Any, request)._get_current_object()

    async def call(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        if is_async(hook):
            return await hook(*arguments)
        outcome = await asyncio.to_thread(Outcome.of, hook, *arguments)
        return await awaited(outcome.get())

    async def release(self) -> None:
        """Do nothing, because Quart closes the context of a request with its response."""

    async def call_later(self, hook: Callable[..., Any], *arguments: Any, threads: HookThreads | None = None) -> Any:
        async with self._app.app_context():
            return await (hook(*arguments) if is_async(hook) else (threads or self._threads).run(hook, *arguments))

    def _in_thread(self, receiver: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            return await self._app.ensure_async(receiver)(*arguments, **named)

        return call

    async def send_signal(self, report: AnswerReport) -> None:
        async with self._app.app_context():
            await answer_ended.send_async(self._app, _sync_wrapper=self._in_thread, report=report)
