"""HTTP over aiohttp, as a transport that the official client can be given.

The transport that comes with the client keeps cookies, and takes two generators a read; this one takes none of either,
and hands over whatever has come. httpx2's own costs a token twice as much.
"""

from __future__ import annotations

import io
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import httpx2
import msgspec
from aiohttp.client_proto import ResponseHandler
from openai import OpenAIError
from pydantic import SecretStr

from quartapp.core.errors import SettingsError

#: What asking a server may raise besides ChatError. The class does not tell what happened: over aiohttp a refused
#: connection arrives as a timeout, and a server that does not speak HTTP as a bare aiohttp error.
TRANSPORT_ERRORS: Final = (OpenAIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError, EOFError)

# aiohttp writes larger bodies piece by piece if they are files, and warns if they are bytes.
_MAX_BYTES_AT_ONCE: Final = 2**20

#: Bytes of an answer that wait to be read, and as many more, before the server is held back; aiohttp has 256 KiB.
READ_BYTES: Final = 2**16
# The end of a dead connection comes within a round trip. A server that ends one later may have worked on the request.
_STALE_WITHIN_S: Final = 3.0
# aiohttp's own limit of 8 190 bytes is less than some gateways send; OpenAI's own client takes 60 kB and more.
_MAX_HEADER_BYTES: Final = 2**16


class Connecting(msgspec.Struct, frozen=True):
    """How the connections to a server are made and kept.

    At most `max_connections` at once, idle ones for `keep_alive_s`; `timeout_s` is for getting one: a place among them,
    the name, the way by a proxy, TLS. `proxy` is a URL, which may hold a name and a password; `ca_file` a PEM file of
    authorities to be trusted beside the system's.
    """

    timeout_s: float
    max_connections: int
    keep_alive_s: float
    proxy: SecretStr | None = None
    ca_file: str | None = None
    obey_environment: bool = False


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests over connections that are kept.

    No redirect is followed, no cookie is kept, nothing is decompressed, and no time is limited but connecting's. Raises
    aiohttp.ClientError and OSError, as they come, and httpx2.PoolTimeout where no connection came free in time.
    """

    def __init__(self, connecting: Connecting, trust: ssl.SSLContext | None, proxy: SecretStr | None = None) -> None:
        self._connecting = connecting
        self._trust = trust or True  # without a context, aiohttp's own, which a server without TLS does not use
        self._proxy = proxy

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        is_resent = False
        while True:
            way = _Way()
            try:
                response = await self._send(request, way)
                return httpx2.Response(response.status, headers=response.raw_headers, stream=_Body(response))
            except _UnaskedError:
                if not way.is_kept:
                    raise  # a server that speaks first would be connected to for ever
                # Nothing was sent, and that connection is closed.
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if is_resent or not way.is_stale:
                    raise
                is_resent = True
                # The server closed a kept connection before it read the request, which is sent again. Browsers do this
                # for a POST too, if the connection was reused and no byte of a response has come (Chromium's
                # HttpNetworkTransaction::ShouldResendRequest). In any other case the request may be billed already.
                # A server that closes each connection after it has read the request gets a question twice at most.
                # The other idle connections are probably as old and as dead.
                self._connector.close_idle()

    async def aclose(self) -> None:
        if "_session" in self.__dict__:
            await self._session.close()

    @cached_property
    def _connector(self) -> _Connector:
        connecting = self._connecting
        return _Connector(
            limit=connecting.max_connections, keepalive_timeout=connecting.keep_alive_s, ssl=self._trust or True
        )

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        """Made with the first request: a start that stops has nothing to close."""
        return aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=self._proxy.get_secret_value() if self._proxy else None,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connecting.timeout_s),
            request_class=_Request,
            read_bufsize=READ_BYTES,
            trace_configs=[_trace_way()],
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )

    async def _send(self, request: httpx2.Request, way: _Way) -> aiohttp.ClientResponse:
        content = request.content
        _WAY.set(way)
        try:
            return await self._session.request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=content if len(content) <= _MAX_BYTES_AT_ONCE else io.BytesIO(content),
                allow_redirects=False,
                trace_request_ctx=way,
            )
        except aiohttp.ConnectionTimeoutError:
            if way.is_waiting:
                raise httpx2.PoolTimeout("no connection came free") from None
            raise


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_any()

    async def aclose(self) -> None:
        """A connection whose answer was not read to its end is closed, any other is kept for the next."""
        self._response.close()


class _UnaskedError(aiohttp.ClientConnectionError):
    """Something came over a connection while nothing was asked."""


class _Request(aiohttp.ClientRequest):
    """Takes no connection over which something came unasked: that would be read as the answer, and is another's."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise _UnaskedError
        way = _WAY.get()
        if way is not None and isinstance(conn.protocol, _Protocol):
            conn.protocol.is_answered = False
            way.protocol, way.sent_at = conn.protocol, time.monotonic()
        return await super().send(conn)


_receive: Final = ResponseHandler.data_received  # `super()` would cost each token


class _Protocol(ResponseHandler):
    """A connection that knows whether a byte of a response has come."""

    is_answered = False

    def data_received(self, data: bytes) -> None:
        self.is_answered = True
        _receive(self, data)


class _Connector(aiohttp.TCPConnector):
    """The connections to one server."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(_Protocol, loop=self._loop)  # type: ignore[assignment]

    def close_idle(self) -> None:
        """Close the connections that no request uses."""
        while self._conns:
            for protocol, _ in self._conns.popitem()[1]:
                protocol.close()


class _Way(msgspec.Struct):
    """How a request gets its connection: whether it waits for one to come free, and whether that was kept until now."""

    is_waiting: bool = False
    is_kept: bool = False
    protocol: Any = None
    sent_at: float = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether the connection, which has failed, was dead before the server read the request."""
        is_unanswered = self.protocol is not None and not self.protocol.is_answered
        return self.is_kept and is_unanswered and time.monotonic() - self.sent_at < _STALE_WITHIN_S


_WAY: ContextVar[_Way | None] = ContextVar("quartapp_way", default=None)


def _trace_way() -> aiohttp.TraceConfig:
    async def wait(session: object, context: SimpleNamespace, parameters: object) -> None:
        context.trace_request_ctx.is_waiting = True

    async def go_on(session: object, context: SimpleNamespace, parameters: object) -> None:
        context.trace_request_ctx.is_waiting = False

    async def keep(session: object, context: SimpleNamespace, parameters: object) -> None:
        context.trace_request_ctx.is_kept = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(wait)
    trace.on_connection_queued_end.append(go_on)
    trace.on_connection_reuseconn.append(keep)
    return trace


def open_trust(ca_file: str | None) -> ssl.SSLContext:
    """Whom to trust: the system's authorities, and those of `ca_file`. Raises SettingsError if that cannot be read."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            place = json.dumps(str(Path(ca_file).absolute()))
            raise SettingsError(
                f"CHAT_CA_FILE: no certificates in PEM at {place} ({type(error).__name__}); "
                "for example CHAT_CA_FILE=/etc/ssl/our-ca.pem"
            ) from None
    return context
