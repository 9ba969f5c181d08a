"""HTTP/1.1 on one connection, with limits for the bytes of a client.

While hypercorn 0.18 answers a request, it stops reading at the first byte of the next request. Then it misses a
disconnect, and the upstream of the answer stays open. It also accepts HTTP/2 over cleartext, where it buffers without
a limit for a client that reads nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import h11
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, Data, EndBody
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol

#: Bytes of later requests that may wait for the current response. If a client sends more, it is disconnected.
MAX_WAITING_BYTES = 2**16

#: Pieces (chunks, or reads of the socket) that every body may have. A body may have one more for each PIECE_BYTES.
MAX_PIECES = 1000
PIECE_BYTES = 256

# Seconds for a route to refuse a body over the limits in its own format, before the server sends a bare 413.
ROUTE_REFUSAL_S = 1.0


class Http1(H11Protocol):
    """HTTP/1.1 on one connection. It reads during a response, so it detects a disconnect at once.

    `send` gets the events for the client, as in hypercorn's class. A later request waits for the end of the current
    response, in a buffer of at most MAX_WAITING_BYTES.
    """

    def __init__(self, *arguments: Any, max_body_bytes: int) -> None:
        super().__init__(*arguments)
        self._max_body_bytes = max_body_bytes
        self._parsing = asyncio.Lock()
        self._has_answered = asyncio.Event()
        self._pieces = self._body_bytes = 0
        self._is_paused = self._is_closed = False

    @property
    def is_receiving(self) -> bool:
        """Return True if the client may send more bytes: of a body, of a later request, or invalid ones."""
        states = {h11.SEND_BODY, h11.ERROR}
        return self.connection.their_state in states or bool(self.connection.trailing_data[0])

    async def handle(self, event: Event) -> None:
        """Handle bytes of the client, or the end of its connection."""
        if isinstance(event, Closed):
            self._is_closed = True
        if not (self._is_closed and isinstance(event, RawData)):
            await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send an event of the app, unless the connection is closed."""
        if not self._is_closed:
            await super().stream_send(event)

    async def _handle_events(self) -> None:
        async with self._parsing:
            while not self._is_closed and await self._handle_next():
                pass

    async def _handle_next(self) -> bool:
        """Handle the next event in the buffered bytes. Return True if there may be another one."""
        if self.connection.they_are_waiting_for_100_continue:
            await self._send_h11_event(
                h11.InformationalResponse(status_code=100, headers=self.config.response_headers("h11"))
            )
        try:
            event = self.connection.next_event()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return False
        if isinstance(event, h11.Request):
            await self._begin(event)
        elif event is h11.PAUSED:
            await self._pause()
            return False
        elif self.stream is None or event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            return False
        elif isinstance(event, h11.Data):
            await self._take_piece(event.data)
        else:  # the end of the body, or bytes of a WebSocket
            await self.stream.handle(event if isinstance(event, Data) else EndBody(STREAM_ID))
        return True

    async def _pause(self) -> None:
        """Leave a later request in the buffer until the current response has ended."""
        self._is_paused = True
        if len(self.connection.trailing_data[0]) > MAX_WAITING_BYTES:
            await self._refuse(400)

    async def _begin(self, request: h11.Request) -> None:
        self._pieces = self._body_bytes = 0
        await self.send(Updated(idle=False))
        status = _fault(request)
        if status is None:
            self._has_answered.clear()
            await self._create_stream(request)
            if self.stream is not None and self.stream.closed:  # because hypercorn leaves the connection open then
                await self._refuse(400)
        else:
            await self._refuse(status)

    async def _take_piece(self, data: bytes) -> None:
        self._pieces += 1
        self._body_bytes += len(data)
        if self._body_bytes > self._max_body_bytes or self._pieces > MAX_PIECES + self._body_bytes // PIECE_BYTES:
            await self._refuse_body()
        elif self.stream is not None:
            await self.stream.handle(Body(STREAM_ID, data))

    async def _refuse_body(self) -> None:
        """Refuse a body over the limits, unless the app does so within ROUTE_REFUSAL_S. Read nothing meanwhile."""
        if self.connection.our_state is h11.SEND_RESPONSE:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_answered.wait(), ROUTE_REFUSAL_S)
        await self._refuse(413)

    async def _refuse(self, status: int) -> None:
        """Send `status` if no response has begun, and close the connection. The app gets a disconnect."""
        self._is_closed = True
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status)
        await self._close_stream()
        await self.send(Closed())

    async def _maybe_recycle(self) -> None:
        was_paused, self._is_paused = self._is_paused, False
        await super()._maybe_recycle()
        self._has_answered.set()
        if was_paused and self.connection.our_state is h11.IDLE:
            self.task_group.spawn(self._handle_events)


def _fault(request: h11.Request) -> int | None:
    """Return the status of the refusal of an invalid `request`, or None if it is valid.

    Quart fails with 500 at a target without a path, or with an incomplete IPv6 address. A body with two lengths can
    hide a second request (RFC 9112, section 6.3).
    """
    if not request.http_version.startswith(b"1."):
        return 505
    if not _is_target(request.target):
        return 400
    names = {name for name, _ in request.headers}
    is_coded = b"transfer-encoding" in names
    return 400 if is_coded and (b"content-length" in names or request.http_version == b"1.0") else None


def _is_target(target: bytes) -> bool:
    try:
        urlsplit(target)
    except ValueError:
        return False
    return not target.startswith((b"?", b"#"))
