"""application/x-ndjson: one record of the wire contract a line."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from quartapp.events import Event

_encoder = msgspec.json.Encoder()


def encode(events: Sequence[Event]) -> bytes:
    """Each event as a JSON object and a newline."""
    return _encoder.encode_lines(events)
