"""A chat in one Flask project: its routes in the project, and the Quart app that answers them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from inspect import isawaitable
from typing import Any, Final, NamedTuple, cast
from weakref import finalize, ref

import flask
from markupsafe import Markup
from quart import Blueprint
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from quartapp.app import ChatApp
from quartapp.blueprint import running_chats
from quartapp.core.errors import ChatError, SettingsError
from quartapp.flask.environ import limit_sends
from quartapp.flask.host import FlaskHost
from quartapp.flask.loop import BackgroundLoop, background_loop
from quartapp.flask.threads import max_streams
from quartapp.flask.wsgi import Exchange
from quartapp.guards.auth import principal_of
from quartapp.guards.slots import Slots
from quartapp.hooks import Hooks, Host
from quartapp.routes.protocol import Protocol
from quartapp.routes.rules import EveryMethod
from quartapp.running import RunningChat
from quartapp.settings.settings import Settings
from quartapp.stopping import ignore_cancelled_connections
from quartapp.tag import make_tag

log = logging.getLogger("quartapp")

_NOT_STARTED: Final = '{"error": {"code": "internal_error", "message": "The chat could not start."}}\n'

#: The key of an exchange in the environ of its request.
EXCHANGE: Final = "quartapp.exchange"

#: The key of a project's chats by name in its extensions.
EXTENSION: Final = "quartapp_flask"

#: Makes the blueprint of the chat for a host.
MakeBlueprint = Callable[[Callable[[], Host]], Blueprint]


class ServedChat(NamedTuple):
    """A Quart app with the chat, for an ASGI server or for the background loop."""

    app: ChatApp
    blueprint: Blueprint

    @property
    def running(self) -> RunningChat | None:
        """Return the running chat, or None before the start of the app."""
        return running_chats(self.app).get(self.blueprint)


class FlaskChat:
    """The chat of one Flask app. Under WSGI its Quart app runs in the background loop, from the first request on."""

    def __init__(self, app: flask.Flask, make_blueprint: MakeBlueprint, url_prefix: str) -> None:
        self._app = ref(app)  # because the app owns the chat
        self._make_blueprint = make_blueprint
        self.url_prefix = url_prefix
        self._lock = threading.Lock()
        self._in_background: tuple[BackgroundLoop, ServedChat] | None = None
        self._by_server: ServedChat | None = None
        self._limited: ServedChat | None = None

    def for_server(self) -> ChatApp:
        """Return a new Quart app with the chat, for an ASGI server."""
        self._by_server = self._make()
        return self._by_server.app

    def view(self, **_: str) -> flask.Response:
        """Return the response of the chat to Flask's current request."""
        try:
            return self._exchange(flask.request.environ).respond()
        except SettingsError as error:
            log.error("the chat cannot start. %s", error)
            return flask.Response(_NOT_STARTED, 500, content_type="application/json")

    def _exchange(self, environ: dict[str, Any]) -> Exchange:
        """Start the chats of the project, and return the exchange of the request."""
        chats: dict[str, FlaskChat] = flask.current_app.extensions[EXTENSION]
        for chat in chats.values():  # because an async hook of this one may use another one, and cannot start it
            chat._limit_to_threads(*chat._start(), environ)
        background, served = self._start()
        running = cast(RunningChat, served.running)
        limit_sends(environ, running.settings.user_timeout_ms)
        exchange = environ[EXCHANGE] = Exchange(served.app, running, background, environ)
        return exchange

    def running(self) -> RunningChat:
        """Return the running chat. Unless an ASGI server runs it, the background loop does."""
        if self._by_server is not None and self._by_server.running is not None:
            return self._by_server.running
        background, served = self._start()
        if flask.has_request_context():
            self._limit_to_threads(background, served, flask.request.environ)
        return cast(RunningChat, served.running)

    def _limit_to_threads(self, background: BackgroundLoop, served: ServedChat, environ: dict[str, Any]) -> None:
        """Limit the open answers of all chats by the threads of the server, with the first request after the start."""
        if self._limited is not served:
            self._limited = served
            streams = max_streams(environ)
            if streams is not None and served.running is not None:
                background.threads = background.threads or Slots(streams)
                served.running.add_guard(background.threads)

    def _start(self) -> tuple[BackgroundLoop, ServedChat]:
        """Start the chat in the background loop of this process, unless it runs there.

        Raises RuntimeError in that loop, because the start would wait for it.
        """
        background = background_loop()
        if self._in_background is not None and self._in_background[0] is background:
            return self._in_background
        if background.is_current:
            raise RuntimeError("the chat is not running: a request has to start it before an async hook uses it")
        with self._lock:
            if self._in_background is None or self._in_background[0] is not background:
                served = self._make()
                background.start(served.app)
                finalize(self._app(), background.stop, served.app)
                self._in_background = background, served
            return self._in_background

    def _make(self) -> ServedChat:
        app = self._app()
        if app is None:
            raise RuntimeError("the Flask app does not exist any more")
        host = FlaskHost(app)
        blueprint = self._make_blueprint(lambda: host)
        served = ChatApp("quartapp", static_folder=None)
        served.config.from_mapping(Settings.named_in(app.config))
        served.config["MAX_CONTENT_LENGTH"] = app.config["MAX_CONTENT_LENGTH"]
        served.debug, served.testing = app.debug, app.testing
        served.register_blueprint(blueprint, url_prefix=self.url_prefix or None)
        ignore_cancelled_connections(served)
        return ServedChat(served, blueprint)


