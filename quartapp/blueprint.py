"""The chat as a blueprint: its routes, its start and stop, and its state in the app."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, cast

from quart import Blueprint, Quart, current_app

from quartapp.hooks import Authenticate, Hooks, Host
from quartapp.models.own import OwnModels, check_models
from quartapp.openapi.document import hidden
from quartapp.openapi.routes import DOCUMENT, installed_viewer
from quartapp.protocols.ai_sdk.routes import AI_SDK
from quartapp.protocols.chat_completions.routes import CHAT_COMPLETIONS
from quartapp.protocols.native.routes import NATIVE
from quartapp.quart_host import QuartHost
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

#: The page.
PAGE_ROUTES: Final = Protocol(tag="page", description="The page.", routes=(PAGE,))

#: The files of the page and of the element.
FILE_ROUTES: Final = Protocol(tag="files", description="The files of the page and of the element.", routes=(FILES,))

#: The OpenAPI document and its page.
DOCS: Final = Protocol(tag="docs", description="This document.", routes=DOCUMENT)

#: The protocols of clients, in the order of the OpenAPI document. A new one is a folder in `protocols/` and a row here.
PROTOCOLS: Final = (NATIVE, CHAT_COMPLETIONS, AI_SDK, PAGE_ROUTES, FILE_ROUTES, DOCS)


def chat_blueprint(
    name: str = "chat",
    settings: Settings | Mapping[str, Any] | None = None,
    models: OwnModels | None = None,
    authenticate: Authenticate | None = None,
    without: Collection[str] = (),
) -> Blueprint:
    """Return a new blueprint with the routes of the chat, to be registered with any `url_prefix`.

    The settings come from `settings`, then `app.config`, then the environment, then `.env`. They are read when the app
    starts. An invalid setting stops the start with a SettingsError.

    `models` maps names to models of your own, which clients can request next to those of the settings. Without a model
    in the settings the first of them is the default. A model is an async generator function of str, or an object whose
    method `stream` is one.

    `authenticate(request)`, sync or async, returns the user as a Principal or as its id, or None for a 401. `without`
    leaves out routes: `native`, `openai` (`/v1`), `ai-sdk`, `page`, `files` or `docs`.

    `Chat` has more hooks, and works in Flask projects too.
    Raises TypeError for a model that can never answer, and ValueError for a wrong name in `without`.

    >>> async def haiku(request):
    ...     yield "An old silent pond"
    >>> blueprint = chat_blueprint(models={"haiku": haiku}, authenticate=lambda request: "alice")
    """
    check_models(models or {})
    return make_blueprint(name, settings, models or {}, Hooks(authenticate), without=without)


def make_blueprint(
    name: str,
    settings: Settings | Mapping[str, Any] | None,
    models: OwnModels,
    hooks: Hooks,
    *,
    without: Collection[str] = (),
    host: Callable[[], Host] = QuartHost.current,
) -> Blueprint:
    """Return the blueprint of a chat. `host` is called at each start and returns the host of the current app."""
    blueprint = _GuestBlueprint(name, "quartapp")

    def find() -> RunningChat | None:
        return running_chats(current_app).get(blueprint)

    async def open_chat() -> None:
        if not running_chats(current_app):
            for sentence in Settings.unknown_around():
                log.warning("%s", sentence)
        given = load_settings(settings, current_app.config)
        shows_faults = current_app.debug or current_app.testing
        chat = RunningChat(given, models, host=host(), hooks=hooks, shows_faults=shows_faults)
        running_chats(current_app)[blueprint] = chat
        hooks.is_in_use = True
        for line in chat.models.summary:
            log.info("model %s", line)
        if given.is_mock and not models:  # a warning unless the model was named, because it may be by mistake
            level = logging.WARNING if given.model is None else logging.INFO
            log.log(level, "neither OPENAI_API_KEY nor OPENAI_BASE_URL is set: the mock model answers")

    async def close_chat() -> None:
        # It stays in the app, because late requests still read its settings, and it refuses new ones.
        await running_chats(current_app)[blueprint].close()

    blueprint.record(lambda state: end_with_connections(cast(Quart, state.app)))
    blueprint.before_app_serving(open_chat)
    blueprint.after_app_serving(close_chat)
    _add_routes(blueprint, RouteContext(find, hooks, protocols_without(without), installed_viewer()))
    return blueprint


def load_settings(given: Settings | Mapping[str, Any] | None, config: Mapping[str, Any]) -> Settings:
    """Return the settings: `given`, then the app's `config`, the environment and `.env`. Raises SettingsError."""
    return given if isinstance(given, Settings) else Settings.load(given, Settings.named_in(config))


def warn_of_hidden_routes(app: Any, url_prefix: str) -> None:
    """Log a warning if `app`, of Quart or Flask, has routes below the prefix of a chat that is added now."""
    below = sorted({rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith(f"{url_prefix}/")})
    if url_prefix and below:
        log.warning("the app has routes below the prefix of the chat, for example %s, which come first", below[0])


class _GuestBlueprint(Blueprint):
    """A blueprint whose routes, with those of nested blueprints, are not in the host app's OpenAPI document."""

    def register(self, app: Any, options: dict[str, Any]) -> None:
        if not isinstance(app, Quart):
            raise TypeError(f"a {type(app).__qualname__} app gets the chat by Chat(app, …), not by this blueprint")
        earlier = set(app.view_functions)
        super().register(app, options)
        for endpoint in app.view_functions.keys() - earlier:
            app.view_functions[endpoint] = hidden(app.view_functions[endpoint])


def protocols_without(without: Collection[str]) -> tuple[Protocol, ...]:
    """Return the protocols whose tags are not among `without`. Raises ValueError for a wrong tag."""
    tags = [protocol.tag for protocol in PROTOCOLS]
    left_out = {without} if isinstance(without, str) else set(without)
    for tag in left_out.difference(tags):
        nearest = difflib.get_close_matches(str(tag), tags, n=1, cutoff=0)[0]
        raise ValueError(f"without: {tag!r} is none of {', '.join(tags)}; for example {nearest!r}")
    if left_out & {NATIVE.tag, FILE_ROUTES.tag} and PAGE_ROUTES.tag not in left_out:
        raise ValueError("without: the page needs native and files; leave it out too, for example ('native', 'page')")
    return tuple(protocol for protocol in PROTOCOLS if protocol.tag not in left_out)


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
