"""Authentication by the host app's own `authenticate` function, which is called before the body is read."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from quart import Request
from werkzeug.exceptions import HTTPException

from quartapp.core.errors import ChatError, host_failure
from quartapp.core.principal import Principal

#: Takes the request and returns its user as a Principal or as the principal's id, or None for an unknown user. Sync or
#: async.
Authenticate = Callable[[Request], Principal | str | Awaitable[Principal | str | None] | None]


async def authenticated(request: Request, authenticate: Authenticate | None) -> Principal | None:
    """Return the user who sent `request`, or None if the host app has no `authenticate`.

    Raises ChatError: unauthorized, and internal_error for a mistake in the host app. If the id is invalid, the message
    of the cause does not contain it.
    """
    if authenticate is None:
        return None
    try:
        return _principal(await _called(request, authenticate))
    except (ChatError, HTTPException):
        raise
    except Exception as error:
        raise host_failure(error) from error


def bearer_token(request: Request) -> str:
    """Return the token of `Authorization: Bearer …`, which the page and OpenAI's clients send, or else of `X-Auth`.

    Return an empty text if the request has neither. Compare the token in constant time (`hmac.compare_digest`).
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-Auth", "").strip()


def _principal(user: object) -> Principal:
    """Return the principal. Raises ChatError: unauthorized, and TypeError or ValueError if `user` is not valid."""
    if isinstance(user, Principal):
        return user
    if user is None or user is False or user == "":
        raise ChatError("unauthorized")
    if not isinstance(user, str):
        raise TypeError(f"authenticate returned {type(user).__qualname__}, not a Principal, its id as a str, or None")
    return Principal(user)


async def _called(request: Request, authenticate: Authenticate) -> object:
    try:
        user = authenticate(request)
        return await user if inspect.isawaitable(user) else user
    except Exception:
        raise
    except BaseException as error:  # for example SystemExit, which would end the process from any task
        if is_cancelled(error):
            raise
        raise RuntimeError("authenticate raised a BaseException") from error


def is_cancelled(error: BaseException) -> bool:
    """Return True if `error` is the cancellation of the current task, not a CancelledError that its code raised."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
