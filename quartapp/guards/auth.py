"""Who asks: the host's own `authenticate` function, called before anything of the body is read."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from quart import Request

from quartapp.errors import ChatError

#: Given the request, says who asks (any name fit for the log), or None for nobody it knows. Sync or async.
Authenticate = Callable[[Request], str | Awaitable[str | None] | None]


async def principal(request: Request, authenticate: Authenticate | None) -> str | None:
    """Who asks; None where nobody is asked for. Raises ChatError: unauthorized."""
    if authenticate is None:
        return None
    who = authenticate(request)
    if inspect.isawaitable(who):
        who = await who
    if not who:
        raise ChatError("unauthorized")
    if not isinstance(who, str):
        raise TypeError(f"authenticate returned {type(who).__qualname__}, not the name of who asks")
    return who
