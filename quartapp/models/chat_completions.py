"""A model behind a server that speaks OpenAI's chat completions."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, cast

import httpx2
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient, RequestOptions, Timeout, omit

from quartapp.events import Batches
from quartapp.models.chunks import ChunkReader, RawChunkReader
from quartapp.models.failures import MAX_ERROR_BODY_BYTES, TRANSPORT_ERRORS, from_exception, from_response
from quartapp.requests.documents import JsonObject
from quartapp.requests.messages import ChatRequest
from quartapp.settings import Settings, client_headers

# Idle connections to a model's server are kept for so long; the official client's 5 s cost a TLS handshake a question.
KEEP_ALIVE_S: Final = 75


class ChatCompletions:
    """One model of one server, by the name `model` that the server knows it by. The client belongs to the caller."""

    def __init__(self, client: AsyncOpenAI, model: str, settings: Settings) -> None:
        self._client = client
        self._model = model
        self._system_prompt = settings.system_prompt
        self._max_line_bytes = settings.max_upstream_line_bytes
        # A server that needs no key is sent none; the client wants that said with each request.
        self._options: RequestOptions = {} if settings.openai_api_key else {"headers": {"Authorization": omit}}

    async def stream(self, request: ChatRequest, /) -> Batches:
        """The answer, a batch a read, closed with the generator.

        Usage is always asked for. Raises ChatError for a refusal, a broken connection or a broken answer; an end
        without a finish_reason is for the caller to see.
        """
        try:
            response = await self._post(self._body(request))
            try:
                reader = self._reader(request)
                # httpx2's own aiter_bytes costs a token two more generators; it is needed to decompress only.
                encoded = "content-encoding" in response.headers
                async for data in response.aiter_bytes() if encoded else cast(httpx2.AsyncByteStream, response.stream):
                    yield reader.feed(data)
                    if reader.error is not None:
                        raise reader.error
            finally:
                await response.aclose()
        except TRANSPORT_ERRORS as error:
            raise from_exception(error) from error

    def _reader(self, request: ChatRequest) -> ChunkReader:
        if not request.raw:
            return ChunkReader(self._max_line_bytes)
        return RawChunkReader(
            self._max_line_bytes,
            model=self._model,
            choices=request.choices,
            include_usage=request.include_usage,
        )

    async def _post(self, body: JsonObject) -> httpx2.Response:
        # The client's typed `create` walks the parameters recursively, for 1 ms a request; ours are checked already.
        response = await self._client.post(
            "/chat/completions",
            body=body,
            cast_to=httpx2.Response,
            options=self._options,
            stream=True,
            stream_cls=AsyncStream[Any],
        )
        return cast(httpx2.Response, response)

    def _body(self, request: ChatRequest) -> JsonObject:
        messages = request.messages
        if self._system_prompt:
            messages = [{"role": "system", "content": self._system_prompt}, *messages]
        return {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **request.params,
        }


def open_client(settings: Settings, transport: httpx2.AsyncBaseTransport | None = None) -> AsyncOpenAI:
    """The official client, with neither retries, redirects nor limits of its own: those are the answer's.

    Without `transport` it asks over aiohttp, which costs a token half of what httpx2's own transport does.
    """
    api_key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    obeys = settings.obey_client_environment
    client = AsyncOpenAI(
        api_key=api_key or "none",
        base_url=settings.openai_base_url or ("http://embedded/v1" if transport else "https://api.openai.com/v1"),
        max_retries=0,
        default_headers=cast(dict[str, str], _headers(api_key, obeys)),
        http_client=DefaultAioHttpClient(
            transport=transport,
            timeout=Timeout(None, connect=settings.connect_timeout_s),
            # One connection an open answer, and room for those just read to their end.
            limits=httpx2.Limits(
                max_connections=2 * settings.max_open_streams,
                max_keepalive_connections=settings.max_open_streams,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            follow_redirects=False,
            trust_env=obeys,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            event_hooks={"response": [_raise_for_status]},
        ),
    )
    if not obeys:
        client.organization = client.project = None
    return client


def _headers(api_key: str | None, obeys: bool) -> dict[str, Any]:
    """Nothing compressed; and unless it is obeyed, what the environment asks for is ours again, or nothing."""
    ours = {"authorization": f"Bearer {api_key}", "content-type": "application/json", "accept-encoding": "identity"}
    asked = [] if obeys else client_headers()
    return {"Accept-Encoding": "identity", **{name: ours.get(name.lower(), omit) for name in asked}}


async def _raise_for_status(response: httpx2.Response) -> None:
    """A hook for each response, which reads a refusal's body up to a limit: the client itself would read it all."""
    if response.is_success:
        return
    body = b""
    try:
        # As it comes: a compressed body could be of any size, and tells no more than its status.
        async for data in response.aiter_raw():
            body += data
            if len(body) > MAX_ERROR_BODY_BYTES:
                break
    except TRANSPORT_ERRORS:
        pass  # the status is known, and tells more
    finally:
        await response.aclose()
    raise from_response(response.status_code, response.headers, body)
