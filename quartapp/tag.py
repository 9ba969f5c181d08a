"""The tag of the element for templates of the host app."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import quart
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from quartapp.core.errors import ChatError
from quartapp.core.principal import Principal
from quartapp.guards.auth import authenticated
from quartapp.hooks import Hooks
from quartapp.quart_host import QuartHost
from quartapp.routes.static import ENTRY

USER_KEY_CHARS = 16


class TagFunction(partial[Any]):
    """The function of a tag in templates."""

    def __html__(self) -> str:
        raise TypeError("the tag of the chat is a function: write {{ chat_tag() }}")


async def quart_tag(name: str, hooks: Hooks, nonce: str | None = None, **attributes: str) -> Markup:
    """Return the tag of the chat `name` for the template of a Quart app."""
    principal = None
    with suppress(ChatError, HTTPException):
        principal = await authenticated(QuartHost.current(), hooks)
    return make_tag(name, quart.url_for, nonce, principal, attributes)


def make_tag(
    name: str,
    url_for: Callable[..., str],
    nonce: str | None,
    principal: Principal | None,
    attributes: Mapping[str, str],
) -> Markup:
    """Return the element for the chat `name`, and the script that defines it, which runs with `nonce` too.

    The chats of a `principal` are kept apart from those of other users of the same browser, by a key that does not
    show its id. `attributes` are those of the element; an underscore in a name stands for a hyphen.
    """
    script = url_for(f"{name}.static", filename=ENTRY)
    src = script.removesuffix(f"/static/{ENTRY}") or "/"
    user = {} if principal is None else {"user": user_key(principal)}
    given = {attribute.replace("_", "-"): value for attribute, value in attributes.items()}
    marks = Markup(" ").join(Markup('{}="{}"').format(*each) for each in {"src": src, **user, **given}.items())
    nonced = Markup(' nonce="{}"').format(nonce) if nonce else ""
    return Markup('<quart-chat {}></quart-chat><script type="module" src="{}"{}></script>').format(
        marks, script, nonced
    )


def user_key(principal: Principal) -> str:
    """Return the key of a user's chats in the browser: 16 hexadecimal digits."""
    return hashlib.sha256(principal.id.encode()).hexdigest()[:USER_KEY_CHARS]
