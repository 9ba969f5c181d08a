"""The hooks of the host app, and the host in whose contexts they run."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from werkzeug.exceptions import HTTPException

from quartapp.answer.filter.stream import OutputFilter
from quartapp.answer.report import AnswerReport
from quartapp.core.errors import ChatError, host_failure
from quartapp.core.outcome import Outcome, is_cancelled
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest
from quartapp.signals import answer_ended
from quartapp.tools.tool import PythonTool

log = logging.getLogger("quartapp.hooks")

#: Takes the host app's request and returns its user as a Principal or as the principal's id, or None for an unknown
#: user. Sync or async.
Authenticate = Callable[[Any], Principal | str | int | Awaitable[Principal | str | int | None] | None]

#: Takes the parsed request and its principal, and returns the request to send to the model, or None for no change. Sync
#: or async.
Prepare = Callable[[ChatRequest, Any], ChatRequest | Awaitable[ChatRequest | None] | None]

#: Takes the report of an answer that has ended. Sync or async.
OnAnswer = Callable[[AnswerReport], Any]

#: Threads of sync hooks `on_answer` at a time.
MAX_HOOK_THREADS: Final = 32


class Host(Protocol):
    """The app that a chat is part of. Sync hooks run in a thread, async hooks in the event loop of the chat."""

    def request(self) -> Any:
        """Return the current request, an object of the host's framework."""
        ...

    async def call(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of `hook`, which runs in the context of the current request."""
        ...

    async def release(self) -> None:
        """Close the context of the current request, because no hook needs it any more."""
        ...

    async def call_later(self, hook: Callable[..., Any], *arguments: Any, threads: HookThreads | None = None) -> Any:
        """Return the result of `hook`, which runs in a new app context; a sync one in one of `threads`."""
        ...

    async def send_signal(self, report: AnswerReport) -> None:
        """Send the signal `answer_ended` with the host app as its sender."""
        ...


@dataclass
class Hooks:
    """The hooks of one chat. `is_in_use` is true once an app with it has started."""

    authenticate: Authenticate | None = None
    is_in_use: bool = False
    prepare: list[Prepare] = field(default_factory=list)
    on_answer: list[OnAnswer] = field(default_factory=list)
    tools: dict[str, PythonTool] = field(default_factory=dict)
    filters: list[OutputFilter] = field(default_factory=list)

    @property
    def need_text(self) -> bool:
        """Return whether someone reads the text of an answer that has ended. Without a hook it is not collected."""
        return bool(self.on_answer or answer_ended.receivers)

    async def prepared(self, host: Host, request: ChatRequest, principal: Principal | None) -> ChatRequest:
        """Return `request` after all hooks `prepare`, or `request` itself if none changed it.

        Raises the ChatError with which a hook refuses it, and ChatError, internal_error, for any other exception.
        """
        for prepare in self.prepare:
            result = await called(host, prepare, request, principal)
            if result is not None and not isinstance(result, ChatRequest):
                kind = type(result).__qualname__
                raise host_failure(TypeError(f"prepare returned {kind}, not a ChatRequest or None"))
            request = result or request
        return request

    async def offered(self, call: Callable[..., Awaitable[Any]], principal: Principal | None) -> list[PythonTool]:
        """Return the tools that are offered to `principal`. `call` calls a function of the host app.

        Raises what `allow` of a tool raises.
        """
        tools = [tool for tool in self.tools.values() if principal is not None or not tool.needs_principal]
        return [tool for tool in tools if tool.allow is None or await call(tool.allow, principal)]

    async def ended(self, host: Host, report: AnswerReport) -> None:
        """Call each hook `on_answer` and send the signal. If one raises an exception, the log contains it."""
        calls = [host.call_later(hook, report) for hook in self.on_answer]
        if answer_ended.receivers:
            calls.append(host.send_signal(report))
        for outcome in await asyncio.gather(*map(Outcome.of_async, calls)):
            try:
                outcome.get()
            except BaseException:
                log.exception("on_answer failed for the answer %s", report.id)


async def called(host: Host, hook: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a hook in the context of the current request.

    Raises the hook's own ChatError or HTTPException, and ChatError, internal_error, for any other exception.
    """
    try:
        return await host.call(hook, *arguments)
    except (ChatError, HTTPException):
        raise
    except Exception as error:
        raise host_failure(error) from error
    except BaseException as error:  # for example SystemExit, which would end the process from any task
        if is_cancelled(error):
            raise
        failure = RuntimeError(f"{getattr(hook, '__qualname__', 'a hook')} raised a BaseException")
        failure.__cause__ = error
        raise host_failure(failure) from error


def check_parameters(hook: Callable[..., Any], name: str, *parameters: str) -> None:
    """Raise TypeError for a hook that cannot be called with values for `parameters`."""
    if not callable(hook):
        raise TypeError(f"{name} is a function that is called with ({', '.join(parameters)}), not {hook!r}")
    try:
        signature = inspect.signature(hook)
    except ValueError:  # a function of C without a signature
        return
    try:
        signature.bind(*parameters)
    except TypeError:
        raise TypeError(f"{name} is called with ({', '.join(parameters)}), and {hook!r} does not take them") from None


def is_async(hook: Callable[..., Any]) -> bool:
    """Return whether calling `hook` returns a coroutine: an async function, or an object with an async `__call__`."""
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004


async def awaited(result: Any) -> Any:
    """Return `result`, or its own result if it is awaitable, for example a coroutine from a lambda."""
    return await result if inspect.isawaitable(result) else result


class HookThreads:
    """Threads for sync hooks that no request waits for, MAX_HOOK_THREADS at a time.

    They are no threads of a pool, because a hook that hangs would take the places of other work, for example of the
    look-up of addresses, and the end of the process would wait for it.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_HOOK_THREADS)

    async def run(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of `hook`, which runs in a thread with the contexts of the current task.

        If the task is cancelled, the thread still has its place until `hook` returns.
        """
        loop, done, context = asyncio.get_running_loop(), asyncio.Event(), copy_context()
        outcomes: list[Outcome] = []

        def end() -> None:
            self._places.release()
            done.set()

        def call() -> None:
            outcomes.append(context.run(Outcome.of, hook, *arguments))
            with suppress(RuntimeError):  # at the end of the process the loop may be closed
                loop.call_soon_threadsafe(end)

        await self._places.acquire()
        threading.Thread(target=call, name="hook of quartapp", daemon=True).start()
        await done.wait()
        return await awaited(outcomes[0].get())
