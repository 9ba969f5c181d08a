"""The errors of an answer: one table of codes and one exception.

A client gets the code, a fixed message and the id of the request. The log gets the names of exceptions and the
upstream's error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, overload

import msgspec


class ErrorKind(NamedTuple):
    """The HTTP status and the message of an error code."""

    status: int
    message: str


Code = Literal[
    "bad_request",
    "too_deep",
    "context_too_long",
    "content_filtered",
    "upstream_refused",
    "unauthorized",
    "upstream_unpaid",
    "forbidden",
    "not_found",
    "model_not_found",
    "method_not_allowed",
    "not_acceptable",
    "request_timeout",
    "too_large",
    "unsupported_media_type",
    "invalid_request",
    "rate_limited",
    "budget_exceeded",
    "upstream_busy",
    "internal_error",
    "upstream_error",
    "upstream_truncated",
    "too_many_steps",
    "overloaded",
    "shutting_down",
    "upstream_overloaded",
    "upstream_timeout",
    "deadline_exceeded",
]

ERROR_KINDS: Final[Mapping[str, ErrorKind]] = {
    "bad_request": ErrorKind(400, "The request body is not valid JSON in UTF-8."),
    "too_deep": ErrorKind(400, "The request body is nested too deeply."),
    # LiteLLM recognises these two errors by their text: "this model's maximum context length is" and "request was
    # rejected as a result of the safety system".
    "context_too_long": ErrorKind(400, "This model's maximum context length is shorter than this conversation."),
    "content_filtered": ErrorKind(
        400, "The request was rejected as a result of the safety system of the model's server."
    ),
    # 400 for each 4xx of the model's server, because the same request fails again, and clients retry every 5xx.
    "upstream_refused": ErrorKind(400, "The model's server refused the request."),
    "unauthorized": ErrorKind(401, "Valid credentials are needed."),
    "upstream_unpaid": ErrorKind(402, "The account at the model's server has no credit left."),
    "forbidden": ErrorKind(403, "This is not allowed for you."),
    "not_found": ErrorKind(404, "There is nothing at this address."),
    "model_not_found": ErrorKind(404, "This model is not offered here."),
    "method_not_allowed": ErrorKind(405, "This address does not take that method."),
    "not_acceptable": ErrorKind(406, "None of the accepted media types is offered here."),
    "request_timeout": ErrorKind(408, "The request body took too long to arrive."),
    "too_large": ErrorKind(413, "The request is larger than allowed."),
    "unsupported_media_type": ErrorKind(415, "Send the request body as application/json, not compressed."),
    "invalid_request": ErrorKind(422, "A field of the request is missing, unknown or not as documented."),
    "rate_limited": ErrorKind(429, "Too many requests; try again later."),
    "budget_exceeded": ErrorKind(429, "The token budget is used up; try again later."),
    "upstream_busy": ErrorKind(429, "The model is busy; try again later."),
    "internal_error": ErrorKind(500, "Something went wrong on our side."),
    "upstream_error": ErrorKind(502, "The model's server could not be reached or gave a broken answer."),
    "upstream_truncated": ErrorKind(502, "The model's server ended the answer early."),
    "too_many_steps": ErrorKind(502, "The model called tools more often than allowed."),
    "overloaded": ErrorKind(503, "Too many answers are open; try again shortly."),
    "shutting_down": ErrorKind(503, "The server is shutting down; try again shortly."),
    "upstream_overloaded": ErrorKind(503, "The model's server is overloaded; try again shortly."),
    "upstream_timeout": ErrorKind(504, "The model's server was silent for too long."),
    "deadline_exceeded": ErrorKind(504, "The answer took longer than allowed."),
}

#: The fault of a field.
Reason = Literal["invalid", "missing", "unknown", "unsupported"]

_NAMING: Final[Mapping[Reason, str]] = {
    "invalid": "Invalid value: '{}'.",
    "missing": "Missing required parameter: '{}'.",
    "unknown": "Unknown parameter: '{}'.",
    "unsupported": "Unsupported value: '{}'.",
}
_PATH: Final = "'[A-Za-z0-9_.?-]+'"
#: Patterns of the messages that name a field, by code.
NAMED_SENTENCES: Final[Mapping[str, str]] = {
    "invalid_request": "^(" + "|".join(naming.partition(":")[0] for naming in _NAMING.values()) + f"): {_PATH}\\.$",
    "too_large": f"^{ERROR_KINDS['too_large'].message[:-1]}: {_PATH}\\.$",
}


#: The form of every code, also of the host app's own codes, which are not in ERROR_KINDS.
CODE_PATTERN: Final = "^[a-z][a-z0-9_]{0,63}$"
MAX_MESSAGE_CHARS: Final = 500


class UpstreamFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error that an upstream reported. Only the log contains it, because `message` may quote the prompt.

    `address` is the upstream's host and port, if the connection could not be made or broke.
    """

    status: int | None = None
    type: str | None = None
    code: str | None = None
    request_id: str | None = None
    message: str | None = None
    address: str | None = None


