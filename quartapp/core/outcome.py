"""The outcome of a function on its way to another thread or task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


class Outcome:
    """The result of a function, or the exception that it raised, on the way to another thread or task.

    A future cannot hold a StopIteration: the task that waits for it would wait forever. A SystemExit in a task would
    end its event loop.
    """

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self._value, self._error = value, error

    @classmethod
    def of(cls, function: Callable[..., Any], *arguments: Any) -> Outcome:
        """Call `function` and return its outcome."""
        try:
            return cls(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - `get` raises it
            return cls(error=error)

    @classmethod
    async def of_async(cls, work: Awaitable[Any]) -> Outcome:
        """Await `work` and return its outcome. Raises CancelledError if the current task is cancelled."""
        try:
            return cls(await work)
        except BaseException as error:
            if is_cancelled(error):
                raise
            return cls(error=error)

    def get(self) -> Any:
        """Return the result, or raise the exception."""
        error, self._error = self._error, None  # because the traceback of the error refers to this object
        if isinstance(error, StopIteration):
            raise RuntimeError("a hook raised StopIteration") from error
        if error is not None:
            raise error
        return self._value


def is_cancelled(error: BaseException) -> bool:
    """Return True if `error` is the cancellation of the current task, not a CancelledError that its code raised."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
