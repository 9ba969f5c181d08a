"""The end of a connection by its server: an open answer ends with a record, and no task of it is left behind.

hypercorn and uvicorn cancel the connections that are still open when the time to stop has passed. Quart does not cancel
the tasks of a connection that is cancelled: they would go on without a client until the loop is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from quart import Quart

from quartapp.running import LAST_BYTES_S, READERS, Readers

# The callback of a stream server's connection, as asyncio and uvloop name it in the context of its exception.
_CONNECTION: Final = "StreamReaderProtocol.connection_made.<locals>.callback"


def end_with_connections(app: Quart) -> None:
    """Let the open answers of `app` end in their clients' words when the server cancels a connection."""
    inner = app.asgi_http_class
    if getattr(inner, "ends_answers", False):
        return  # another blueprint of this app has done it

    class Connection:
        ends_answers = True

        def __init__(self, app: Quart, scope: Any) -> None:
            self._call = inner(app, scope)

        async def __call__(self, receive: Any, send: Any) -> None:
            receivers: set[asyncio.Task[Any] | None] = set()

            async def received() -> Any:
                receivers.add(asyncio.current_task())
                return await receive()

            readers: Readers = {}
            READERS.set(readers)
            try:
                await self._call(received, send)
            except asyncio.CancelledError:
                await _end(readers)
                for task in receivers:
                    if task is not None and task is not asyncio.current_task():
                        task.cancel()
                raise
            finally:  # tasks that hold each other would wait for the garbage collector
                receivers.clear()
                readers.clear()

    app.asgi_http_class = Connection


async def _end(readers: Readers) -> None:
    """End the answers, and wait until their last bytes are sent; a client that takes nothing is left after a while."""
    open_tasks = [task for task in readers if not task.done()]
    for task in open_tasks:
        readers[task].shut_down()
    if open_tasks:
        _, stalled = await asyncio.wait(open_tasks, timeout=LAST_BYTES_S)
        for task in stalled:
            task.cancel()


def ignore_cancelled_connections(app: Quart) -> None:
    """Leave out of the log that a server cancelled a connection, while `app` serves.

    asyncio before Python 3.11.8 and 3.12.2 takes it for an error and prints a traceback for each.
    """
    ignored = ExitStack()

    async def start() -> None:
        ignored.enter_context(_ignored(asyncio.get_running_loop()))

    async def stop() -> None:
        ignored.close()

    app.before_serving(start)
    app.after_serving(stop)


@contextmanager
def _ignored(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    previous = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), asyncio.CancelledError) and _CONNECTION in context.get("message", ""):
            return
        if previous is None:
            loop.default_exception_handler(context)
        else:
            previous(loop, context)

    loop.set_exception_handler(handle)
    yield
    if loop.get_exception_handler() is handle:
        loop.set_exception_handler(previous)
