"""The number of threads of a WSGI server, because each open answer takes one of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

log = logging.getLogger("quartapp")

ONE_THREAD: Final = (
    "the WSGI server has one thread: while an answer is open, no other request is served, and gunicorn's sync worker "
    "ends it after 30 s; for example gunicorn -k gthread --threads 8"
)


def max_streams(environ: Mapping[str, Any]) -> int | None:
    """Return how many answers may be open, so that one thread is left for other requests; None for no limit.

    Flask's own server starts a thread for each request. waitress and gunicorn's gthread have a fixed number.
    """
    if "SERVER_SOFTWARE" not in environ:  # a test client
        return None
    has_many = environ.get("wsgi.multithread", True)
    threads = (_waitress_threads(environ) or _pool_threads()) if has_many else 1
    if threads == 1:
        log.warning("%s", ONE_THREAD)
    return None if threads is None else max(threads - 1, 1)


def _waitress_threads(environ: Mapping[str, Any]) -> int | None:
    channel = getattr(environ.get("waitress.client_disconnected"), "__self__", None)
    threads = getattr(getattr(getattr(channel, "server", None), "adj", None), "threads", None)
    return threads if isinstance(threads, int) else None


def _pool_threads() -> int | None:
    """Return the size of the ThreadPoolExecutor that the current thread belongs to, as under gunicorn's gthread.

    Neither gunicorn nor Python has a public name for it.
    """
    arguments = getattr(threading.current_thread(), "_args", None)
    executor = arguments[0]() if arguments and callable(arguments[0]) else None
    threads = getattr(executor, "_max_workers", None)
    return threads if isinstance(threads, int) else None
