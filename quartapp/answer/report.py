"""The report of an answer that has ended, and its line in the log.

The line contains numbers and names. It never contains text of the prompt or of the answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from quartapp.core.error_log import describe
from quartapp.core.errors import ChatError, host_fault
from quartapp.core.events import Attempt, Usage
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest
from quartapp.protocols.native.whole import WholeAnswer

log = logging.getLogger("quartapp.answer")

#: Endings without a fault. The log reports each other ending as a warning.
QUIET_ENDINGS = ("done", "client_disconnected")


#: The largest number of failed attempts in a report.
MAX_FAILED_ATTEMPTS = 20


class FailedAttempts:
    """The failed attempts of an answer as entries of its line. Errors would keep all objects of an attempt alive."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def add(self, attempt: Attempt, *, with_message: bool) -> None:
        """Add an attempt, unless it is the only one: its error ends the answer, and is logged there."""
        is_single = attempt.next is None and not self.entries
        if not is_single and len(self.entries) < MAX_FAILED_ATTEMPTS:
            self.entries.append({"model": attempt.model, **describe(attempt.error, with_message=with_message)})


class AnswerReport(msgspec.Struct, frozen=True):
    """The facts of an answer that has ended.

    `ending` is `done`, `client_disconnected` (the client disconnected), `client_stalled` (the client took nothing for
    `write_timeout_s`), or the code of `error`. `first_event_s` and `total_s` count from the start of the answer.
    `answered_by` is the model that sent the first event. `failed_attempts` are entries of the log line. `steps` are the
    turns of the model: one, and one more each time that results of tools in Python went back to it.

    For hooks and signals, `request` and `principal` are known, and `answer` has what the model sent, also if it is not
    complete: its text, reasoning, tool calls and images.
    """

    id: str
    model: str
    labels: Mapping[str, Any]
    ending: str
    total_s: float
    upstream_bytes: int
    first_event_s: float | None = None
    answered_by: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    error: ChatError | None = None
    failed_attempts: Sequence[Mapping[str, Any]] = ()
    steps: int = 1
    request: ChatRequest | None = None
    principal: Principal | None = None
    answer: WholeAnswer | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether the model finished the answer and the client got its end."""
        return self.ending == "done"

    @property
    def question(self) -> str:
        """Return the text of the last message of the user."""
        return "" if self.request is None else self.request.text

    @property
    def text(self) -> str:
        """Return the text that the model sent; only a complete answer has all of it."""
        return "" if self.answer is None else self.answer.text


def log_report(report: AnswerReport, *, with_message: bool = False) -> None:
    """Write the line of an answer. If `with_message` is true, it contains the upstream's error message, masked."""
    error = report.error
    line = {"id": report.id, **report.labels, "model": report.model, "ending": report.ending, **_measured(report)}
    if error is not None:
        line |= describe(error, with_message=with_message)
        error.is_logged = True
    level = logging.INFO if report.ending in QUIET_ENDINGS else logging.WARNING
    fault = host_fault(error)
    if fault is not None or report.ending == "internal_error":
        level = logging.ERROR
    log.log(level, "answer %s", json.dumps(line), extra={"answer": line}, exc_info=fault)


def _measured(report: AnswerReport) -> dict[str, Any]:
    """Return the entries of the line that are known: tokens, times in ms, bytes and failed attempts."""
    entries: dict[str, Any] = {}
    if report.finish_reason is not None:
        entries["finish_reason"] = report.finish_reason
    if report.usage is not None:
        entries |= msgspec.to_builtins(report.usage)
        del entries["total_tokens"]  # because it is the sum of two others
    if report.first_event_s is not None:
        entries["first_event_ms"] = round(report.first_event_s * 1000)
        if report.answered_by != report.model:
            entries["answered_by"] = report.answered_by
    if report.steps > 1:
        entries["steps"] = report.steps
    if report.failed_attempts:
        entries["tried"] = report.failed_attempts
    return entries | {"total_ms": round(report.total_s * 1000), "upstream_bytes": report.upstream_bytes}
