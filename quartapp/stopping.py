"""The end of a connection by its server: an open answer ends with a record, and all its tasks end.

hypercorn and uvicorn cancel the connections that are open after the time to stop. Quart before 0.23 does not cancel the
tasks of a cancelled connection: they would continue without a client until the loop is closed. Quart 0.23 cancels them
at once, before an answer could send its last record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from quart import Quart

from quartapp.running import CONNECTION_TASKS, LAST_BYTES_S, ClientTasks

# The name of a connection's callback in the message with which asyncio and uvloop report its exception.
_CONNECTION: Final = "StreamReaderProtocol.connection_made.<locals>.callback"


def end_with_connections(app: Quart) -> None:
    """Make the open answers of `app` send their last record when the server cancels a connection."""
    inner: Any = app.asgi_http_class
    if getattr(inner, "ends_answers", False):
        return  # another blueprint of this app has done it

    class Connection(inner):  # type: ignore[misc]
        ends_answers = True

        async def __call__(self, receive: Any, send: Any) -> None:
            self._receivers: set[asyncio.Task[Any]] = set()

            async def received() -> Any:
                if (task := asyncio.current_task()) not in {call, None}:
                    self._receivers.add(task)
                return await receive()

            client_tasks: ClientTasks = {}
            CONNECTION_TASKS.set(client_tasks)
            call = asyncio.create_task(super().__call__(received, send))
            try:
                await asyncio.wait([call])  # unlike awaiting `call`, this does not pass a cancellation on to it
                call.result()
            except asyncio.CancelledError:
                await _end(client_tasks)
                self._stop_receiving()
                call.cancel()
                raise
            finally:  # because only the garbage collector frees tasks that refer to each other
                self._receivers.clear()
                client_tasks.clear()

        async def handle_request(self, *arguments: Any) -> None:
            try:
                await super().handle_request(*arguments)
            finally:
                self._stop_receiving()

        def _stop_receiving(self) -> None:
            """Cancel the tasks that wait for the client.

            After a response, Quart 0.23 waits for a disconnect. It never comes if the body was aborted, and gunicorn
            sends it only at the end of the connection.
            """
            for task in self._receivers - {asyncio.current_task()}:
                task.cancel()

    app.asgi_http_class = Connection


async def _end(client_tasks: ClientTasks) -> None:
    """End the answers and wait up to LAST_BYTES_S for their last bytes. Cancel the tasks that are not done then."""
    open_tasks = [task for task in client_tasks if not task.done()]
    for task in open_tasks:
        client_tasks[task].shut_down()
    if open_tasks:
        _, stalled = await asyncio.wait(open_tasks, timeout=LAST_BYTES_S)
        for task in stalled:
            task.cancel()


def ignore_cancelled_connections(app: Quart) -> None:
    """Log nothing for connections that a server cancels, while `app` serves.

    asyncio before Python 3.11.8 and 3.12.2 logs each as an error with a traceback.
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
