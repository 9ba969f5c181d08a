"""Faults that answer with another HTTP status. They do not use the script of the request.

Each body contains `upstream-secret`, so that tests can prove that it does not reach a client.
"""

from __future__ import annotations

from . import scripts
from .requests import RefusedError
from .steps import Head, Headers, Script

MARKER = "upstream-secret"

_RETRY_AFTER: Headers = ((b"retry-after", b"7"),)
_RETRIABLE = (429, 503)

_TYPES_AND_CODES: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def _retry_after(status: int) -> Headers:
    return _RETRY_AFTER if status in _RETRIABLE else ()


def with_status(_: Script, code: float) -> Script:
    status = int(code)
    kind, error_code = _TYPES_AND_CODES.get(
        status, ("server_error" if status >= 500 else "invalid_request_error", None)
    )
    message = f"This is the status {status} that you asked for, and the {MARKER} that must not leak."
    error = RefusedError(status, message, kind=kind, code=error_code, headers=_retry_after(status))
    return scripts.refusal(error)


def with_html(_: Script, code: float) -> Script:
    status = int(code)
    page = f"<!doctype html><html><title>{status}</title><h1>{status}</h1><p>{MARKER}: a gateway's page</p></html>"
    return scripts.reply(status, b"text/html; charset=utf-8", page.encode(), _retry_after(status))


def with_nothing(_: Script, code: float) -> Script:
    status = int(code)
    return scripts.reply(status, b"application/json", b"", _retry_after(status))


def with_endless_body(_: Script, __: float) -> Script:
    yield Head(500, ((b"content-type", b"application/json"),))
    yield b'{"error":{"message":"'
    while True:
        yield b"upstream-secret " * 64


def with_redirect(_: Script, __: float) -> Script:
    return scripts.reply(302, b"text/plain", MARKER.encode(), ((b"location", b"/v1/models"),))


def context_too_long(_: Script, __: float) -> Script:
    message = f"This model's maximum context length is 8192 tokens, and your {MARKER} resulted in 9000 tokens."
    return scripts.refusal(RefusedError(400, message, param="messages", code="context_length_exceeded"))


def content_filtered(_: Script, __: float) -> Script:
    message = f"The response was filtered: the prompt triggered the content policy ({MARKER})."
    return scripts.refusal(RefusedError(400, message, param="prompt", code="content_filter"))
