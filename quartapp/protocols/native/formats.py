"""The formats of `/api/stream`, one of which the `Accept` header selects: text, records in lines, records in events.

An event stream has the records of NDJSON as server-sent events, also for an `EventSource`. The first event has an id.
At the end of an answer an `EventSource` reconnects with `Last-Event-ID`, and gets 204, which stops it. Without an id it
would repeat the request, and a second answer would be billed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from quartapp.core.events import Delta, Done, Event, Failed, Ping, Refusal, Start
from quartapp.protocols.common.encoding import to_json, to_json_lines, to_utf8
from quartapp.protocols.common.format import Format

# A ping is no comment, because fetch-event-source and httpx-sse read a comment as an event without data. The name of
# the event keeps it from `onmessage`.
_HEADS: Final[Mapping[type, bytes]] = {
    Start: b"id: 0\nevent: start\ndata: ",
    Done: b"event: end\ndata: ",
    Failed: b"event: end\ndata: ",
    Ping: b"event: ping\ndata: ",
}


def encode_text(events: Sequence[Event]) -> bytes:
    """Encode the text of `events` alone; the result is empty if they have none.

    The format has no records. An answer that fails, or that has only images, is aborted. Reasoning, tool calls,
    citations, images and usage are not sent.
    """
    return to_utf8("".join([event.text for event in events if isinstance(event, (Delta, Refusal))]))


def encode_sse(events: Sequence[Event]) -> bytes:
    """Encode each event as one server-sent event, named `start`, `ping` or `end`; the others reach `onmessage`.

    The JSON has no raw line ends, so that one record is always one `data` line.
    """
    return b"".join([_HEADS.get(type(event), b"data: ") + to_json(event) + b"\n\n" for event in events])


TEXT: Final = Format("text/plain", lambda: encode_text, has_records=False)
NDJSON: Final = Format("application/x-ndjson", lambda: to_json_lines)
SSE: Final = Format("text/event-stream", lambda: encode_sse)

#: The formats that `Accept` can select. `*/*` selects the first.
ACCEPTED: Final[Mapping[str, Format]] = {each.media_type: each for each in (TEXT, NDJSON, SSE)}

#: The media type of a complete answer in one JSON object. It is no Format, because it is not streamed.
WHOLE: Final = "application/json"
