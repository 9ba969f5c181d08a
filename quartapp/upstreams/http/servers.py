"""The servers of the models. Models with the same address share one server and its official client."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

import aiohttp
import httpx2
import msgspec
from pydantic import SecretStr

from quartapp.core.errors import ChatError, SettingsError, UpstreamFault
from quartapp.core.events import Batches
from quartapp.core.request import JsonObject
from quartapp.settings.loader import client_headers, client_proxy
from quartapp.settings.urls import host_and_port, is_loopback, is_server
from quartapp.upstreams.common.bodies import Parser
from quartapp.upstreams.common.failures import MAX_ERROR_BODY_BYTES, from_response
from quartapp.upstreams.http.compression import CODINGS, Decompressed
from quartapp.upstreams.http.transport import TRANSPORT_ERRORS, AiohttpTransport, ConnectionOptions, open_trust
from quartapp.upstreams.rerouting import ReroutableTransport

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    Client = AsyncOpenAI

Token = Callable[[], Awaitable[str]]

#: Seconds to read the body of an error response. The status is known before.
REFUSAL_TIMEOUT_S = 2.0

#: Bytes that are decoded at once. The events of one byte take up to ten bytes, and only complete pieces can wait.
PIECE_BYTES = 2**14


class Address(msgspec.Struct, frozen=True):
    """The URL of a server, and the credentials and headers of each request to it.

    Equal addresses share one server. `token` is called for each request. `query` and `headers` are pairs of names and
    values; header names are in lower case.
    """

    base_url: str
    key: SecretStr | None = None
    key_header: str = "authorization"
    token: Token | None = None
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    obeys_environment: bool = False


class Server:
    """One server with its connections; its opener closes it.

    `client` is the official client for it, with the server's URL and key, and without retries.
    """

    def __init__(self, address: Address, transport: httpx2.AsyncBaseTransport) -> None:
        self._address = address
        self._transport = ReroutableTransport(transport)
        self.client = _client(address, self._transport)
        self._headers = _headers(address, self.client)
        self._urls: dict[str, httpx2.URL] = {}

    async def stream(self, path: str, body: JsonObject, open_parser: Callable[[str], Parser]) -> Batches:
        """Yield the batches of the answer to `body`: one for each read, or several for a read over 16 KiB.

        `open_parser` gets the content type. Closing the generator closes the response.

        Raises ChatError for an error response, a broken connection or a malformed answer. An end without a
        finish_reason is not an error here, because the caller checks it.
        """
        try:
            response = await self._post(path, body)
            try:
                parser = open_parser(response.headers.get("content-type", ""))
                async for data in _body(response):
                    for piece in (data,) if len(data) <= PIECE_BYTES else _pieces(data):
                        yield parser.feed(piece)
                        if parser.error is not None:
                            raise parser.error
                yield parser.end()
                if parser.error is not None:
                    raise parser.error
            finally:
                await response.aclose()
        except TRANSPORT_ERRORS as error:
            raise _failure(error, self._address.base_url) from error

    async def _post(self, path: str, body: JsonObject) -> httpx2.Response:
        """Return the response to a JSON `body`, before its bytes are read; `aclose` closes it.

        Raises TRANSPORT_ERRORS, and ChatError for an error response, of which 64 KiB are read.

        The request goes to the transport directly, because the client's own `post` makes a request cost four times as
        much.
        """
        headers = self._headers.copy()
        if self._address.token is not None:
            headers["authorization"] = f"Bearer {await self._address.token()}"
        request = httpx2.Request("POST", self._url(path), headers=headers, content=_to_json(body))
        response = await self._transport.handle_async_request(request)
        if not response.is_success:
            raise await _refusal(response)
        return response

    async def close(self) -> None:
        await self.client.close()

    def _url(self, path: str) -> httpx2.URL:
        url = self._urls.get(path)
        if url is None:
            query = f"?{urlencode(self._address.query)}" if self._address.query else ""
            url = self._urls[path] = httpx2.URL(self._address.base_url.rstrip("/") + path + query)
        return url


class Servers:
    """The open servers."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._trust: ssl.SSLContext | None = None
        self._open: dict[Address, Server] = {}

    def at(self, address: Address, transport: Callable[[], httpx2.AsyncBaseTransport] | None = None) -> Server:
        """Return the server at `address`; open it if it is new. `transport` replaces the sockets.

        Raises SettingsError for an unusable proxy, and for a CA file that cannot be read.
        """
        server = self._open.get(address)
        if server is None:
            way = self._socket(address) if transport is None else transport()
            server = self._open[address] = Server(address, way)
        return server

    def __iter__(self) -> Iterator[Server]:
        return iter(self._open.values())

    async def close(self) -> None:
        while self._open:
            await self._open.popitem()[1].close()

    def _socket(self, address: Address) -> AiohttpTransport:
        has_tls = address.base_url.lower().startswith("https:")
        if self._trust is None and (has_tls or self._options.ca_file is not None):
            self._trust = open_trust(self._options.ca_file)  # takes 20 ms
        return AiohttpTransport(self._options, self._trust, self._proxy(address))

    def _proxy(self, address: Address) -> SecretStr | None:
        if self._options.proxy is not None:  # loopback would be the proxy's own
            return None if is_loopback(address.base_url) else self._options.proxy
        proxy = client_proxy(address.base_url) if self._options.obey_environment else None
        if proxy is not None and not is_server(proxy.get_secret_value()):
            raise SettingsError(
                "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY: not the URL of an HTTP proxy; for example http://proxy.example:3128"
            )
        return proxy


