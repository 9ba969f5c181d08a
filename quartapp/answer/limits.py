"""The limits of one answer."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """The limits of one answer, with the values of the settings of the same names.

    Times are in seconds. If `log_upstream_messages` is true, the log contains the upstream's error messages.
    """

    first_event_timeout_s: float
    idle_timeout_s: float
    answer_timeout_s: float
    write_timeout_s: float
    keep_alive_s: float
    max_buffered_bytes: int
    max_answer_bytes: int
    log_upstream_messages: bool = False
