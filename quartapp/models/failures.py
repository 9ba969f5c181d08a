"""An upstream's failures as our errors, told apart by their cause.

The class of an exception does not tell: over aiohttp a refused connection arrives as a timeout, and a server that does
not speak HTTP as a bare aiohttp error. No limit of ours is left to the client, so a timeout here is one of connecting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import httpx2
import msgspec
from openai import OpenAIError

from quartapp.errors import ChatError, UpstreamFault, masked

#: What asking an upstream may raise besides ChatError.
TRANSPORT_ERRORS: Final = (OpenAIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError, EOFError)

MAX_ERROR_BODY_BYTES: Final = 65_536

_BY_STATUS: Final[Mapping[int, str]] = {
    408: "upstream_error",
    429: "upstream_busy",
    503: "upstream_overloaded",
    529: "upstream_overloaded",
}
_BY_CODE: Final[Mapping[str, str]] = {
    "context_length_exceeded": "context_too_long",
    "content_filter": "content_filtered",
    "content_policy_violation": "content_filtered",
    "rate_limit_exceeded": "upstream_busy",
    "insufficient_quota": "upstream_busy",
}
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def from_exception(error: Exception) -> ChatError:
    """A transport's exception as a ChatError, with `error` as its cause."""
    failure = ChatError("upstream_error")
    failure.__cause__ = error
    return failure


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> ChatError:
    """An HTTP answer that is not a success. `body` may be anything; no more of it is read than its error's names."""
    said = _error_object(body)
    request_id = headers.get("x-request-id", "")
    fault = _fault(said, status, request_id if _SAFE.fullmatch(request_id) else None)
    code = _BY_CODE.get(fault.code or "") if status < 500 else None
    if code is None:
        code = _BY_STATUS.get(status) or ("upstream_refused" if 400 <= status < 500 else "upstream_error")
    retry_after_s = _seconds(headers.get("retry-after")) if status in (429, 503, 529) else None
    return ChatError(code, retry_after_s=retry_after_s, fault=fault)


def from_error_object(said: Any) -> ChatError:
    """An `error` object that came in a stream, after a status that said success."""
    fault = _fault(said if isinstance(said, dict) else {}, None, None)
    return ChatError(_BY_CODE.get(fault.code or "") or "upstream_error", fault=fault)


def _error_object(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    said = document.get("error", document) if isinstance(document, dict) else {}
    return said if isinstance(said, dict) else {}


def _fault(said: Mapping[str, Any], status: int | None, request_id: str | None) -> UpstreamFault:
    message = said.get("message")
    return UpstreamFault(
        status=status,
        type=_safe(said.get("type")),
        code=_safe(said.get("code")),
        request_id=request_id,
        message=message if isinstance(message, str) else None,
    )


def _safe(value: Any) -> str | None:
    """`value` if it is a name; free text may quote a prompt, and what looks like a key may be one."""
    text = str(value)
    return text if value is not None and _SAFE.fullmatch(text) and masked(text) == text else None


def _seconds(value: str | None) -> int | None:
    """Retry-After in seconds, at most a day; its date form is not passed on."""
    if value is None or not re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()):
        return None
    return min(math.ceil(float(value)), 86_400)
