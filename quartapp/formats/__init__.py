"""Events to bytes: one pure function a wire format, and the table of them.

Order inside this folder: text, ndjson, then this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from quartapp.events import Event
from quartapp.formats import ndjson, text


class Format(NamedTuple):
    """A wire format. `has_records` says that it has room for a ping and for the record that ends an answer;
    without it there is no keep-alive, and a failed answer can only be broken off."""

    media_type: str
    encode: Callable[[Sequence[Event]], bytes]
    has_records: bool = True


#: By media type; the first is what `Accept: */*` means.
FORMATS: Final[Mapping[str, Format]] = {
    format.media_type: format
    for format in (
        Format("text/plain", text.encode, has_records=False),
        Format("application/x-ndjson", ndjson.encode),
    )
}
