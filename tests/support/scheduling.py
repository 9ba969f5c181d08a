"""Waits for the other tasks of a test, by what they do and not by a number of turns of the loop."""

from __future__ import annotations

import asyncio
from typing import Any


async def wait_all_tasks_blocked() -> None:
    """Return when every other task of this loop waits for something that has not happened.

    As `anyio.wait_all_tasks_blocked`, but without its sleep of 0.1 s. The loop has also looked at its sockets since.
    A task that waits for a timer, a thread or a peer counts as blocked. Tasks that never wait make it wait for ever.
    """
    blocked_turns = 0
    while blocked_turns < 2:
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        blocked_turns = blocked_turns + 1 if all(map(_is_blocked, others)) and not _has_callbacks() else 0


def _is_blocked(task: asyncio.Task[Any]) -> bool:
    waiter = task._fut_waiter  # type: ignore[attr-defined]
    return waiter is not None and not waiter.done()


def _has_callbacks() -> bool:
    """Whether asyncio's own loop has callbacks to run that belong to no task, such as those of transports."""
    return bool(getattr(asyncio.get_running_loop(), "_ready", ()))
