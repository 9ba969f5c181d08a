"""A parser of one response's body."""

from __future__ import annotations

from typing import Protocol

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch


class Parser(Protocol):
    """A parser of one body: bytes in, batches of events out. An `error`, once set, is final."""

    @property
    def error(self) -> ChatError | None: ...

    def feed(self, data: bytes) -> Batch: ...

    def end(self) -> Batch:
        """Return what is left once the body has ended."""
        ...
