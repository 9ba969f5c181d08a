"""Flask projects as hosts of a chat, under WSGI and ASGI servers. `Chat` is the public way to it."""

from __future__ import annotations

try:
    import flask as _flask  # noqa: F401
except ImportError as error:
    raise ImportError("a chat in a Flask project needs Flask: pip install 'quartapp[flask]'") from error
