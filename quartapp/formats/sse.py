"""text/event-stream: the records of NDJSON as server-sent events, for an `EventSource` too.

The first event carries an id. An `EventSource` that has reached the end asks again, with `Last-Event-ID`, and is told
to stop; without an id it would ask for the whole answer again, and somebody would pay.
"""

from __future__ import annotations

from collections.abc import Sequence

from quartapp.events import Done, Event, Failed, Ping, Start
from quartapp.formats.encoding import to_json

#: A line that every reader of an event stream passes over.
COMMENT = b": ping\n\n"

_HEADS = {
    Start: b"id: 0\nevent: start\ndata: ",
    Done: b"event: end\ndata: ",
    Failed: b"event: end\ndata: ",
}


def encode(events: Sequence[Event]) -> bytes:
    """One event each: `start` first, `end` last, those between without a name, so that `onmessage` sees them.

    JSON as it is encoded here has no raw line end, so that one `data` line is one record, whatever a model says.
    """
    return b"".join(map(_event, events))


def _event(event: Event) -> bytes:
    if type(event) is Ping:
        return COMMENT
    return _HEADS.get(type(event), b"data: ") + to_json(event) + b"\n\n"
