"""text/plain: the answer's text and nothing else.

It has no room for a record, so an answer that fails is broken off, and reasoning, tool calls and usage are not shown.
"""

from __future__ import annotations

from collections.abc import Iterable

from quartapp.events import Delta, Event, Refusal


def encode(events: Iterable[Event]) -> bytes:
    """The text of `events` in UTF-8; empty if they hold none."""
    return "".join([event.text for event in events if isinstance(event, Delta | Refusal)]).encode()
