"""Events to bytes: one small module a wire format, and the table of those that `Accept` chooses from.

Order inside this folder: encoding, states, text, ndjson, sse, whole, offer, openai, ai_sdk, then this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from quartapp.events import Event
from quartapp.formats import ai_sdk, ndjson, sse, text

Encode = Callable[[Sequence[Event]], bytes]


class Format(NamedTuple):
    """A streamed wire format. `encoder` makes what encodes one answer, from its first events to its last.

    `has_records` says that there is room for a ping and for the record that ends an answer; without it there is no
    keep-alive, and a failed answer can only be broken off.
    """

    media_type: str
    encoder: Callable[[], Encode]
    has_records: bool = True
    headers: Mapping[str, str] = {}


TEXT: Final = Format("text/plain", lambda: text.encode, has_records=False)
NDJSON: Final = Format("application/x-ndjson", lambda: ndjson.encode)
SSE: Final = Format("text/event-stream", lambda: sse.encode)
AI_SDK: Final = Format("text/event-stream", lambda: ai_sdk.Parts().encode, headers=ai_sdk.HEADERS)

#: What `Accept` chooses from; the first is what it means by `*/*`.
ACCEPTED: Final[Mapping[str, Format]] = {each.media_type: each for each in (TEXT, NDJSON, SSE)}

#: A whole answer in one JSON object: no stream, and so no Format.
WHOLE: Final = "application/json"
