"""The settings of the server that `python -m quartapp` and gunicorn.conf.py start, next to those of the chat."""

from __future__ import annotations

from quartapp.settings.loader import Loaded, Text, named

MAX_PORT = 65_535


class ServerSettings(Loaded):
    """The address of `python -m quartapp` and gunicorn.conf.py. Other servers do not read HOST and PORT."""

    host: Text = named("HOST", "127.0.0.1", "0.0.0.0")
    """Address to listen on."""
    port: int = named("PORT", 8000, ge=1, le=MAX_PORT)
    """Port to listen on."""

    @property
    def bind(self) -> str:
        """Return host and port, for example `127.0.0.1:8000` or `[::1]:8000`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
