"""The request's body: the right type, within its size, in time."""

from __future__ import annotations

import asyncio

from quart import Request
from werkzeug.exceptions import RequestEntityTooLarge

from quartapp.errors import ChatError
from quartapp.settings import Settings


async def read_body(request: Request, settings: Settings) -> bytes:
    """The body as it came. Raises ChatError: unsupported_media_type, too_large, request_timeout."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if request.mimetype != "application/json" or encoding.lower() != "identity":
        raise ChatError("unsupported_media_type")
    if (request.content_length or 0) > settings.max_body_bytes:
        raise ChatError("too_large")
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _collect(request, settings.max_body_bytes)
    except TimeoutError:
        raise ChatError("request_timeout") from None
    except RequestEntityTooLarge:  # the host's own limit is the lower one
        raise ChatError("too_large") from None


async def _collect(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for data in request.body:
        body += data
        if len(body) > max_bytes:
            raise ChatError("too_large")
    return bytes(body)