class ChatError(Exception):
    """A refused request, or an answer that is not complete.

    `path` names the field at fault, without its value. `reason` is its fault. `retry_after_s` becomes the header
    Retry-After. `is_logged` is true if the line of an answer contains the error. If `is_hosts` is true, code of the
    host app raised the cause, and the log contains its text and traceback. `detail` is that text if clients may read
    it.

    A code of the host app, which the HTTP API does not list, has a `message`: the fixed sentence that clients get, with
    1 to 500 printable characters. It may have a `status` from 400 to 599. Raises ValueError for an unknown code without
    a message, for an invalid one, and for a listed code with a message or status.

    >>> ChatError("rate_limited", retry_after_s=30).status
    429
    >>> ChatError("brand_unsafe", message="This answer was stopped.", status=422).status
    422
    """

    @overload
    def __init__(
        self,
        code: Code,
        *,
        path: str | None = None,
        reason: Reason = "invalid",
        retry_after_s: int | None = None,
        fault: UpstreamFault | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        code: str,
        *,
        message: str,
        status: int = 400,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...

    def __init__(
        self,
        code: str,
        *,
        path: str | None = None,
        reason: Reason = "invalid",
        retry_after_s: int | None = None,
        fault: UpstreamFault | None = None,
        headers: Mapping[str, str] | None = None,
        message: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(code)
        self._kind = _kind(code, message, status)
        self.code = code
        self.path = path
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.fault = fault
        self.headers = dict(headers or {})
        self.is_logged = False
        self.is_hosts = False
        self.detail: str | None = None

    @property
    def status(self) -> int:
        """Return the HTTP status of the code, for example 429."""
        return self._kind.status

    @property
    def message(self) -> str:
        """Return the fixed sentence of the code. It never contains text of a client or of an upstream."""
        message = self._kind.message
        return message if self.detail is None else f"{message} {self.detail}"

    @property
    def sentence(self) -> str:
        """Return the message with the field at fault, because some clients show only the message.

        >>> ChatError("invalid_request", path="top_k", reason="unknown").sentence
        "Unknown parameter: 'top_k'."
        """
        if self.path and self.code == "invalid_request":
            return _NAMING[self.reason].format(self.path)
        return f"{self.message[:-1]}: '{self.path}'." if self.path and self.code == "too_large" else self.message


def _kind(code: str, message: str | None, status: int | None) -> ErrorKind:
    """Return the status and message of a listed code, or of one of the host app. Raises ValueError."""
    listed = ERROR_KINDS.get(code)
    if listed is not None:
        if message is not None or status is not None:
            raise ValueError(f"the code {code!r} has a fixed message and status; choose another code for your own")
        return listed
    if message is None:
        nearest = difflib.get_close_matches(str(code), ERROR_KINDS, n=1, cutoff=0)[0]
        raise ValueError(
            f"ChatError has no code {code!r}; docs/reference/protocol.md lists them, for example {nearest!r}; "
            "a code of your own has a message"
        )
    status = 400 if status is None else status
    if not re.fullmatch(CODE_PATTERN[1:-1], code):
        raise ValueError(f"{code!r} is no code: it has 1 to 64 of a-z, 0-9 and _, for example 'brand_unsafe'")
    if not (0 < len(message) <= MAX_MESSAGE_CHARS and message.isprintable() and not message.isspace()):
        raise ValueError(f"the message of {code!r} has 1 to {MAX_MESSAGE_CHARS} printable characters")
    if not 400 <= status <= 599:
        raise ValueError(f"the status of {code!r} is from 400 to 599, not {status}")
    return ErrorKind(status, message)


def host_failure(error: Exception, *, is_shown: bool = False) -> ChatError:
    """Return internal_error for `error`, which code of the host app raised. If `is_shown`, clients get its text."""
    failure = ChatError("internal_error")
    failure.__cause__ = error
    failure.is_hosts = True
    failure.detail = f"{type(error).__qualname__}: {error}" if is_shown else None
    return failure


def host_fault(error: ChatError | None) -> BaseException | None:
    """Return the exception that code of the host app raised, for the log, or None.

    Other causes are left out, because their text may quote a prompt or a key.
    """
    return error.__cause__ if error is not None and error.is_hosts else None


class SettingsError(Exception):
    """An invalid setting, which stops the start. The message contains the setting, the fault and an example.

    Of values it repeats only those that are not secret: a path, a host, the name of a model or of a variable.
    """
