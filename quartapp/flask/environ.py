"""The environ of a WSGI request: as the scope of an ASGI request, and what its server shows of the connection."""

from __future__ import annotations

import errno
import select
import selectors
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import quote

# Headers of a connection, which belong to the server (PEP 3333).
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})


def scope_of(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ASGI scope of a WSGI request."""
    root, path = (_text(environ.get(name, "")) for name in ("SCRIPT_NAME", "PATH_INFO"))
    root = root.rstrip("/")
    names = {name: name[5:] for name in environ if name.startswith("HTTP_")}
    names |= {name: name for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": root + path,
        "raw_path": quote(root + path).encode(),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "root_path": root,
        "headers": [
            (name.replace("_", "-").lower().encode("latin-1"), str(environ[key]).encode("latin-1"))
            for key, name in names.items()
        ],
        "client": (environ.get("REMOTE_ADDR", ""), int(environ.get("REMOTE_PORT") or 0)),
        "server": (environ.get("SERVER_NAME", ""), int(environ.get("SERVER_PORT") or 0)),
    }


def _text(value: str) -> str:
    """Return a path of an environ as text: its characters are the bytes of UTF-8."""
    return value.encode("latin-1").decode("utf-8", "replace")


def wsgi_headers(pairs: Any) -> list[tuple[str, str]]:
    """Return the headers of an ASGI response, without those that belong to the server."""
    named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]
    return [(name, value) for name, value in named if name.lower() not in _HOP_BY_HOP]


def abort_error(environ: Mapping[str, Any]) -> Exception:
    """Return the exception at which the server closes the connection without the end of the body.

    gunicorn takes it for a client that has disconnected, and so does waitress with its own exception. Flask's debugger
    would log a traceback and then end the body. So the connection of Flask's server is closed here, and its body ends.
    """
    if "werkzeug.socket" in environ:
        with suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return StopIteration()
    if "waitress.client_disconnected" in environ:
        waitress: Any = sys.modules["waitress.channel"]
        return cast(Exception, waitress.ClientDisconnected())
    return BrokenPipeError(errno.EPIPE, "the response was aborted")


def connection_of(environ: Mapping[str, Any]) -> socket.socket | None:
    """Return the connection of the client, or None if its server does not show it."""
    # waitress's own function sees a disconnect only with a setting that is off by default.
    channel = getattr(environ.get("waitress.client_disconnected"), "__self__", None)
    found = environ.get("gunicorn.socket") or environ.get("werkzeug.socket") or getattr(channel, "socket", None)
    return found if isinstance(found, socket.socket) else None


def limit_sends(environ: Mapping[str, Any], timeout_ms: int) -> None:
    """Close the connection if its client reads nothing for `timeout_ms`, because the server waits without a limit."""
    connection = connection_of(environ)
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):  # a Unix socket has no such option
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


def disconnect_check(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Return a function that tells whether the client has disconnected, as far as the server shows it."""
    connection = connection_of(environ)
    if connection is None:
        return lambda: False

    def is_gone() -> bool:
        try:
            if hasattr(select, "POLLRDHUP"):
                poll = select.poll()
                poll.register(connection, select.POLLRDHUP)
                return bool(poll.poll(0))
            if type(connection) is not socket.socket:  # a TLS connection cannot be looked at without reading from it
                return False
            with selectors.DefaultSelector() as selector:
                selector.register(connection, selectors.EVENT_READ)
                return bool(selector.select(0)) and not connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):  # the server has closed it
            return True

    return is_gone
