"""HTTP over aiohttp, as a transport for the official client.

The client's own transport for aiohttp keeps cookies and runs two generators for each read. This one does neither, and
yields each read at once. httpx2's transport costs twice as much for each token.
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
from pydantic import SecretStr

from quartapp.core.errors import SettingsError

#: Errors of a request other than ChatError. The class does not show the cause: aiohttp reports a refused connection as
#: a timeout, and a server without HTTP as a bare aiohttp error.
TRANSPORT_ERRORS: Final = (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError, EOFError)

# Above this size, aiohttp writes files in pieces, and warns about bytes.
_MAX_BYTES_AT_ONCE: Final = 2**20

#: Bytes of an answer to buffer; reading pauses above twice as many. aiohttp's default is 256 KiB.
READ_BYTES: Final = 2**16
# A dead connection ends within a round trip. If it ends later, the server may have started the answer.
_STALE_WITHIN_S: Final = 3.0
# aiohttp's own limit of 8 190 bytes is less than some gateways send; OpenAI's own client takes 60 kB and more.
_MAX_HEADER_BYTES: Final = 2**16


class ConnectionOptions(msgspec.Struct, frozen=True):
    """The limits of the connections to a server.

    `max_connections` are open at once, and idle ones are kept for `keep_alive_s` seconds. `timeout_s` covers the wait
    for a free connection, DNS, the proxy and TLS. `proxy` is a URL and may contain a name and a password. `ca_file` is
    a PEM file of certificate authorities, trusted in addition to the system's.
    """

    timeout_s: float
    max_connections: int
    keep_alive_s: float
    proxy: SecretStr | None = None
    ca_file: str | None = None
    obey_environment: bool = False


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """A transport with kept connections.

    It follows no redirect, keeps no cookie, decompresses nothing, and limits only the time to connect. Raises
    aiohttp.ClientError and OSError unchanged, and httpx2.PoolTimeout if no connection became free in time.
    """

    def __init__(self, options: ConnectionOptions, tls: ssl.SSLContext | None, proxy: SecretStr | None = None) -> None:
        self._options = options
        self._tls = tls or True  # True is aiohttp's own context, unused without TLS
        self._proxy = proxy

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        is_resent = False
        while True:
            use = _ConnectionUse()
            try:
                response = await self._send(request, use)
                return httpx2.Response(response.status, headers=response.raw_headers, stream=_ResponseBody(response))
            except _UnexpectedDataError:
                if not use.is_kept:
                    raise  # otherwise a server that sends data first causes an endless loop
                # Nothing was sent, and aiohttp closes that connection.
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if is_resent or not use.is_stale:
                    raise
                is_resent = True
                # The server closed a kept connection before it read the request, which is sent again. Browsers do this
                # for a POST too, if the connection was reused and no byte of a response has come (Chromium's
                # HttpNetworkTransaction::ShouldResendRequest). In any other case the request may be billed already.
                # A request is sent at most twice.
                # The other idle connections are probably as old and as dead.
                self._connector.close_idle()

    async def aclose(self) -> None:
        if "_session" in self.__dict__:
            await self._session.close()

    @cached_property
    def _connector(self) -> _Connector:
        options = self._options
        return _Connector(limit=options.max_connections, keepalive_timeout=options.keep_alive_s, ssl=self._tls or True)

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        """Return the session. It is created with the first request, so that a failed start has nothing to close."""
        return aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=self._proxy.get_secret_value() if self._proxy else None,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._options.timeout_s),
            request_class=_Request,
            read_bufsize=READ_BYTES,
            trace_configs=[_trace_use()],
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )

    async def _send(self, request: httpx2.Request, use: _ConnectionUse) -> aiohttp.ClientResponse:
        content = request.content
        _USE.set(use)
        try:
            return await self._session.request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=content if len(content) <= _MAX_BYTES_AT_ONCE else io.BytesIO(content),
                allow_redirects=False,
                trace_request_ctx=use,
            )
        except aiohttp.ConnectionTimeoutError:
            if use.is_waiting:
                raise httpx2.PoolTimeout("no connection came free") from None
            raise


class _ResponseBody(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_any()

    async def aclose(self) -> None:
        """Close the connection if its response was not read to the end; otherwise keep it for the next request."""
        self._response.close()


class _UnexpectedDataError(aiohttp.ClientConnectionError):
    """A connection on which data came before a request was sent."""


class _Request(aiohttp.ClientRequest):
    """A request that refuses a connection with unexpected data, because the data would be read as its response."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise _UnexpectedDataError
        use = _USE.get()
        if use is not None and isinstance(conn.protocol, _Protocol):
            conn.protocol.is_answered = False
            use.protocol, use.sent_at = conn.protocol, time.monotonic()
        return await super().send(conn)


_receive: Final = ResponseHandler.data_received  # `super()` would cost time for each token


class _Protocol(ResponseHandler):
    """A connection that records whether a byte of a response has come."""

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


class _ConnectionUse(msgspec.Struct):
    """The use of a connection by one request: whether it waits for a free one, and whether it gets a kept one."""

    is_waiting: bool = False
    is_kept: bool = False
    protocol: Any = None
    sent_at: float = 0.0

    @property
    def is_stale(self) -> bool:
        """Return whether the failed connection was dead before the server read the request."""
        is_unanswered = self.protocol is not None and not self.protocol.is_answered
        return self.is_kept and is_unanswered and time.monotonic() - self.sent_at < _STALE_WITHIN_S


_USE: ContextVar[_ConnectionUse | None] = ContextVar("quartapp_connection_use", default=None)


def _trace_use() -> aiohttp.TraceConfig:
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
    """Return a TLS context with the system's authorities and those of `ca_file`. Raises SettingsError."""
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
