"""The handler of a loop's exceptions while an app serves, and once it has stopped."""

from __future__ import annotations

import asyncio
from typing import Any

from quartapp import create_app

Context = dict[str, Any]


async def cancelled_connection() -> None:
    """Cancels the task of one connection of a stream server, as servers do at their end, once it has begun."""
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


async def test_a_handler_that_a_host_sets_while_an_app_serves_is_left_in_place() -> None:
    loop = asyncio.get_running_loop()

    def show(_: asyncio.AbstractEventLoop, context: Context) -> None:
        raise AssertionError(context)

    try:
        async with create_app().test_app():
            loop.set_exception_handler(show)
        assert loop.get_exception_handler() is show
    finally:
        loop.set_exception_handler(None)
