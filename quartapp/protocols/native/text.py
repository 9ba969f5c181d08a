"""The encoder of text/plain: the text of the answer alone.

The format has no records. An answer that fails, or that has only images, is aborted. Reasoning, tool calls, citations,
images and usage are not sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from quartapp.core.events import Delta, Event, Refusal
from quartapp.protocols.common.encoding import to_utf8


def encode(events: Sequence[Event]) -> bytes:
    """Encode the text of `events`; the result is empty if they have none."""
    return to_utf8("".join([event.text for event in events if isinstance(event, (Delta, Refusal))]))
