"""gunicorn's settings for this app: `gunicorn -c python:quartapp.gunicorn "quartapp:create_app()"`."""

from __future__ import annotations

import socket
from typing import Any

from quartapp.core.errors import SettingsError
from quartapp.process import allow_open_files, freeze_loaded_objects
from quartapp.settings.server import ServerSettings
from quartapp.settings.settings import Settings

try:
    _listen, _settings = ServerSettings.load(), Settings.load()
except SettingsError as error:
    raise SystemExit(f"gunicorn cannot start. {error}") from None

# gunicorn's own ASGI worker: it streams, detects disconnects and runs the app's start and stop.
worker_class = "asgi"

# If the app's start fails, for example because of an invalid setting, the process ends.
asgi_lifespan = "on"

bind = _listen.bind

# gunicorn itself starts WEB_CONCURRENCY workers, one by default. Each process counts and limits its own open answers.
# One core relays about ten thousand tokens a second.

# Longer than proxies keep idle connections, so that a proxy never sends a request on a closing connection.
keepalive = 75

# Seconds for the open answers of a stopping worker. Then gunicorn kills it.
graceful_timeout = 30

# gunicorn counts the same time from an earlier moment. So a worker stops waiting this many seconds earlier.
STOPPING_S = 5

# A worker without a heartbeat for this many seconds is replaced. Long answers do not stop the heartbeat.
timeout = 60

# No control socket in the home directory.
control_socket_disable = True


def on_starting(_: Any) -> None:
    """Raise the limit of open files. Workers inherit it."""
    allow_open_files(_settings.max_open_streams)


def post_worker_init(worker: Any) -> None:
    """Make a worker stop before gunicorn kills it, so that open answers end with a record and a log line.

    Freeze the loaded objects, because a full garbage collection stops every stream of the worker.
    """
    worker.cfg.set("graceful_timeout", max(worker.cfg.graceful_timeout - STOPPING_S, 0))
    freeze_loaded_objects()


def when_ready(server: Any) -> None:
    """Set TCP_USER_TIMEOUT, so that the connection of a client that reads nothing ends soon after its answer."""
    for listener in server.LISTENERS:
        if listener.sock.family != getattr(socket, "AF_UNIX", None) and hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _settings.user_timeout_ms)


def pre_request(_: Any, request: Any) -> None:
    """Close the connection after a response over HTTP/1.0, because only that ends a stream there."""
    if request.version < (1, 1):
        request.must_close = True
