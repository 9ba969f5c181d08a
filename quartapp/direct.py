"""Answers for code of the project, in the event loop of the chat, in another one, or in a thread."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from quartapp.core.errors import ERROR_KINDS, ChatError, Code
from quartapp.core.events import Done, Event, Failed, Ping
from quartapp.core.outcome import Outcome
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest, without
from quartapp.guards.guard import GuardContext, Leases
from quartapp.protocols.chat_completions.request import CompletionBody
from quartapp.protocols.common.documents import safe_path
from quartapp.protocols.common.messages import Message as ParsedMessage
from quartapp.protocols.common.messages import check_messages, open_calls
from quartapp.running import RunningChat
from quartapp.settings.settings import Settings

#: A message in OpenAI's form, for example `{"role": "user", "content": "Why is the sky blue?"}`.
Message = Mapping[str, Any]

Result = TypeVar("Result")

_MESSAGES: Final = TypeAdapter(list[ParsedMessage])

if TYPE_CHECKING:
    from quartapp.upstreams.http.servers import Client


class Answers:
    """The answers of a chat for code of the project: the part of `Chat` that needs no route."""

    def stream(
        self,
        messages: str | Sequence[Message],
        *,
        model: str | None = None,
        principal: Principal | None = None,
        **params: Any,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of an answer, from async code. The last one is Done.

        `messages` is a question, or messages in OpenAI's form. `params` are OpenAI's parameters, for example
        `temperature`. The answer counts as an open one and reaches `on_answer`. `authenticate` and `prepare` are not
        called. Closing the generator cancels the answer. Raises the ChatError of an answer that fails.

        >>> async for event in chat.stream("Why is the sky blue?"):
        ...     print(event)
        """
        return _stream(self._running(), messages, model, principal, params)

    def iterate(
        self,
        messages: str | Sequence[Message],
        *,
        model: str | None = None,
        principal: Principal | None = None,
        **params: Any,
    ) -> Generator[Event, None, None]:
        """Yield the same events as `stream`, from any thread, for example in a Flask view.

        >>> for event in chat.iterate("Why is the sky blue?"):
        ...     print(event)
        """
        return _iterate(self._running(), messages, model, principal, params)

    def client(self, model: str | None = None) -> Client:
        """Return the open client of the server of a model, or of the default model. Use it in the loop of the chat.

        Raises ChatError, model_not_found, and LookupError for a model in Python, which has no server.
        """
        listed = self._running().models.get(model)
        if listed.client is None:
            raise LookupError(f"the model {listed.name} is written in Python and has no server")
        return listed.client

    def run(self, work: Awaitable[Result]) -> Result:
        """Return the result of `work`, which runs in the loop of the chat, from another thread.

        >>> reply = chat.run(chat.client().models.list())
        """
        return _in_thread(self._running(), work)

    async def run_async(self, work: Awaitable[Result]) -> Result:
        """Return the result of `work`, which runs in the loop of the chat, from async code of any loop."""
        return await _in_loop(self._running(), work)

    def _running(self) -> RunningChat:
        """Return the running chat. Raises RuntimeError with the reason if there is none."""
        raise NotImplementedError


