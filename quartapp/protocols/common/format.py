"""A streamed wire format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from quartapp.core.events import Event

Encode = Callable[[Sequence[Event]], bytes]


class Format(NamedTuple):
    """A streamed wire format: its media type and its encoder.

    `encoder` makes the function that encodes one answer, from its first events to its last. If `has_records` is false,
    the format has no room for a ping or for a terminal record: there is no keep-alive, and a failed answer is aborted.
    """

    media_type: str
    encoder: Callable[[], Encode]
    has_records: bool = True
    headers: Mapping[str, str] = {}