def flask_blueprint(name: str, chat: FlaskChat, protocols: tuple[Protocol, ...]) -> flask.Blueprint:
    """Return a Flask blueprint whose rules lead to `chat`, with the endpoints of the chat's own blueprint.

    So `url_for("chat.page")` works in the project. The chat checks the origin of requests with a cookie, so the rules
    are exempt from CSRFProtect of Flask-WTF.
    """
    blueprint = flask.Blueprint(name, "quartapp")
    for protocol in protocols:
        if protocol.name:
            nested = flask.Blueprint(protocol.name, "quartapp")
            _add_routes(nested, chat, (protocol,))
            blueprint.register_blueprint(nested, url_prefix=protocol.prefix)
    _add_routes(blueprint, chat, tuple(protocol for protocol in protocols if not protocol.name))
    blueprint.url_value_preprocessor(_exempt_from_csrf)
    blueprint.teardown_request(_close_failed)
    return blueprint


def _add_routes(blueprint: flask.Blueprint, chat: FlaskChat, protocols: tuple[Protocol, ...]) -> None:
    def add(state: Any) -> None:
        for route in (route for protocol in protocols for route in protocol.routes):
            _add(state, chat, route.path, route.name)
        if (state.url_prefix or "").strip("/"):
            # The chat itself serves several slashes as one. A path of werkzeug does not begin with a slash.
            for path in ("/<path:path>", "/<any('/', '//', '///'):slashes><path:path>"):
                _add(state, chat, path, "not_found")

    blueprint.record(add)


def _add(state: Any, chat: FlaskChat, path: str, name: str) -> None:
    """Add a rule for every method, because the chat itself answers those that it does not allow."""
    state.add_url_rule(path, name, chat.view, methods=["GET"], provide_automatic_options=False, merge_slashes=False)
    rules: list[Rule] = list(state.app.url_map.iter_rules(f"{state.name_prefix}.{state.name}.{name}".lstrip(".")))
    for rule in rules:
        rule.methods = EveryMethod({"GET"})


def _close_failed(error: BaseException | None) -> None:
    """Close the answer if Flask drops its response, because a function of `after_request` has failed."""
    if error is not None and EXCHANGE in flask.request.environ:
        flask.request.environ[EXCHANGE].close()


def _exempt_from_csrf(*_: Any) -> None:
    """Exempt the blueprint of the request. This runs before all hooks of the project, so in any order of set-up."""
    csrf: Any = flask.current_app.extensions.get("csrf")
    blueprint = flask.current_app.blueprints.get(flask.request.blueprint or "")
    if blueprint is not None and hasattr(csrf, "exempt"):
        csrf.exempt(blueprint)


def flask_tag(
    name: str, hooks: Hooks, run: Callable[[Any], Any], nonce: str | None = None, **attributes: str
) -> Markup:
    """Return the tag of the chat `name` for a template of the project. `run` runs an async `authenticate`."""
    principal = None
    if hooks.authenticate is not None:
        with suppress(ChatError, HTTPException):
            user = hooks.authenticate(flask.request)
            principal = principal_of(run(user) if isawaitable(user) else user)
    return make_tag(name, flask.url_for, nonce, principal, attributes)