class DirectAnswer:
    """An answer that a task of the chat's loop reads, one list of events ahead of the code that takes them."""

    def __init__(self, chat: RunningChat, request: ChatRequest, principal: Principal | None) -> None:
        self._chat = chat
        self._request = request
        self._principal = principal
        self._events: asyncio.Queue[list[Event] | BaseException] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None
        self._status = 500

    async def take(self) -> list[Event]:
        """Return the next events. The first call starts the answer.

        Raises the ChatError of an answer that fails, and TimeoutError for a late reader.
        """
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._read())
        events = await self._events.get()
        if isinstance(events, BaseException):
            raise events
        return events

    def shown(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield `events` without pings. Raises ChatError at the end of an answer that is not complete."""
        for event in events:
            if isinstance(event, Failed):
                raise self._failure(event)
            if not isinstance(event, Ping):
                yield event

    def _failure(self, event: Failed) -> ChatError:
        if event.code in ERROR_KINDS:
            return ChatError(cast(Code, event.code), retry_after_s=event.retry_after_s)
        return ChatError(event.code, message=event.message, status=self._status, retry_after_s=event.retry_after_s)

    def close(self) -> None:
        """Cancel the answer, unless it has ended."""
        if self._task is not None:
            self._task.cancel()

    async def _read(self) -> None:
        leases = Leases()
        try:
            answer = await self._chat.answer(
                self._request, GuardContext(None, self._principal), leases, id=secrets.token_hex(16), labels={}
            )
        except BaseException as error:  # noqa: BLE001 - `take` raises it
            leases.settle()
            await self._fail(error)
            return
        try:
            await answer.begin()
            async for events in answer:
                self._status = self._status if answer.error is None else answer.error.status
                await self._events.put(events)
        except BaseException as error:  # noqa: BLE001 - `take` raises it
            await self._fail(error)
        finally:
            answer.close()

    async def _fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            seconds = self._chat.settings.write_timeout_s
            error = TimeoutError(f"the answer was cancelled, because nothing took its events for {seconds:g} s")
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(error)


async def _stream(
    chat: RunningChat,
    messages: str | Sequence[Message],
    model: str | None,
    principal: Principal | None,
    params: Mapping[str, Any],
) -> AsyncGenerator[Event, None]:
    request = _request(messages, model, params, chat.settings)
    answer = DirectAnswer(chat, request, principal)
    try:
        while True:
            for event in answer.shown(await _in_loop(chat, answer.take())):
                yield event
                if isinstance(event, Done):
                    return
    finally:
        chat.loop.call_soon_threadsafe(answer.close)


def _iterate(
    chat: RunningChat,
    messages: str | Sequence[Message],
    model: str | None,
    principal: Principal | None,
    params: Mapping[str, Any],
) -> Generator[Event, None, None]:
    request = _request(messages, model, params, chat.settings)
    answer = DirectAnswer(chat, request, principal)
    try:
        while True:
            for event in answer.shown(_in_thread(chat, answer.take())):
                yield event
                if isinstance(event, Done):
                    return
    finally:
        chat.loop.call_soon_threadsafe(answer.close)


async def _in_loop(chat: RunningChat, work: Awaitable[Result]) -> Result:
    """Return the result of `work`, which runs in the loop of the chat."""
    if asyncio.get_running_loop() is chat.loop:
        return await work
    outcome = Outcome.of_async(work)  # because a SystemExit would end the loop of the chat
    return (await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(outcome, chat.loop))).get()  # type: ignore[no-any-return]


def _in_thread(chat: RunningChat, work: Awaitable[Result]) -> Result:
    """Return the result of `work`, which runs in the loop of the chat. Raises RuntimeError in that loop."""
    if _running_loop() is chat.loop:
        if isinstance(work, Coroutine):
            work.close()
        raise RuntimeError("this would block the event loop of the chat: use `async for … in chat.stream(…)` or await")
    outcome = Outcome.of_async(work)  # because a SystemExit would end the loop of the chat
    return asyncio.run_coroutine_threadsafe(outcome, chat.loop).result().get()  # type: ignore[no-any-return]


def _request(
    messages: str | Sequence[Message], model: str | None, params: Mapping[str, Any], settings: Settings
) -> ChatRequest:
    """Return the request. Raises ChatError, invalid_request or too_large, with the path of the field."""
    given = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    try:
        parsed = _MESSAGES.validate_python(given)
    except ValidationError as error:
        path = ".".join(map(str, ("messages", *error.errors(include_input=False)[0]["loc"])))
        raise ChatError("invalid_request", path=safe_path(path)) from None
    turns = check_messages(parsed, settings, allow_system=True)
    known = {name: value for name, value in params.items() if name in CompletionBody.model_fields}
    extras = without(dict(params), known)
    return ChatRequest(turns, model, params=known, extras=extras, shows_tools=True, open_calls=open_calls(parsed))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
