"""A Flask project with the chat beside it, as one ASGI app."""

from __future__ import annotations

from typing import Any, cast

from flask import Flask
from quart import Blueprint, Quart

try:
    from a2wsgi import WSGIMiddleware
except ImportError as error:
    raise ImportError("quartapp.flask needs a2wsgi: pip install 'quartapp[flask]'") from error

from quartapp.blueprint import chat_blueprint
from quartapp.settings import Settings


def mount(flask_app: Flask, blueprint: Blueprint | None = None, url_prefix: str = "/ai", workers: int = 32) -> Quart:
    """An ASGI app that answers below `url_prefix` with the chat, and everywhere else with `flask_app`.

    The Flask project runs in up to `workers` threads, one a request; the chat needs none. The names of
    settings in `flask_app.config` count as they do in a Quart project's.
    """
    if not url_prefix.startswith("/") or url_prefix.endswith("/"):
        raise ValueError("url_prefix starts with a slash and does not end in one, for example /ai")
    chat = Quart("quartapp", static_folder=None)
    chat.config.from_mapping({"MAX_CONTENT_LENGTH": None} | dict(Settings.named_in(flask_app.config)))
    chat.register_blueprint(blueprint or chat_blueprint(), url_prefix=url_prefix)
    flask = WSGIMiddleware(cast(Any, flask_app), workers=workers)
    chat.asgi_app = _Fork(chat.asgi_app, flask, url_prefix)  # type: ignore[method-assign]
    return chat


class _Fork:
    """Sends a request to `chat` if its path lies below `prefix`, and to `rest` if not; the lifespan is the chat's."""

    def __init__(self, chat: Any, rest: Any, prefix: str) -> None:
        self._chat = chat
        self._rest = rest
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        is_rest = scope["type"] == "http" and path != self._prefix and not path.startswith(self._prefix + "/")
        await (self._rest if is_rest else self._chat)(scope, receive, send)
