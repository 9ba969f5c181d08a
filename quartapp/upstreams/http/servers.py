"""The servers that models are asked at: each opened once, with the official client, however many models it has."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import cast
from urllib.parse import urlencode

import aiohttp
import httpx2
import msgspec
from openai import AsyncOpenAI
from pydantic import SecretStr

from quartapp.core.errors import ChatError, SettingsError, UpstreamFault
from quartapp.core.events import Batches
from quartapp.protocols.common.documents import JsonObject
from quartapp.settings.loader import client_headers, client_proxy
from quartapp.settings.urls import host_and_port, is_loopback, is_server
from quartapp.upstreams.common.failures import MAX_ERROR_BODY_BYTES, from_response
from quartapp.upstreams.common.parser import Parser
from quartapp.upstreams.http.compression import CODINGS, Decompressed
from quartapp.upstreams.http.transport import TRANSPORT_ERRORS, AiohttpTransport, Connecting, open_trust

Token = Callable[[], Awaitable[str]]

#: For the body of a refusal, whose status is known already.
REFUSAL_TIMEOUT_S = 2.0

#: Bytes that are decoded at once. The events of one byte take up to ten, and only whole pieces can be held back.
PIECE_BYTES = 2**14


class Address(msgspec.Struct, frozen=True):
    """Where a server is and what it is told of us with each request: a key, or a token that is asked for each time.

    Equal addresses are one server. `query` and `headers` are pairs of names and values; header names in lower case.
    """

    base_url: str
    key: SecretStr | None = None
    key_header: str = "authorization"
    token: Token | None = None
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    obeys_environment: bool = False


class Server:
    """One server; whoever opens it closes it, which lets go of its connections.

    `client` is the official client for it, which knows the server and the key, and asks once.
    """

    def __init__(self, address: Address, transport: httpx2.AsyncBaseTransport) -> None:
        self._address = address
        self._transport = transport
        self.client = _client(address, transport)
        self._headers = _headers(address, self.client)
        self._urls: dict[str, httpx2.URL] = {}

    async def stream(self, path: str, body: JsonObject, open_parser: Callable[[str], Parser]) -> Batches:
        """The batches of the answer to `body`, one a read, by a reader for its content type; closed with the generator.

        A read of more than PIECE_BYTES gives several.

        Raises ChatError for a refusal, a broken connection or a broken answer; an end without a finish_reason is for
        the caller to see.
        """
        try:
            response = await self._post(path, body)
            try:
                reader = open_parser(response.headers.get("content-type", ""))
                async for data in _body(response):
                    for piece in (data,) if len(data) <= PIECE_BYTES else _pieces(data):
                        yield reader.feed(piece)
                        if reader.error is not None:
                            raise reader.error
                yield reader.end()
                if reader.error is not None:
                    raise reader.error
            finally:
                await response.aclose()
        except TRANSPORT_ERRORS as error:
            raise _failure(error, self._address.base_url) from error

    async def _post(self, path: str, body: JsonObject) -> httpx2.Response:
        """The answer to a JSON `body`, with its bytes still to come: `stream` has them, `aclose` lets go of them.

        Raises ChatError for a refusal, of which 64 KiB are read, and TRANSPORT_ERRORS.

        The client's own `post` takes three times as long as the rest to build the same request anew, so it is built
        here and handed to the client's transport.
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
    """The servers that are open; `close` lets go of all."""

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting
        self._trust: ssl.SSLContext | None = None
        self._open: dict[Address, Server] = {}

    def at(self, address: Address, transport: Callable[[], httpx2.AsyncBaseTransport] | None = None) -> Server:
        """The server at `address`, opened if it is not open; over a socket, unless `transport` makes another way.

        Raises SettingsError for a proxy that cannot be asked, and a file of authorities that cannot be read.
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
        if self._trust is None and (has_tls or self._connecting.ca_file is not None):
            self._trust = open_trust(self._connecting.ca_file)  # takes 20 ms
        return AiohttpTransport(self._connecting, self._trust, self._proxy(address))

    def _proxy(self, address: Address) -> SecretStr | None:
        if self._connecting.proxy is not None:  # whose own loopback is never meant
            return None if is_loopback(address.base_url) else self._connecting.proxy
        proxy = client_proxy(address.base_url) if self._connecting.obey_environment else None
        if proxy is not None and not is_server(proxy.get_secret_value()):
            raise SettingsError(
                "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY: not the URL of an HTTP proxy; for example http://proxy.example:3128"
            )
        return proxy


def _client(address: Address, transport: httpx2.AsyncBaseTransport) -> AsyncOpenAI:
    """The official client, with neither retries, redirects nor limits of its own: those are the answer's."""
    client = AsyncOpenAI(
        api_key=address.token or (address.key.get_secret_value() if address.key else "none"),
        base_url=address.base_url,
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport, timeout=None, trust_env=False),
    )
    if not address.obeys_environment:
        client.organization = client.project = None
    return client


def _headers(address: Address, client: AsyncOpenAI) -> httpx2.Headers:
    """The client's own headers and ours; those that only the environment asks for if it is to be obeyed."""
    unasked = () if address.obeys_environment else {name.lower() for name in client_headers()}
    headers = {name.lower(): value for name, value in client.default_headers.items() if isinstance(value, str)}
    headers = {name: value for name, value in headers.items() if name not in unasked}
    headers |= {"content-type": "application/json", "accept-encoding": "identity", **dict(address.headers)}
    if address.key is not None:
        key = address.key.get_secret_value()
        headers[address.key_header] = f"Bearer {key}" if address.key_header == "authorization" else key
    return httpx2.Headers(headers)


def _body(response: httpx2.Response) -> AsyncIterable[bytes]:
    """The bytes of an answer. Raises ChatError: upstream_error, for a coding that is not read here."""
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
    """The error of a server at `base_url` that could not be asked, or whose connection broke."""
    status = error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None
    fault = UpstreamFault(status=status, address=host_and_port(base_url))
    # As many answers as this server is to give at once.
    return ChatError("upstream_overloaded" if isinstance(error, httpx2.PoolTimeout) else "upstream_error", fault=fault)


def _to_json(body: JsonObject) -> bytes:
    """A tenth of the time that the standard library takes, in which an image holds up everyone else."""
    try:
        return msgspec.json.encode(body)
    except OverflowError:  # a whole number of more than 64 bits, in the schema of a client's tool say
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def _refusal(response: httpx2.Response) -> ChatError:
    """What a refusal says, of whose body no more than a limit is read, and waited for no longer than a limit."""
    body = b""
    try:
        async with asyncio.timeout(REFUSAL_TIMEOUT_S):
            # As it comes: a compressed body could be of any size, and tells no more than its status.
            async for data in cast(httpx2.AsyncByteStream, response.stream):
                body += data
                if len(body) > MAX_ERROR_BODY_BYTES:
                    break
    except TRANSPORT_ERRORS:  # TimeoutError, an OSError, is one
        pass  # the status is known, and tells more
    finally:
        await response.aclose()
    refusal = from_response(response.status_code, response.headers, body)
    if response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:  # a proxy's: no server has seen the request
        return ChatError("upstream_error", fault=refusal.fault)
    return refusal
