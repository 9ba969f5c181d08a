"""Faults that answer with another HTTP status. They do not use the script of the request.

Each body contains `upstream-secret`, so that tests can prove that it does not reach a client.
"""

from __future__ import annotations

from .chunks import refusal, reply
from .player import Head, Headers, Script
from .requests import RefusedError

MARKER = "upstream-secret"

_TYPES_AND_CODES: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def _retry_after(status: float) -> Headers:
    return ((b"retry-after", b"7"),) if status in (429, 503) else ()


def with_status(_: Script, code: float) -> Script:
    usual = ("server_error" if code >= 500 else "invalid_request_error", None)
    kind, error_code = _TYPES_AND_CODES.get(int(code), usual)
    message = f"This is the status {code:.0f} that you asked for, and the {MARKER} that must not leak."
    return refusal(RefusedError(int(code), message, kind=kind, code=error_code, headers=_retry_after(code)))


def with_html(_: Script, code: float) -> Script:
    status = int(code)
    page = f"<!doctype html><html><title>{status}</title><h1>{status}</h1><p>{MARKER}: a gateway's page</p></html>"
    return reply(status, b"text/html; charset=utf-8", page.encode(), _retry_after(status))


def with_nothing(_: Script, code: float) -> Script:
    return reply(int(code), b"application/json", b"", _retry_after(code))


def with_endless_body(_: Script, __: float) -> Script:
    yield Head(500, ((b"content-type", b"application/json"),))
    yield b'{"error":{"message":"'
    while True:
        yield b"upstream-secret " * 64


def with_redirect(_: Script, __: float) -> Script:
    return reply(302, b"text/plain", MARKER.encode(), ((b"location", b"/v1/models"),))


def context_too_long(_: Script, __: float) -> Script:
    message = f"This model's maximum context length is 8192 tokens, and your {MARKER} resulted in 9000 tokens."
    return refusal(RefusedError(400, message, param="messages", code="context_length_exceeded"))


def content_filtered(_: Script, __: float) -> Script:
    message = f"The response was filtered: the prompt triggered the content policy ({MARKER})."
    return refusal(RefusedError(400, message, param="prompt", code="content_filter"))
