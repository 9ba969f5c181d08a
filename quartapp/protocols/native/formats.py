"""The formats of `/api/stream`, one of which the `Accept` header selects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from quartapp.protocols.common.format import Format
from quartapp.protocols.native import ndjson, sse, text

TEXT: Final = Format("text/plain", lambda: text.encode, has_records=False)
NDJSON: Final = Format("application/x-ndjson", lambda: ndjson.encode)
SSE: Final = Format("text/event-stream", lambda: sse.encode)

#: The formats that `Accept` can select. `*/*` selects the first.
ACCEPTED: Final[Mapping[str, Format]] = {each.media_type: each for each in (TEXT, NDJSON, SSE)}

#: The media type of a complete answer in one JSON object. It is no Format, because it is not streamed.
WHOLE: Final = "application/json"
