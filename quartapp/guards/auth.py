"""Authentication by the host app's own `authenticate` function, which is called before the body is read."""

from __future__ import annotations

from typing import Any

from quartapp.core.errors import ChatError, host_failure
from quartapp.core.principal import Principal
from quartapp.hooks import Hooks, Host, called


async def authenticated(host: Host, hooks: Hooks) -> Principal | None:
    """Return the user who sent the current request, or None if the host app has no `authenticate`.

    Raises ChatError: unauthorized, and internal_error for a mistake in the host app. If the id is invalid, the message
    of the cause does not contain it.
    """
    if hooks.authenticate is None:
        return None
    user = await called(host, hooks.authenticate, host.request())
    try:
        return principal_of(user)
    except (TypeError, ValueError) as error:
        raise host_failure(error) from error


def bearer_token(request: Any) -> str:
    """Return the token of `Authorization: Bearer …`, which the page and OpenAI's clients send, or else of `X-Auth`.

    `request` is a request of Quart or Flask. Return an empty text if it has neither. Compare the token in constant time
    (`hmac.compare_digest`).
    """
    headers = request.headers
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return str(token if scheme.lower() == "bearer" else headers.get("X-Auth", "")).strip()


def principal_of(user: object) -> Principal:
    """Return the principal. Raises ChatError: unauthorized, and TypeError or ValueError if `user` is not valid."""
    if isinstance(user, Principal):
        return user
    if user is None or user is False or user == "":
        raise ChatError("unauthorized")
    if isinstance(user, bool) or not isinstance(user, str | int):
        raise TypeError(
            f"authenticate returned {type(user).__qualname__}, not a Principal, its id as a str or int, or None"
        )
    return Principal(str(user))
