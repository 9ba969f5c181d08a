"""The mock model as a real server on loopback, for clients that are not part of the process."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Final, Self

from hypercorn.config import Config

from quartapp.mock import ASGIApp
from quartapp.server import serve

#: The limit of the mock model for a body, with space for its own refusal.
MAX_BODY_BYTES: Final = 2**25


class ModelServer:
    """An HTTP server on a free port of 127.0.0.1, in a thread, as long as the `with` block lasts.

    `base_url` is for OpenAI's client and others, for example `http://127.0.0.1:43117/v1`. Any key is accepted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.base_url = ""
        self._is_ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        serving = self._serve(listener.detach())  # the server closes the socket
        self._thread = threading.Thread(target=asyncio.run, args=(serving,), name="quartapp-model-server", daemon=True)
        self._thread.start()
        self._is_ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __repr__(self) -> str:
        return f"<ModelServer at {self.base_url}>"

    async def _serve(self, file_number: int) -> None:
        self._loop = asyncio.get_running_loop()
        config = Config()
        config.bind = [f"fd://{file_number}"]
        config.errorlog = None
        config.graceful_timeout = 0

        async def until_stopped() -> None:
            self._is_ready.set()
            await self._stop.wait()

        try:
            await serve(self._app, config, shutdown_trigger=until_stopped, max_body_bytes=MAX_BODY_BYTES)
        finally:
            self._is_ready.set()
