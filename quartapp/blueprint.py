"""The chat as a blueprint: its routes, its start and stop, and its state in the app."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

from quart import Blueprint, Quart, current_app

from quartapp.guards.auth import Authenticate
from quartapp.models.own import Model, ModelFunction, check_models
from quartapp.openapi.document import hidden
from quartapp.openapi.routes import DOCUMENT, installed_viewer
from quartapp.protocols.ai_sdk.routes import AI_SDK
from quartapp.protocols.chat_completions.routes import CHAT_COMPLETIONS
from quartapp.protocols.native.routes import NATIVE
from quartapp.routes.context import RouteContext
from quartapp.routes.origins import allow_origins
from quartapp.routes.page import PAGE
from quartapp.routes.protocol import Protocol
from quartapp.routes.replies import handle_errors, render
from quartapp.routes.rules import add_protocols, serve_double_slashes
from quartapp.routes.static import FILES, read_files
from quartapp.running import RunningChat
from quartapp.settings.settings import Settings
from quartapp.stopping import end_with_connections

log = logging.getLogger("quartapp")

EXTENSION = "quartapp"

#: The page, its files, and the OpenAPI document.
PAGES: Final = Protocol(
    tag="pages", description="Pages, their files, and this document.", routes=(PAGE, FILES, *DOCUMENT)
)

#: The protocols of clients, in the order of the OpenAPI document. A new one is a folder in `protocols/` and a row here.
PROTOCOLS: Final = (NATIVE, CHAT_COMPLETIONS, AI_SDK, PAGES)


def chat_blueprint(
    name: str = "chat",
    settings: Settings | Mapping[str, Any] | None = None,
    models: Mapping[str, Model | ModelFunction] | None = None,
    authenticate: Authenticate | None = None,
) -> Blueprint:
    """Return a new blueprint with the routes of the chat, to be registered with any `url_prefix`.

    The settings come from `settings`, then `app.config`, then the environment, then `.env`. They are read when the app
    starts. An invalid setting stops the start with a SettingsError.

    `models` maps names to models of your own and replaces the models of the settings. The first is the default. A model
    is an async generator function of str, or an object whose method `stream` is one.

    `authenticate(request)`, sync or async, returns the user as a Principal or as its id, or None for a 401.
    Raises TypeError for a model that can never answer.

    >>> async def haiku(request):
    ...     yield "An old silent pond"
    >>> blueprint = chat_blueprint(models={"haiku": haiku}, authenticate=lambda request: "alice")
    """
    check_models(models or {})
    blueprint = _GuestBlueprint(name, "quartapp")

    def find() -> RunningChat | None:
        return running_chats(current_app).get(blueprint)

    async def open_chat() -> None:
        given = settings
        if not running_chats(current_app):
            for sentence in Settings.unknown_around():
                log.warning("%s", sentence)
        if not isinstance(given, Settings):
            given = Settings.load(given, Settings.named_in(current_app.config))
        is_watched = current_app.debug or current_app.testing
        running_chats(current_app)[blueprint] = RunningChat(given, models, shows_faults=is_watched)
        for line in running_chats(current_app)[blueprint].models.summary:
            log.info("model %s", line)
        if given.is_mock and not models:
            log.info("neither OPENAI_API_KEY nor OPENAI_BASE_URL is set: the mock model answers")

    async def close_chat() -> None:
        # It stays in the app, because late requests still read its settings, and it refuses new ones.
        await running_chats(current_app)[blueprint].close()

    blueprint.record(lambda state: end_with_connections(cast(Quart, state.app)))
    blueprint.before_app_serving(open_chat)
    blueprint.after_app_serving(close_chat)
    _add_routes(blueprint, RouteContext(find, authenticate, PROTOCOLS, installed_viewer()))
    return blueprint


class _GuestBlueprint(Blueprint):
    """A blueprint whose routes, with those of nested blueprints, are not in the host app's OpenAPI document."""

    def register(self, app: Any, options: dict[str, Any]) -> None:
        earlier = set(app.view_functions)
        super().register(app, options)
        for endpoint in app.view_functions.keys() - earlier:
            app.view_functions[endpoint] = hidden(app.view_functions[endpoint])


def _add_routes(blueprint: Blueprint, context: RouteContext) -> None:
    handle_errors(blueprint, render)
    serve_double_slashes(blueprint)
    allow_origins(blueprint, context)
    blueprint.before_app_serving(read_files)
    add_protocols(blueprint, context)


def running_chats(app: Quart) -> dict[Blueprint, RunningChat]:
    """Return the running chats of `app` by blueprint. The app holds them, because apps may share a blueprint."""
    chats: dict[Blueprint, RunningChat] = app.extensions.setdefault(EXTENSION, {})
    return chats
