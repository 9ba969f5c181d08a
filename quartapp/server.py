"""The HTTP/1.1 server of `python -m quartapp`: hypercorn with our own class for HTTP/1.1.

If a server closes a connection while the client is sending, TCP resets it and the client may lose the response.
So this server closes its own half first and continues to read for up to LINGER_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr, repr_socket_addr, wrap_app

from quartapp.http1 import Http1

#: The limits, in seconds and bytes, of reading a client that is sending after the connection's last response.
LINGER_S = 2.0
MAX_LINGER_BYTES = 2**24
READ_BYTES = 2**16

# Seconds for the tasks of an aborted connection to end.
ABORTED_WITHIN_S = 1.0


async def serve(
    app: Any, config: Config, *, shutdown_trigger: Callable[[], Awaitable[object]], max_body_bytes: int
) -> None:
    """Serve `app` on the addresses of `config` until `shutdown_trigger` returns. It is called after the start.

    If a request's body has more than `max_body_bytes` bytes, the server sends 413 and closes the connection.
    Raises LifespanFailureError if the app does not start, and OSError if an address cannot be bound.
    """
    loop = asyncio.get_running_loop()
    wrapped, context = wrap_app(app, config.wsgi_max_body_size, None), WorkerContext(None)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, loop, state)
    lifespan_task = loop.create_task(lifespan.handle_lifespan())
    await lifespan.wait_for_startup()
    if lifespan_task.done() and (error := lifespan_task.exception()) is not None:
        raise error
    try:
        accept = partial(_Connection, wrapped, loop, config, context, state, max_body_bytes=max_body_bytes)
        await _serve_connections(accept, config, context, shutdown_trigger)
    finally:
        await lifespan.wait_for_shutdown()
        lifespan_task.cancel()
        with suppress(asyncio.CancelledError):
            await lifespan_task


async def _serve_connections(
    connection: Callable[..., Awaitable[None]],
    config: Config,
    context: WorkerContext,
    shutdown_trigger: Callable[[], Awaitable[object]],
) -> None:
    """Listen on the addresses of `config` until `shutdown_trigger` returns, then end the open connections."""
    open_connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        open_connections[task] = writer
        task.add_done_callback(open_connections.pop)
        with suppress(OSError):  # for example ETIMEDOUT of TCP_USER_TIMEOUT, which hypercorn does not handle
            await connection(reader, writer)

    sockets = config.create_sockets().insecure_sockets
    servers = [await asyncio.start_server(accept, backlog=config.backlog, sock=sock) for sock in sockets]
    for sock in sockets:
        address = repr_socket_addr(sock.family, sock.getsockname())
        await config.log.info(f"Running on http://{address} (CTRL + C to quit)")  # noqa: G004 - hypercorn's own logger
    try:
        await shutdown_trigger()
    finally:
        await context.terminated.set()
        for server in servers:
            server.close()  # from Python 3.12.1 its `wait_closed` waits for each connection too
        await _end_connections(open_connections, config.graceful_timeout)


async def _end_connections(
    open_connections: Mapping[asyncio.Task[None], asyncio.StreamWriter], graceful_timeout: float
) -> None:
    """Wait up to `graceful_timeout` seconds for the connections to end, then abort the others.

    The last bytes of a connection cannot be sent if its client reads nothing.
    """
    if open_connections:
        await asyncio.wait(list(open_connections), timeout=graceful_timeout)
    for writer in open_connections.values():
        writer.transport.abort()
    if open_connections:
        await asyncio.wait(list(open_connections), timeout=ABORTED_WITHIN_S)


class _Connection(TCPServer):
    """A client's connection, always with HTTP/1.1."""

    def __init__(self, *arguments: Any, max_body_bytes: int) -> None:
        super().__init__(*arguments)
        self._max_body_bytes = max_body_bytes
        self._is_lingering = False

    async def run(self) -> None:
        sock = self.writer.get_extra_info("socket")
        try:
            client, server = (parse_socket_addr(sock.family, name) for name in (sock.getpeername(), sock.getsockname()))
            async with TaskGroup(self.loop) as self._task_group:
                state = ConnectionState(self.state)
                shared = (self.app, self.config, self.context, self._task_group, state, False, client, server)
                self.protocol = Http1(*shared, self.protocol_send, max_body_bytes=self._max_body_bytes)  # type: ignore[assignment]
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass  # the client has disconnected
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Send bytes, or close the connection. If the client may send more, close our half first."""
        if not isinstance(event, Closed):
            await super().protocol_send(event)
        elif not self._is_lingering:
            if self.reader.at_eof() or not cast("Http1", self.protocol).is_receiving:
                await super().protocol_send(event)
            else:
                self._linger()

    def _linger(self) -> None:
        self._is_lingering = True
        with suppress(OSError, RuntimeError):  # the client has disconnected
            self.writer.write_eof()
        self.loop.call_later(LINGER_S, self.writer.transport.abort)

    async def _read_data(self) -> None:
        unread_bytes = 0
        while not self.reader.at_eof() and unread_bytes <= MAX_LINGER_BYTES:
            try:
                data = await self.reader.read(READ_BYTES)
            except OSError:
                break
            if self._is_lingering:
                unread_bytes += len(data)
            else:
                await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
