"""application/x-ndjson: one record of the wire contract a line."""

from __future__ import annotations

from collections.abc import Sequence

from quartapp.core.events import Event
from quartapp.protocols.common.encoding import to_json_lines


def encode(events: Sequence[Event]) -> bytes:
    """Each event as a JSON object and a newline."""
    return to_json_lines(events)
