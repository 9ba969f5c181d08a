"""text/plain: the answer's text and nothing else.

It has no room for a record, so an answer that fails, or that is images alone, is broken off, and reasoning, tool calls,
citations, images and usage are not shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from quartapp.core.events import Delta, Event, Refusal
from quartapp.protocols.common.encoding import to_utf8


def encode(events: Sequence[Event]) -> bytes:
    """The text of `events`; empty if they hold none."""
    return to_utf8("".join([event.text for event in events if isinstance(event, (Delta, Refusal))]))
