"""The chat as an extension of a Quart or Flask app."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from quart import Quart, has_app_context
from quart import current_app as quart_app
from werkzeug.local import LocalProxy

from quartapp.blueprint import load_settings, make_blueprint, protocols_without, running_chats, warn_of_hidden_routes
from quartapp.decorators import Decorators
from quartapp.direct import Answers
from quartapp.models.registry import check_table
from quartapp.running import RunningChat
from quartapp.settings.settings import Settings
from quartapp.tag import TagFunction, quart_tag

if TYPE_CHECKING:
    from typing import Unpack

    import flask

    from quartapp.flask.chat import FlaskChat
    from quartapp.settings.keywords import SettingsKeywords

    App = Quart | flask.Flask


class Chat(Answers, Decorators):
    """A chat for Quart and Flask apps, with Flask's conventions for extensions.

    `app` may be given here or to `init_app`, any number of apps. The chat is served below `url_prefix`. Several chats
    of one app need different names. `without` leaves out routes: `native`, `openai` (`/v1`), `ai-sdk`, `page`, `files`
    or `docs`. The other keywords are settings without `CHAT_` in lower case. They take precedence over `app.config`,
    the environment and `.env`.

    Raises SettingsError for an unknown or invalid setting, and ValueError for a wrong prefix or name.

    >>> chat = Chat(model="mock", url_prefix="/ai")
    >>> chat.init_app(Quart("project"))
    """

    def __init__(
        self,
        app: App | None = None,
        *,
        name: str = "chat",
        url_prefix: str = "/chat",
        without: Collection[str] = (),
        **settings: Unpack[SettingsKeywords],
    ) -> None:
        if url_prefix and (not url_prefix.startswith("/") or url_prefix.endswith("/")):
            raise ValueError("url_prefix starts with a slash and does not end in one, for example /ai")
        self.name = name
        self.url_prefix = url_prefix
        self._without = without
        self._settings = Settings.by_field(cast(dict[str, Any], settings))
        super().__init__()
        self._blueprint = make_blueprint(name, self._settings, self._models, self._hooks, without=self._without)
        self._apps: WeakSet[Any] = WeakSet()
        if app is not None:
            self._add_to(app, may_grow=True)

    def init_app(self, app: App) -> None:
        """Add the chat to a Quart or Flask app: its routes below `url_prefix`, its start and its stop.

        The settings are checked at once, so models in Python are registered before. Raises SettingsError, and TypeError
        for another object.
        """
        self._add_to(app)

    def asgi(self, app: flask.Flask, workers: int = 32) -> Quart:
        """Return an ASGI app that serves a Flask app with this chat, for hypercorn or gunicorn's asgi worker.

        The Flask project runs in up to `workers` threads, one for each request. Open answers need no thread.

        >>> asgi = Chat(url_prefix="/ai").asgi(flask.Flask("project"))
        """
        from quartapp.flask.asgi import asgi_app

        app = _unwrapped(app)
        if not _is_flask(app):
            raise TypeError(f"asgi takes a Flask app, not {type(app).__qualname__}; a Quart app is an ASGI app itself")
        if not self.url_prefix:
            raise ValueError("url_prefix: an ASGI app with a Flask project needs one, for example /ai")
        if app not in self._apps:
            self.init_app(app)
        return asgi_app(app, self._flask_chat(app), workers)

    # -- internals

    def _add_to(self, app: App, *, may_grow: bool = False) -> None:
        """Add the chat to `app`. If it `may_grow`, the names of models are checked at the start of the app."""
        app = _unwrapped(app)
        if app in self._apps:
            raise RuntimeError(f"the chat {self.name} is in this app already")
        if not isinstance(app, Quart) and not _is_flask(app):
            raise TypeError(f"init_app takes a Quart or Flask app, not {type(app).__qualname__}")
        check_table(load_settings(self._settings, app.config), None if may_grow else self._models)
        warn_of_hidden_routes(app, self.url_prefix)
        if isinstance(app, Quart):
            app.register_blueprint(self._blueprint, url_prefix=self.url_prefix or None)
            app.context_processor(lambda: {f"{self.name}_tag": TagFunction(quart_tag, self.name, self._hooks)})
        else:
            self._init_flask(app)
        self._apps.add(app)

    def _init_flask(self, app: Any) -> None:
        from quartapp.flask.chat import EXTENSION, FlaskChat, flask_blueprint, flask_tag

        def make(host: Any) -> Any:
            return make_blueprint(
                self.name, self._settings, self._models, self._hooks, without=self._without, host=host
            )

        chat = FlaskChat(app, make, self.url_prefix)
        routes = flask_blueprint(self.name, chat, protocols_without(self._without))
        app.register_blueprint(routes, url_prefix=self.url_prefix or None)
        app.context_processor(lambda: {f"{self.name}_tag": TagFunction(flask_tag, self.name, self._hooks, self.run)})
        app.extensions.setdefault(EXTENSION, {})[self.name] = chat

    def _flask_chat(self, app: Any) -> FlaskChat:
        from quartapp.flask.chat import EXTENSION

        return cast("FlaskChat", app.extensions[EXTENSION][self.name])

    def _running(self) -> RunningChat:
        """Return the running chat of the current app, or of the only app. Raises RuntimeError with the reason."""
        app = next((app for app in _current_apps() if app in self._apps), None)
        if app is None and len(self._apps) == 1:
            app = next(iter(self._apps))
        if app is None:
            if any(_current_apps()):
                raise RuntimeError("the chat is not running: init_app was not called for the current app")
            raise RuntimeError("there is no current app: use the chat in a request, or within app.app_context()")
        if not isinstance(app, Quart):
            return self._flask_chat(app).running()
        chat = running_chats(app).get(self._blueprint)
        if chat is None:
            raise RuntimeError("the chat is not running: its app was not started")
        return chat


def _current_apps() -> Iterator[Any]:
    """Yield Flask's and Quart's current app. The tasks of a chat in a Flask project have both."""
    module = sys.modules.get("flask")
    if module is not None and module.has_app_context():
        yield module.current_app._get_current_object()
    if has_app_context():
        yield cast(Any, quart_app)._get_current_object()


def _unwrapped(app: Any) -> Any:
    """Return the app behind a proxy, for example behind `current_app`."""
    return app._get_current_object() if isinstance(app, LocalProxy) else app


def _is_flask(app: object) -> bool:
    module = sys.modules.get("flask")
    return module is not None and isinstance(app, module.Flask)
