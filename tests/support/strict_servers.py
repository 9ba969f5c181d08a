"""Servers that refuse a conversation unless their state comes back unchanged.

A request gets 400 unless it contains the complete conversation so far, with the state that this server attached to its
own steps, and with no state of another server.
"""

from __future__ import annotations

import json
from collections import defaultdict

from tests.support.loopback import Exchange, Loopback, reply
from tests.support.strict_families import Family, Step


class Book:
    """The conversations so far by their names, shared by the servers of a table, and the faults in requests."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Step]] = defaultdict(list)
        self.faults: list[str] = []


class StrictServer(Loopback):
    """A server of one family. The name of a conversation is the first word of its first question."""

    def __init__(self, family: Family, book: Book) -> None:
        super().__init__(self._answer)
        self.family = family
        self._book = book

    async def _answer(self, exchange: Exchange) -> None:
        body = exchange.request.json
        items = body.get("messages") or body["input"]
        name = str(items[0]["content"]).split()[0]
        steps = self._book.steps[name]
        fault = self.family.fault_in(body, name, steps)
        if fault is not None:
            self._book.faults.append(f"{name}, step {len(steps)}, {self.family.name}: {fault}")
            await reply(400, json.dumps({"error": {"message": fault}}).encode())(exchange)
            return
        steps.append(Step(self.family, name, len(steps)))
        await reply(body=self.family.stream(steps[-1]))(exchange)
