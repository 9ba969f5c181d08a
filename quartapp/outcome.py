"""What became of an answer, told in one line of the log: numbers and names, never what was asked or answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from quartapp.errors import ChatError, describe
from quartapp.events import Usage

log = logging.getLogger("quartapp.answer")

#: Endings that are nobody's fault; any other is logged as a warning.
QUIET_ENDINGS = ("done", "reader_left")


class Outcome:
    """Filled in while the answer goes on; times are a clock's, in seconds.

    `ending` is `done`, `reader_left`, `reader_stalled` or the code of the error that the reader was told.
    """

    def __init__(self, id: str, model: str, labels: Mapping[str, Any], started: float) -> None:
        self.id = id
        self.model = model
        self.labels = labels
        self.started = started
        self.first_event_at: float | None = None
        self.upstream_bytes = 0
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.error: ChatError | None = None
        self.ending = "reader_left"

    def log(self, now: float, *, with_message: bool) -> None:
        """Writes the line. `with_message`: with the upstream's own sentence, masked."""
        line = {"id": self.id, **self.labels, "model": self.model, "ending": self.ending, **self._said(now)}
        if self.error is not None:
            line |= describe(self.error, with_message=with_message)
            self.error.is_logged = True
        level = logging.INFO if self.ending in QUIET_ENDINGS else logging.WARNING
        log.log(level, "answer %s", json.dumps(line), extra={"answer": line})

    def _said(self, now: float) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if self.finish_reason is not None:
            said["finish_reason"] = self.finish_reason
        if self.usage is not None:
            said |= {"input_tokens": self.usage.input_tokens, "output_tokens": self.usage.output_tokens}
        if self.first_event_at is not None:
            said["first_event_ms"] = round((self.first_event_at - self.started) * 1000)
        return said | {"total_ms": round((now - self.started) * 1000), "upstream_bytes": self.upstream_bytes}
