"""The event loop of a process that serves Flask projects under WSGI: one thread runs it for all of their chats."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from quart import Quart

from quartapp.guards.slots import Slots

Result = TypeVar("Result")

#: Seconds for the apps to stop at the end of the process.
CLOSE_S = 10.0

#: Seconds for the tasks of the loop to end once they are cancelled.
CANCEL_S = 1.0


class BackgroundLoop:
    """An event loop in a thread of its own, with the apps that it runs.

    `threads` are the places for answers in the threads of the server, None if it starts one for each request.
    """

    def __init__(self) -> None:
        self.threads: Slots | None = None
        self.loop = asyncio.new_event_loop()
        self._apps: set[Quart] = set()
        self._thread = threading.Thread(target=self._run, name="quartapp-loop", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Return whether the current thread runs the loop."""
        return threading.current_thread() is self._thread

    def start(self, app: Quart) -> None:
        """Start `app`. Raises the exception of its start, for example SettingsError."""
        self.call(app.startup())
        self._apps.add(app)

    def stop(self, app: Quart) -> None:
        """Stop `app` if it runs, without waiting for it."""
        if app in self._apps and self.loop.is_running():
            self._apps.discard(app)
            self.submit(app.shutdown())

    def call(self, work: Coroutine[Any, Any, Result], timeout_s: float | None = None) -> Result:
        """Return the result of `work`, which runs in the loop. Call it from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def submit(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` in a task of the loop that has none of the contexts of the current thread."""
        self.loop.call_soon_threadsafe(self.loop.create_task, work, context=Context())

    def close(self) -> None:
        """Stop the apps, wait for them up to CLOSE_S, and end the thread."""
        try:
            self.call(self._stop_all(), CLOSE_S)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    async def _stop_all(self) -> None:
        apps, self._apps = self._apps, set()
        await asyncio.gather(*(app.shutdown() for app in apps), return_exceptions=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(_cancel_tasks())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.run_until_complete(_cancel_tasks())  # a thread may have started some since
            self.loop.close()


async def _cancel_tasks() -> None:
    """Cancel all other tasks of the loop, because threads may wait for their results."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_S)


class _Process:
    """The loop of this process. A forked process starts without one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: BackgroundLoop | None = None
        self._is_registered = False

    def running(self) -> BackgroundLoop:
        with self._lock:
            if self._loop is None:
                self._register()
                self._loop = BackgroundLoop()
            return self._loop

    def close(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _register(self) -> None:
        """Close the loop at the end of the process, and forget it in a forked one.

        The end of the process waits for the threads of servers before it calls the functions of `atexit`, and such a
        thread may wait for an answer. So the loop has to close before. Python has no public function for that moment.
        """
        if not self._is_registered:
            self._is_registered = True
            getattr(threading, "_register_atexit", atexit.register)(self.close)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock, self._loop = threading.Lock(), None


_process = _Process()


def background_loop() -> BackgroundLoop:
    """Return the loop of this process. The first call starts it."""
    return _process.running()


def close_background_loop() -> None:
    """Stop the loop of this process and its apps, if it runs. The next request starts another one."""
    _process.close()
