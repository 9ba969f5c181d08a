"""text/event-stream: the records of NDJSON as server-sent events, for an `EventSource` too.

The first event carries an id. An `EventSource` that has reached the end asks again, with `Last-Event-ID`, and is told
to stop; without an id it would ask for the whole answer again, and somebody would pay.
"""

from __future__ import annotations

from collections.abc import Sequence

from quartapp.core.events import Done, Event, Failed, Ping, Start
from quartapp.protocols.common.encoding import to_json

# A ping is an event and no comment: fetch-event-source and httpx-sse make an event without data of the blank line after
# a comment. Its name keeps it from `onmessage`.
_HEADS = {
    Start: b"id: 0\nevent: start\ndata: ",
    Done: b"event: end\ndata: ",
    Failed: b"event: end\ndata: ",
    Ping: b"event: ping\ndata: ",
}


def encode(events: Sequence[Event]) -> bytes:
    """One event each: `start` first, `end` last, `ping` by name, the others without one, so that `onmessage` sees them.

    JSON as it is encoded here has no raw line end, so that one `data` line is one record, whatever a model says.
    """
    return b"".join(map(_event, events))


def _event(event: Event) -> bytes:
    return _HEADS.get(type(event), b"data: ") + to_json(event) + b"\n\n"
