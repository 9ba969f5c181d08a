"""The chat as a blueprint: its doors, its life, and where its state is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from quart import Blueprint, Quart, current_app
from werkzeug.exceptions import HTTPException

from quartapp.chat import Chat
from quartapp.errors import ChatError
from quartapp.guards.auth import Authenticate
from quartapp.models.registry import Model
from quartapp.routes.other import add_other
from quartapp.routes.page import add_page
from quartapp.routes.replies import failed, refused, refused_by_framework
from quartapp.routes.stream import add_stream
from quartapp.settings import Settings

log = logging.getLogger("quartapp")

EXTENSION = "quartapp"


def chat_blueprint(
    name: str = "chat",
    settings: Settings | Mapping[str, Any] | None = None,
    models: Mapping[str, Model] | None = None,
    authenticate: Authenticate | None = None,
) -> Blueprint:
    """A blueprint that answers below any `url_prefix`; each call makes one of its own.

    `settings` count before `app.config`, that before the environment, that before `.env`; they are read when the app
    starts serving, and a wrong one stops the start with a SettingsError. `models` offers models of your own by name,
    the first by default, in place of the one the settings name. `authenticate(request)`, sync or async, says who asks,
    or None, which is answered with 401.
    """
    blueprint = Blueprint(name, "quartapp", static_folder="static", static_url_path="/static")

    def chat() -> Chat:
        return running_chats(current_app)[blueprint]

    async def open_chat() -> None:
        given = (
            settings
            if isinstance(settings, Settings)
            else Settings.load(settings, Settings.named_in(current_app.config))
        )
        running_chats(current_app)[blueprint] = Chat(given, models)
        if given.is_embedded and not models:
            log.info("neither OPENAI_API_KEY nor OPENAI_BASE_URL is set: the embedded model answers")

    async def close_chat() -> None:
        await running_chats(current_app).pop(blueprint).close()

    blueprint.before_app_serving(open_chat)
    blueprint.after_app_serving(close_chat)
    blueprint.register_error_handler(ChatError, refused)
    blueprint.register_error_handler(HTTPException, refused_by_framework)
    blueprint.register_error_handler(Exception, failed)
    add_page(blueprint)
    add_stream(blueprint, chat, authenticate)
    add_other(blueprint, {"/": ("GET", "HEAD", "OPTIONS"), "/api/stream": ("POST", "OPTIONS")})
    return blueprint


def running_chats(app: Quart) -> dict[Blueprint, Chat]:
    """The running chats of `app`, which alone holds them: a blueprint may be registered in several apps."""
    chats: dict[Blueprint, Chat] = app.extensions.setdefault(EXTENSION, {})
    return chats
