"""What every door answers with: its headers, its errors, and the body that carries an answer."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from typing import Any

from quart import Response, g, request
from werkzeug.exceptions import HTTPException

from quartapp.answer import Answer
from quartapp.errors import ChatError, describe
from quartapp.events import Failed
from quartapp.formats import Format

log = logging.getLogger("quartapp.request")

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


def request_id() -> str:
    """The id of the current request: ours, never the client's."""
    if "quartapp_request_id" not in g:
        g.quartapp_request_id = secrets.token_hex(16)
    return str(g.quartapp_request_id)


def labels(who: str | None) -> dict[str, Any]:
    """What the log says of the current request beside its id: who asks, and the client's own id if it is a safe one."""
    said: dict[str, Any] = {} if who is None else {"who": who}
    client_id = request.headers.get("X-Request-ID", "")
    if _SAFE_ID.fullmatch(client_id):
        said["client_id"] = client_id
    return said


def stream_reply(answer: Answer, format: Format) -> Response:
    """The response that carries `answer`, which has begun."""
    response = Response(
        AnswerBody(answer, format),
        content_type=f"{format.media_type}; charset=utf-8",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **_common_headers()},
    )
    # Quart would end the response after 60 s without a word; the answer has its own limits, which speak.
    response.timeout = None
    return response


def error_reply(error: ChatError) -> Response:
    """`error` as a JSON body with its status; logging it is the caller's part."""
    said: dict[str, Any] = {"code": error.code, "message": error.message, "id": request_id()}
    headers = {"Cache-Control": "no-store", **_common_headers(), **error.headers}
    if error.path is not None:
        said["path"] = error.path
    if error.retry_after_s is not None:
        said["retry_after_s"] = error.retry_after_s
        headers["Retry-After"] = str(error.retry_after_s)
    body = json.dumps({"error": said})
    return Response(body, status=error.status, content_type="application/json", headers=headers)


def refused(error: ChatError) -> Response:
    """The error handler for what is refused before an answer begins; one line in the log."""
    log.info("refused %s", json.dumps({"id": request_id(), **labels(None), **describe(error)}))
    return error_reply(error)


def refused_by_framework(error: HTTPException) -> Response | HTTPException:
    """The error handler for werkzeug's exceptions, which a host's own hooks may raise too."""
    if error.code is None or error.code < 400:
        return error
    fallback = "bad_request" if error.code < 500 else "internal_error"
    return refused(ChatError(_BY_STATUS.get(error.code, fallback)))


def failed(error: Exception) -> Response:
    """The error handler for a fault of ours, or of a host's hook: the log says where, the client gets an id."""
    failure = ChatError("internal_error")
    failure.__cause__ = error
    log.error("failed %s", json.dumps({"id": request_id(), **labels(None), **describe(failure)}))
    return error_reply(failure)


def _common_headers() -> dict[str, str]:
    return {"X-Content-Type-Options": "nosniff", "X-Request-ID": request_id()}


class AnswerBody:
    """The body of a response: an answer's events as bytes. Closing it closes the answer.

    A generator would not do: one that was never started does not run its `finally`.
    """

    def __init__(self, answer: Answer, format: Format) -> None:
        self._answer = answer
        self._format = format
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
            data = self._format.encode(events)
            self._is_broken = not self._format.has_records and isinstance(events[-1], Failed)
        return data

    async def aclose(self) -> None:
        self._answer.close()
