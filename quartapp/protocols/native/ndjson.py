"""The encoder of application/x-ndjson: one record a line."""

from __future__ import annotations

from collections.abc import Sequence

from quartapp.core.events import Event
from quartapp.protocols.common.encoding import to_json_lines


def encode(events: Sequence[Event]) -> bytes:
    """Encode each event as a JSON object and a newline."""
    return to_json_lines(events)
