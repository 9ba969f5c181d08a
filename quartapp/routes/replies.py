"""Responses of all routes: their headers, their errors, and the body that streams an answer."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import traceback
from collections.abc import Callable, Mapping, Sequence
from inspect import unwrap
from typing import Any, Final

from quart import Blueprint, Quart, Response, current_app, g, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from quartapp.answer.client import Answer
from quartapp.core.error_log import describe
from quartapp.core.errors import ChatError, Code, host_failure, host_fault
from quartapp.core.events import Done, Event, Failed, Image
from quartapp.core.principal import Principal
from quartapp.protocols.common.format import Format

log = logging.getLogger("quartapp.request")

#: Makes the response to an error, in the form of one protocol.
Render = Callable[[ChatError], Response]

#: Bytes of a response that hypercorn may buffer over HTTP/2, and the interval of checks while it buffers more.
MAX_HELD_BYTES = 2**16
HELD_S = 0.05

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_BY_STATUS: Final[Mapping[int, Code]] = {
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

# Modules that can raise an exception while they read a request. Its message may contain text of the request.
_FRAMEWORK = frozenset({"asyncio", "concurrent", "contextlib", "hypercorn", "quart", "threading", "werkzeug"})

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
    """Return the id of the current request: 32 hexadecimal digits that the client cannot choose."""
    if "quartapp_request_id" not in g:
        g.quartapp_request_id = secrets.token_hex(16)
    return str(g.quartapp_request_id)


def labels(principal: Principal | None) -> dict[str, Any]:
    """Return the fields of the log for the current request: the principal, and the client's id if it is safe."""
    fields: dict[str, Any] = {} if principal is None else {"who": principal.id}
    headers = request.headers if has_request_context() else websocket.headers
    client_id = headers.get("X-Request-ID", "")
    if _SAFE_ID.fullmatch(client_id):
        fields["client_id"] = client_id
    return fields


# -- answers


def stream_reply(answer: Answer, wire: Format) -> Response:
    """Return the response that streams `answer`, which has begun."""
    response = Response(
        AnswerBody(answer, wire, None if request.http_version < "2" else _held_by_server()),
        content_type=f"{wire.media_type}; charset=utf-8",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **wire.headers, **_common()},
    )
    # Quart would end the response after 60 s without an error; the answer has its own limits, which report one.
    response.timeout = None
    return response


async def collect(answer: Answer) -> list[Event]:
    """Return all events of `answer`, which has begun, up to Done. Raises the ChatError with which it failed."""
    events = [event async for batch in answer for event in batch]
    answer.close()
    if answer.error is not None:
        raise answer.error
    return events