def _client(address: Address, transport: httpx2.AsyncBaseTransport) -> Client:
    """Return the official client without retries, redirects and time limits, because those belong to the answer."""
    from openai import AsyncOpenAI  # here, because an import of the app should not take 0.3 s longer

    client = AsyncOpenAI(
        api_key=address.token or (address.key.get_secret_value() if address.key else "none"),
        base_url=address.base_url,
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport, timeout=None, trust_env=False),
    )
    if not address.obeys_environment:
        client.organization = client.project = None
    return client


def _headers(address: Address, client: Client) -> httpx2.Headers:
    """Return the headers of the client and the address.

    Headers from the environment are among them only if the address obeys the environment.
    """
    ignored = () if address.obeys_environment else {name.lower() for name in client_headers()}
    headers = {name.lower(): value for name, value in client.default_headers.items() if isinstance(value, str)}
    headers = {name: value for name, value in headers.items() if name not in ignored}
    headers |= {"content-type": "application/json", "accept-encoding": "identity", **dict(address.headers)}
    if address.key is not None:
        key = address.key.get_secret_value()
        headers[address.key_header] = f"Bearer {key}" if address.key_header == "authorization" else key
    return httpx2.Headers(headers)


def _body(response: httpx2.Response) -> AsyncIterable[bytes]:
    """Return the bytes of an answer. Raises ChatError, upstream_error, for an unknown content coding."""
    stream = cast(httpx2.AsyncByteStream, response.stream)
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return stream
    if coding not in CODINGS:
        raise ChatError("upstream_error")
    return Decompressed(stream, coding)


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))


def _failure(error: Exception, base_url: str) -> ChatError:
    """Return the error of a server that could not be reached, or whose connection broke."""
    status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
    fault = UpstreamFault(status=status, address=host_and_port(base_url))
    # CHAT_MAX_CONNECTIONS answers of this server are open.
    return ChatError("upstream_overloaded" if isinstance(error, httpx2.PoolTimeout) else "upstream_error", fault=fault)


def _to_json(body: JsonObject) -> bytes:
    """Encode with msgspec, ten times as fast as the standard library: an image would block other requests."""
    try:
        return msgspec.json.encode(body)
    except OverflowError:  # an int of more than 64 bits, for example in a tool's schema
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def _refusal(response: httpx2.Response) -> ChatError:
    """Return the error of a response; at most 64 KiB of its body are read, for at most 2 seconds."""
    body = b""
    try:
        async with asyncio.timeout(REFUSAL_TIMEOUT_S):
            # Not decompressed, because the result could have any size. Then the status alone gives the error.
            async for data in cast(httpx2.AsyncByteStream, response.stream):
                body += data
                if len(body) > MAX_ERROR_BODY_BYTES:
                    break
    except TRANSPORT_ERRORS:  # TimeoutError is an OSError, so it is among them
        pass  # the status is known, and gives the error
    finally:
        await response.aclose()
    refusal = from_response(response.status_code, response.headers, body)
    if response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:  # the proxy sent it
        return ChatError("upstream_error", fault=refusal.fault)
    return refusal
