"""The end of connections: by an aborted body, by the end of a response, and by a server that stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quart import Quart
from quart.asgi import ASGIHTTPConnection

from quartapp import ChatRequest, chat_blueprint, create_app
from tests.support.direct import Question
from tests.support.wire_formats import DONE, NDJSON, TEXT, Format

WITHIN_S = 10.0

Context = dict[str, Any]


class GroupedConnection(ASGIHTTPConnection):
    """A connection as in Quart 0.23, also where an earlier Quart is installed.

    The tasks are in a group. So they are cancelled with it, and the group ends after the client has disconnected.
    """

    async def __call__(self, receive: Any, send: Any) -> None:
        request = self._create_request_from_scope(send)

        async def read() -> None:
            while (message := await receive())["type"] == "http.request":
                request.body.set_result(message["body"])

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.handle_request(request, send))
            tasks.create_task(read())


each_connection = pytest.mark.parametrize(
    "connection", [ASGIHTTPConnection, GroupedConnection], ids=["installed", "grouped"]
)


async def answers(_: ChatRequest) -> AsyncIterator[str]:
    yield "hello"


async def fails(_: ChatRequest) -> AsyncIterator[str]:
    yield "hello"
    raise RuntimeError


async def stalls(_: ChatRequest) -> AsyncIterator[str]:
    yield "hello"
    await asyncio.Event().wait()


@asynccontextmanager
async def open_question(connection: type[ASGIHTTPConnection], format: Format, model: Any) -> AsyncIterator[Question]:
    """Yield a question to `model`, in an app whose connections are of the class `connection`."""
    app = Quart(__name__)
    app.asgi_http_class = connection
    app.register_blueprint(chat_blueprint(models={"model": model}))
    async with app.test_app(), asyncio.timeout(WITHIN_S), Question(app, format, "model") as question:
        yield question


@each_connection
async def test_an_aborted_body_ends_the_call_of_the_app(connection: type[ASGIHTTPConnection]) -> None:
    async with open_question(connection, TEXT, fails) as question:
        await question.read()
        assert (question.body, question.ending) == (b"hello", "aborted")


@each_connection
async def test_a_complete_response_ends_the_call_before_its_client_disconnects(
    connection: type[ASGIHTTPConnection],
) -> None:
    async with open_question(connection, NDJSON, answers) as question:
        await question.read()
        assert question.ending == DONE


@each_connection
async def test_an_answer_sends_its_last_record_if_the_server_cancels_the_call(
    connection: type[ASGIHTTPConnection],
) -> None:
    async with open_question(connection, NDJSON, stalls) as question:
        await question.read_until(b"hello")
        question.cancel()
        await question.read()
        assert question.ending == "shutting_down"


async def cancelled_connection() -> None:
    """Cancel the task of one connection of a stream server, as servers do at their end, once it has begun."""
    task: asyncio.Future[asyncio.Task[Any] | None] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task.set_result(asyncio.current_task())
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        connection = await task
        assert connection is not None
        connection.cancel()
        await asyncio.wait([connection])
        await asyncio.sleep(0)  # its callbacks have run
        writer.close()


async def test_an_app_hides_cancelled_connections_and_no_other_cancellation_while_it_serves() -> None:
    loop, seen = asyncio.get_running_loop(), list[Context]()

    def show(_: asyncio.AbstractEventLoop, context: Context) -> None:
        seen.append(context)

    def crash() -> None:
        raise asyncio.CancelledError

    loop.set_exception_handler(show)
    try:
        async with create_app().test_app():
            await cancelled_connection()
            assert seen == []
            loop.call_soon(crash)
            await asyncio.sleep(0)
            assert [type(context["exception"]) for context in seen] == [asyncio.CancelledError]
        assert loop.get_exception_handler() is show
    finally:
        loop.set_exception_handler(None)


async def test_a_handler_that_a_host_sets_while_an_app_serves_stays_in_place() -> None:
    loop = asyncio.get_running_loop()

    def show(_: asyncio.AbstractEventLoop, context: Context) -> None:
        raise AssertionError(context)

    try:
        async with create_app().test_app():
            loop.set_exception_handler(show)
        assert loop.get_exception_handler() is show
    finally:
        loop.set_exception_handler(None)
