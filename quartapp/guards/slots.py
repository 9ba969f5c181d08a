"""The limit of open answers (CHAT_MAX_OPEN_STREAMS)."""

from __future__ import annotations

from quartapp.answer.report import AnswerReport
from quartapp.core.errors import ChatError
from quartapp.guards.guard import GuardContext, Lease

RETRY_AFTER_S = 1


class Slots:
    """Places for answers. An answer holds one until it has ended."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    async def acquire(self, _: GuardContext) -> Lease:
        """Take a place. Raises ChatError, overloaded, if none is free."""
        if self._taken >= self._limit:
            raise ChatError("overloaded", retry_after_s=RETRY_AFTER_S)
        self._taken += 1
        return self

    def settle(self, _: AnswerReport | None) -> None:
        """Release a place."""
        self._taken -= 1
