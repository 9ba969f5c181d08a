"""The bounds of one answer."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """The bounds of one answer; the settings of the same names say more."""

    first_event_timeout_s: float
    idle_timeout_s: float
    answer_timeout_s: float
    write_timeout_s: float
    keep_alive_s: float
    max_buffered_bytes: int
    max_answer_bytes: int
    log_upstream_messages: bool = False
