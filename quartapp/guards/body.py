"""The request's body: its content type, its size and its time limit."""

from __future__ import annotations

import asyncio

from quart import Request
from werkzeug.exceptions import RequestEntityTooLarge

from quartapp.core.errors import ChatError
from quartapp.settings.settings import Settings

#: Reads that every body may take. A body may take one more for each READ_BYTES, because each read costs time.
MAX_READS = 256
READ_BYTES = 256


async def read_body(request: Request, settings: Settings) -> bytes:
    """Return the body. Raises ChatError: bad_request, unsupported_media_type, too_large, request_timeout."""
    headers = request.headers
    if "Transfer-Encoding" in headers and "Content-Length" in headers:
        # Two lengths can hide a second request in the body, so the connection must close (RFC 9112, section 6.3).
        raise ChatError("bad_request", headers={"Connection": "close"})
    encoding = headers.get("Content-Encoding", "identity")
    if request.mimetype != "application/json" or encoding.lower() != "identity":
        raise ChatError("unsupported_media_type")
    if (request.content_length or 0) > settings.max_body_bytes:
        raise ChatError("too_large")
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _collect(request, _limit(request, settings))
    except TimeoutError:
        raise ChatError("request_timeout") from None
    except RequestEntityTooLarge:  # because the host app has a lower limit of its own
        raise ChatError("too_large") from None


def _limit(request: Request, settings: Settings) -> int:
    """Return the lower limit of the chat's and the host app's. Quart 0.23 checks its own only after the last piece."""
    hosts = request.max_content_length
    return settings.max_body_bytes if hosts is None else min(settings.max_body_bytes, hosts)


async def _collect(request: Request, max_bytes: int) -> bytes:
    body, reads, has_waited = bytearray(), 0, asyncio.Event()
    has_waited.set()
    async for data in request.body:
        # Quart 0.23 yields each piece by itself. Pieces that have arrived together are one read.
        if has_waited.is_set():
            has_waited.clear()
            asyncio.get_running_loop().call_soon(has_waited.set)
            reads += 1
        body += data
        if len(body) > max_bytes or reads > MAX_READS + len(body) // READ_BYTES:
            raise ChatError("too_large")
    if body:
        return bytes(body)
    whole: bytes = await request.body  # after a hook of the host app has read it, Quart 0.23 yields no piece
    if len(whole) > max_bytes:
        raise ChatError("too_large")
    return whole
