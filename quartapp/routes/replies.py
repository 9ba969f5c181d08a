"""What every door answers with: its headers, its errors, and the body that carries an answer."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from quart import Blueprint, Quart, Response, current_app, g, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from quartapp.answer.client import Answer
from quartapp.core.errors import ChatError, Code, describe, host_failure, host_fault
from quartapp.core.events import Done, Event, Failed, Image
from quartapp.protocols.common.format import Format

log = logging.getLogger("quartapp.request")

#: How a door tells an error: its body and what headers it needs beside the usual ones.
Render = Callable[[ChatError], Response]

#: Bytes of a response that hypercorn may hold over HTTP/2, and how often that is looked up while there are more.
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

# Modules that can raise while they read a request, with its text in the message.
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
        AnswerBody(answer, wire, None if request.http_version < "2" else _held_by_server()),
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
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
        **_common(),
    }
    return Response(html, content_type="text/html; charset=utf-8", headers=headers)


class AnswerBody:
    """The body of a response: an answer's events as bytes. Closing it closes the answer.

    A generator would not do: one that was never started does not run its `finally`.
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
                # The server ends the connection without the body's last chunk, and prints no traceback, as it would
                # for any other exception: the reader's `read()` rejects.
                raise asyncio.CancelledError
            events = await anext(self._answer)
            data = self._encode(events)
            self._is_broken = not self._has_records and self._is_not_shown(events, data)
        return data

    def _is_not_shown(self, events: Sequence[Event], data: bytes) -> bool:
        """Whether text, which has no records, ends without what the answer says: a failure, or images alone."""
        last = type(events[-1])
        if data:
            self._has_text = True
        elif not self._has_text:
            self._has_images = self._has_images or any(isinstance(event, Image) for event in events)
        return last is Failed or (last is Done and self._has_images and not self._has_text)

    async def aclose(self) -> None:
        self._answer.close()


def _held_by_server() -> Callable[[], int]:
    """Return a function that gives how many bytes of the current response hypercorn holds, over HTTP/2.

    hypercorn 0.18 takes every byte at once there, even if its client reads nothing, and offers no other sign of it.
    Other servers hold a response back by themselves: 0.
    """
    try:
        stream = request._send_push_promise.args[0].__self__  # type: ignore[attr-defined]
        buffers = stream.send.__self__.stream_buffers
    except AttributeError:
        return lambda: 0

    def held() -> int:
        return len(buffers[stream.stream_id].buffer) if stream.stream_id in buffers else 0

    return held


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
        fault = host_fault(error)
        if fault is not None and (current_app.debug or current_app.testing):
            error.detail = f"{type(fault).__qualname__}: {fault}"
        if not error.is_logged:
            line = json.dumps({"id": request_id(), **_asked(), **labels(None), **describe(error)})
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


def _asked() -> dict[str, Any]:
    """The method and the route of the current request, without the path and the query, which may hold a prompt."""
    if not has_request_context():
        return {}
    return {"method": request.method, **({"route": request.url_rule.rule} if request.url_rule else {})}


def _is_hosts(error: Exception) -> bool:
    """Whether code of the host app raised `error`, a hook for example: none of ours is in the traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = {str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames}
    return "quartapp" not in modules and not modules <= _FRAMEWORK


def _common() -> dict[str, str]:
    return {"X-Content-Type-Options": "nosniff", "X-Request-ID": request_id()}