def json_reply(document: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON body that no cache keeps."""
    own = {"Cache-Control": "no-store", **_common(), **(headers or {})}
    return Response(document, status=status, content_type="application/json", headers=own)


def text_reply(sentence: str, status: int, headers: Mapping[str, str]) -> Response:
    """Return a response with a text/plain body that no cache keeps."""
    own = {"Cache-Control": "no-store", **_common(), **headers}
    return Response(sentence, status=status, content_type="text/plain; charset=utf-8", headers=own)


def page_reply(html: bytes, *directives: str) -> Response:
    """Return an HTML page that loads from its own server alone, with `directives` in its content security policy."""
    headers = {
        "Content-Security-Policy": "; ".join((*_PAGE_POLICY, *directives)),
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
        **_common(),
    }
    return Response(html, content_type="text/html; charset=utf-8", headers=headers)


class AnswerBody:
    """The body of a response: the events of an answer as bytes. Closing it closes the answer.

    It is no generator, because a generator that was never started does not run its `finally`.
    """

    def __init__(self, answer: Answer, wire: Format, held: Callable[[], int] | None = None) -> None:
        self._answer, self._held = answer, held
        self._encode = wire.encoder()
        self._has_records = wire.has_records
        self._is_broken = self._has_text = self._has_images = False

    def __aiter__(self) -> AnswerBody:
        return self

    async def __anext__(self) -> bytes:
        data = b""
        while self._held is not None and self._held() > MAX_HELD_BYTES:  # noqa: ASYNC110 - hypercorn has no event for it
            await asyncio.sleep(HELD_S)
        while not data:
            if self._is_broken:
                # The server closes the connection without the last chunk of the body, so the client sees an error.
                # For any other exception it would also print a traceback.
                raise asyncio.CancelledError
            events = await anext(self._answer)
            data = self._encode(events)
            self._is_broken = not self._has_records and self._is_not_shown(events, data)
        return data

    def _is_not_shown(self, events: Sequence[Event], data: bytes) -> bool:
        """Return whether text, which has no records, ends with something it cannot show: a failure, or images alone."""
        last = type(events[-1])
        if data:
            self._has_text = True
        elif not self._has_text:
            self._has_images = self._has_images or any(isinstance(event, Image) for event in events)
        return last is Failed or (last is Done and self._has_images and not self._has_text)

    async def aclose(self) -> None:
        self._answer.close()


def _held_by_server() -> Callable[[], int]:
    """Return a function that counts the bytes of the current response that hypercorn buffers, over HTTP/2.

    hypercorn 0.18 accepts every byte at once there, even if its client reads nothing, and has no public method for it.
    Other servers wait for the client themselves: the function returns 0.
    """
    try:
        stream = unwrap(request._send_push_promise.args[0]).__self__  # type: ignore[attr-defined]
        buffers = stream.send.__self__.stream_buffers
    except AttributeError:
        return lambda: 0

    def held() -> int:
        return len(buffers[stream.stream_id].buffer) if stream.stream_id in buffers else 0

    return held


# -- errors


def error_headers(error: ChatError) -> dict[str, str]:
    """Return the headers that `error` needs in every protocol."""
    retry = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return {**error.headers, **retry}


def render(error: ChatError) -> Response:
    """Return `error` in the form of the native routes."""
    fields: dict[str, Any] = {"code": error.code, "message": error.message, "id": request_id()}
    if error.path is not None:
        fields["path"] = error.path
    if error.retry_after_s is not None:
        fields["retry_after_s"] = error.retry_after_s
    return json_reply(json.dumps({"error": fields}).encode(), error.status, error_headers(error))


def handle_errors(scaffold: Blueprint | Quart, render: Render) -> None:
    """Let `render` answer each exception below `scaffold`, and log it in one line with the id of the request."""

    async def refused(error: ChatError) -> Response:
        fault = host_fault(error)
        if fault is not None and (current_app.debug or current_app.testing):
            error.detail = f"{type(fault).__qualname__}: {fault}"
        if not error.is_logged:
            line = json.dumps({"id": request_id(), **_route(), **labels(None), **describe(error)})
            if error.code == "internal_error":
                log.error("failed %s", line, exc_info=fault)
            else:
                log.info("refused %s", line)
        return render(error)

    async def refused_by_framework(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400:
            return error
        if isinstance(error, WebsocketMismatch):  # the handshake of a WebSocket at the path of a route, or the reverse
            return await refused(ChatError("not_found"))
        fallback: Code = "bad_request" if error.code < 500 else "internal_error"
        return await refused(ChatError(_BY_STATUS.get(error.code, fallback)))

    async def failed(error: Exception) -> Response:
        failure = host_failure(error)
        failure.is_hosts = _is_hosts(error)
        return await refused(failure)

    scaffold.register_error_handler(ChatError, refused)
    scaffold.register_error_handler(HTTPException, refused_by_framework)
    scaffold.register_error_handler(Exception, failed)


def _route() -> dict[str, Any]:
    """Return the method and route of the current request, without path and query, because they may contain a prompt."""
    if not has_request_context():
        return {}
    return {"method": request.method, **({"route": request.url_rule.rule} if request.url_rule else {})}


def _is_hosts(error: Exception) -> bool:
    """Return whether the host app raised `error`, for example a hook: the traceback contains no module of ours."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = {str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames}
    return "quartapp" not in modules and not modules <= _FRAMEWORK


def _common() -> dict[str, str]:
    return {"X-Content-Type-Options": "nosniff", "X-Request-ID": request_id()}
