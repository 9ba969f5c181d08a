"""The encoder of text/event-stream: the records of NDJSON as server-sent events, also for an `EventSource`.

The first event has an id. At the end of an answer an `EventSource` reconnects with `Last-Event-ID`, and gets 204, which
stops it. Without an id it would repeat the request, and a second answer would be billed.
"""

from __future__ import annotations

from collections.abc import Sequence

from quartapp.core.events import Done, Event, Failed, Ping, Start
from quartapp.protocols.common.encoding import to_json

# A ping is no comment, because fetch-event-source and httpx-sse read a comment as an event without data. The name of
# the event keeps it from `onmessage`.
_HEADS = {
    Start: b"id: 0\nevent: start\ndata: ",
    Done: b"event: end\ndata: ",
    Failed: b"event: end\ndata: ",
    Ping: b"event: ping\ndata: ",
}


def encode(events: Sequence[Event]) -> bytes:
    """Encode each event as one server-sent event, named `start`, `ping` or `end`; the others reach `onmessage`.

    The JSON has no raw line ends, so that one record is always one `data` line.
    """
    return b"".join(map(_event, events))


def _event(event: Event) -> bytes:
    return _HEADS.get(type(event), b"data: ") + to_json(event) + b"\n\n"
