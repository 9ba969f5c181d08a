"""Authentication by the host app's own `authenticate` function, which is called before the body is read."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from quart import Request
from werkzeug.exceptions import HTTPException

from quartapp.core.errors import ChatError, host_failure

#: Takes the request and returns the name of its user for the log, or None if the user is unknown. Sync or async.
Authenticate = Callable[[Request], str | Awaitable[str | None] | None]

#: The largest number of characters in the name of a user, because each line of the log contains it.
MAX_NAME_CHARS = 200


async def principal(request: Request, authenticate: Authenticate | None) -> str | None:
    """Return the name of the user who sent `request`, or None if the host app has no `authenticate`.

    Raises ChatError: unauthorized, and internal_error for a mistake in the host app. If the name is invalid, the
    message of the cause does not contain it.
    """
    if authenticate is None:
        return None
    try:
        return _name(await _called(request, authenticate))
    except (ChatError, HTTPException):
        raise
    except Exception as error:
        raise host_failure(error) from error


def bearer_token(request: Request) -> str:
    """Return the token of `Authorization: Bearer …`, which the page and OpenAI's clients send, or else of `X-Auth`.

    Return "" if the request has neither. Compare the token in constant time (`hmac.compare_digest`).
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-Auth", "").strip()


def _name(who: object) -> str:
    """Return the name. Raises ChatError: unauthorized, and TypeError or ValueError if `who` is not a valid name."""
    if who is None or who is False or who == "":
        raise ChatError("unauthorized")
    if not isinstance(who, str):
        raise TypeError(f"authenticate returned {type(who).__qualname__}, not the name of who asks")
    if fault := _fault_in(who):
        raise ValueError(
            f"authenticate returned {fault}; a name has 1 to {MAX_NAME_CHARS} characters that can be printed"
        )
    return who


async def _called(request: Request, authenticate: Authenticate) -> object:
    try:
        who = authenticate(request)
        return await who if inspect.isawaitable(who) else who
    except Exception:
        raise
    except BaseException as error:  # for example SystemExit, which would end the process from any task
        if is_cancelled(error):
            raise
        raise RuntimeError("authenticate raised what is no Exception") from error


def is_cancelled(error: BaseException) -> bool:
    """Return True if `error` is the cancellation of the current task, not a CancelledError that its code raised."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _fault_in(name: str) -> str | None:
    if len(name) > MAX_NAME_CHARS:
        return f"a name of {len(name)} characters"
    if name.isspace():
        return "a blank name"
    return None if name.isprintable() else "a name with a character that cannot be printed"
