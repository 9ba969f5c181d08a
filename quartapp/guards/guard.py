"""The interface of a guard, and the leases that guards hold for a request until its answer has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from quartapp.answer.report import AnswerReport
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest

log = logging.getLogger("quartapp.guards")


class GuardContext(NamedTuple):
    """The facts by which guards decide.

    `request` is the Quart request, and None for an answer that code of the host app started. `principal` is None
    without authentication, and `chat_request` before the body.
    """

    request: Any
    principal: Principal | None
    chat_request: ChatRequest | None = None


class Lease(Protocol):
    """A place or an amount that a guard reserves for one request."""

    def settle(self, report: AnswerReport | None) -> None:
        """Release it; `report` is None if no answer began. It is called exactly once."""
        ...


class Guard(Protocol):
    """A check of a request; for example `guards.slots.Slots`."""

    async def acquire(self, context: GuardContext) -> Lease | None:
        """Return a lease, or None if there is nothing to settle. Raises ChatError to refuse the request."""
        ...


class Guards(NamedTuple):
    """The guards of a chat in their order: before the body is read, and before the model is called."""

    before_body: tuple[Guard, ...] = ()
    before_model: tuple[Guard, ...] = ()


class Leases:
    """The leases of one request. Each is settled exactly once, the last one first."""

    def __init__(self) -> None:
        self._held: list[Lease] = []

    async def acquire(self, guards: Iterable[Guard], context: GuardContext) -> None:
        """Run the guards in order. Raises the ChatError of the first that refuses the request."""
        for guard in guards:
            lease = await guard.acquire(context)
            if lease is not None:
                self._held.append(lease)

    def settle(self, report: AnswerReport | None = None) -> None:
        """Settle all leases. If one raises an exception, the log contains it, and the others are settled."""
        while self._held:
            try:
                self._held.pop().settle(report)
            except Exception:
                log.exception("a lease could not be settled")
