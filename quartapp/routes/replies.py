"""What every door answers with: its headers, its errors, and the body that carries an answer."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from quart import Blueprint, Quart, Response, g, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from quartapp.answer import Answer
from quartapp.errors import ChatError, describe
from quartapp.events import Event, Failed
from quartapp.formats import Format

log = logging.getLogger("quartapp.request")

#: How a door tells an error: its body and what headers it needs beside the usual ones.
Render = Callable[[ChatError], Response]

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_BY_STATUS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}

_PAGE_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)


def request_id() -> str:
    """The id of the current request: ours, never the client's."""
    if "quartapp_request_id" not in g:
        g.quartapp_request_id = secrets.token_hex(16)
    return str(g.quartapp_request_id)


def labels(who: str | None) -> dict[str, Any]:
    """What the log says of the current request beside its id: who asks, and the client's own id if it is a safe one."""
    said: dict[str, Any] = {} if who is None else {"who": who}
    headers = request.headers if has_request_context() else websocket.headers
    client_id = headers.get("X-Request-ID", "")
    if _SAFE_ID.fullmatch(client_id):
        said["client_id"] = client_id
    return said


# -- answers


def stream_reply(answer: Answer, wire: Format) -> Response:
    """The response that carries `answer`, which has begun."""
    response = Response(
        AnswerBody(answer, wire),
        content_type=f"{wire.media_type}; charset=utf-8",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **wire.headers, **_common()},
    )
    # Quart would end the response after 60 s without a word; the answer has its own limits, which speak.
    response.timeout = None
    return response


async def collect(answer: Answer) -> list[Event]:
    """All events of `answer`, which has begun, up to Done. Raises the ChatError it failed with."""
    events = [event async for batch in answer for event in batch]
    answer.close()
    if answer.error is not None:
        raise answer.error
    return events


def json_reply(document: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON body that no cache keeps."""
    own = {"Cache-Control": "no-store", **_common(), **(headers or {})}
    return Response(document, status=status, content_type="application/json", headers=own)


def text_reply(sentence: str, status: int, headers: Mapping[str, str]) -> Response:
    """A body of plain words that no cache keeps."""
    own = {"Cache-Control": "no-store", **_common(), **headers}
    return Response(sentence, status=status, content_type="text/plain; charset=utf-8", headers=own)


def page_reply(html: bytes, *directives: str) -> Response:
    """A page that loads from its own server alone; `directives` are added to its content security policy."""
    headers = {
        "Content-Security-Policy": "; ".join((*_PAGE_POLICY, *directives)),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
        **_common(),
    }
    return Response(html, content_type="text/html; charset=utf-8", headers=headers)


class AnswerBody:
    """The body of a response: an answer's events as bytes. Closing it closes the answer.

    A generator would not do: one that was never started does not run its `finally`.
    """

    def __init__(self, answer: Answer, wire: Format) -> None:
        self._answer = answer
        self._encode = wire.encoder()
        self._has_records = wire.has_records
        self._is_broken = False

    def __aiter__(self) -> AnswerBody:
        return self

    async def __anext__(self) -> bytes:
        data = b""
        while not data:
            if self._is_broken:
                # The server ends the connection without the body's last chunk, and prints no traceback, as it would
                # for any other exception: the reader's `read()` rejects.
                raise asyncio.CancelledError
            events = await anext(self._answer)
            data = self._encode(events)
            self._is_broken = not self._has_records and isinstance(events[-1], Failed)
        return data

    async def aclose(self) -> None:
        self._answer.close()


# -- errors


def error_headers(error: ChatError) -> dict[str, str]:
    """The headers that `error` needs in any form."""
    retry = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return {**error.headers, **retry}


def render(error: ChatError) -> Response:
    """`error` as our own doors tell it."""
    said: dict[str, Any] = {"code": error.code, "message": error.message, "id": request_id()}
    if error.path is not None:
        said["path"] = error.path
    if error.retry_after_s is not None:
        said["retry_after_s"] = error.retry_after_s
    return json_reply(json.dumps({"error": said}).encode(), error.status, error_headers(error))


def handle_errors(scaffold: Blueprint | Quart, render: Render) -> None:
    """Lets whatever is raised below `scaffold` be told by `render`, and logged in one line with the request's id."""

    async def refused(error: ChatError) -> Response:
        if not error.is_logged:
            log.info("refused %s", json.dumps({"id": request_id(), **labels(None), **describe(error)}))
        return render(error)

    async def refused_by_framework(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400:
            return error
        if isinstance(error, WebsocketMismatch):  # the handshake of a WebSocket at the path of a route, or the reverse
            return await refused(ChatError("not_found"))
        fallback = "bad_request" if error.code < 500 else "internal_error"
        return await refused(ChatError(_BY_STATUS.get(error.code, fallback)))

    async def failed(error: Exception) -> Response:
        failure = ChatError("internal_error")
        failure.__cause__ = error
        log.error("failed %s", json.dumps({"id": request_id(), **labels(None), **describe(failure)}))
        return render(failure)

    scaffold.register_error_handler(ChatError, refused)
    scaffold.register_error_handler(HTTPException, refused_by_framework)
    scaffold.register_error_handler(Exception, failed)


def _common() -> dict[str, str]:
    return {"X-Content-Type-Options": "nosniff", "X-Request-ID": request_id()}
