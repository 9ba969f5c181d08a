"""The Quart app of a chat, with an error message for WSGI servers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, Final

from quart import Quart

from quartapp.core.errors import SettingsError

log = logging.getLogger("quartapp")

WSGI_SENTENCE: Final = (
    "This is an ASGI app, but a WSGI server has called it. Start gunicorn with an ASGI worker: use "
    "-c python:quartapp.gunicorn or -k asgi. Or use another ASGI server, for example hypercorn."
)


class ChatApp(Quart):
    """A Quart app that answers a WSGI server with status 500 and WSGI_SENTENCE, and logs it.

    It does not log a SettingsError at its start.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Servers inspect the instance's `__call__` to recognise ASGI, but call the class's.
        vars(self)["__call__"] = MethodType(Quart.__call__, self)

    def log_exception(self, *arguments: Any) -> None:
        """Log an exception, but no SettingsError, because the code that starts the app logs its message.

        The last argument is the exception with its type and traceback. Quart 0.23 puts the context before it.
        """
        if not isinstance(arguments[-1][1], SettingsError):
            super().log_exception(*arguments)

    def __call__(self, *arguments: Any) -> Any:
        if len(arguments) == 2:
            return _refuse_wsgi(*arguments)
        return super().__call__(*arguments)


def _refuse_wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    log.error("%s", WSGI_SENTENCE)
    body = f"{WSGI_SENTENCE}\n".encode()
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    start_response("500 Internal Server Error", [*headers.items()])
    return [body]
