"""gunicorn's settings, picked up from the working directory: `gunicorn "quartapp:create_app()"`."""

import os
import socket

from quartapp.core.errors import SettingsError
from quartapp.process import allow_open_files, freeze_loaded_objects
from quartapp.settings.settings import ServerSettings, Settings, user_timeout_ms

try:
    _listen, _settings = ServerSettings.load(), Settings.load()
except SettingsError as error:
    raise SystemExit(f"gunicorn cannot start. {error}") from None

# Workers inherit the limit of the process that reads this file.
allow_open_files(_settings.max_open_streams)

# gunicorn's own ASGI worker: it streams, sees a reader leave and runs the app's start and stop.
worker_class = "asgi"

# A start that fails, say for a wrong setting, ends the process in place of serving errors.
asgi_lifespan = "on"

bind = _listen.bind

# Open answers and their limit are counted a process; a core relays some ten thousand tokens a second.
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))

# Longer than a proxy keeps its idle connections, so that it never sends a request into a closing one.
keepalive = 75

# How long a worker told to stop may go on with its open answers before it is killed.
graceful_timeout = 30

# gunicorn kills a worker after the same time, counted from an earlier moment. A worker stops waiting so much sooner.
STOPPING_S = 5

# A worker that is stuck is replaced; the length of an answer does not count, the worker's heartbeat does.
timeout = 60

# No control socket in the home directory.
control_socket_disable = True


def post_worker_init(worker):
    """Let a worker stop waiting before gunicorn kills it: what is still open then ends with a record and a line."""
    worker.cfg.set("graceful_timeout", max(worker.cfg.graceful_timeout - STOPPING_S, 0))
    freeze_loaded_objects()


def when_ready(server):
    """A reader that takes nothing loses its connection soon after its answer has given it up."""
    for listener in server.LISTENERS:
        if listener.sock.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms(_settings))


def pre_request(worker, request):
    """Close the connection after an answer over HTTP/1.0, where only the end of the connection ends a stream."""
    if request.version < (1, 1):
        request.must_close = True
