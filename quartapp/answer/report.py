"""What became of an answer, told in one line of the log: numbers and names, never what was asked or answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from quartapp.core.errors import ChatError, describe, host_fault
from quartapp.core.events import Attempt, Batch, Usage

log = logging.getLogger("quartapp.answer")

#: Endings that are nobody's fault; any other is logged as a warning.
QUIET_ENDINGS = ("done", "reader_left")

#: No more failed attempts than these are told of.
MAX_TRIED = 20


class Outcome:
    """Filled in while the answer goes on; times are a clock's, in seconds.

    `ending` is `done`, `reader_left`, `reader_stalled` or the code of the error that the reader was told. Errors are
    told `with_message`: with the upstream's own sentence, masked.
    """

    def __init__(
        self, id: str, model: str, labels: Mapping[str, Any], started: float, *, with_message: bool = False
    ) -> None:
        self.id = id
        self.model = model
        self.labels = labels
        self.started = started
        self.first_event_at: float | None = None
        self.upstream_bytes = 0
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.extra: dict[str, Any] | None = None
        self.error: ChatError | None = None
        self.ending = "reader_left"
        self._with_message = with_message
        self._asked: str | None = model
        self._tried: list[dict[str, Any]] = []

    def add(self, batch: Batch) -> None:
        """Notes what `batch` says beside its events."""
        self.upstream_bytes += batch.size
        if batch.usage is not None:
            self.usage = batch.usage
        if batch.extra is not None:
            self.extra = batch.extra
        if batch.attempt is not None:
            self._add_attempt(batch.attempt)

    def log(self, now: float) -> None:
        """Writes the line."""
        line = {"id": self.id, **self.labels, "model": self.model, "ending": self.ending, **self._said(now)}
        if self.error is not None:
            line |= describe(self.error, with_message=self._with_message)
            self.error.is_logged = True
        level = logging.INFO if self.ending in QUIET_ENDINGS else logging.WARNING
        fault = host_fault(self.error)
        if fault is not None or self.ending == "internal_error":
            level = logging.ERROR
        log.log(level, "answer %s", json.dumps(line), extra={"answer": line}, exc_info=fault)

    def _add_attempt(self, attempt: Attempt) -> None:
        """At once in words: the error holds on to all that the attempt held. An only one is told of by its error."""
        is_only = attempt.next is None and not self._tried
        self._asked = attempt.next
        if not is_only and len(self._tried) < MAX_TRIED:
            self._tried.append({"model": attempt.model, **describe(attempt.error, with_message=self._with_message)})

    def _said(self, now: float) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if self.finish_reason is not None:
            said["finish_reason"] = self.finish_reason
        if self.usage is not None:
            said |= _counts(self.usage)
        if self.first_event_at is not None:
            said["first_event_ms"] = round((self.first_event_at - self.started) * 1000)
            if self._asked != self.model:
                said["answered_by"] = self._asked
        if self._tried:
            said["tried"] = self._tried
        return said | {"total_ms": round((now - self.started) * 1000), "upstream_bytes": self.upstream_bytes}


def _counts(usage: Usage) -> dict[str, int]:
    """Return the counts that are known; the total is left out, because it is their sum."""
    counts = msgspec.to_builtins(usage)
    return {name: count for name, count in counts.items() if name != "total_tokens"}
