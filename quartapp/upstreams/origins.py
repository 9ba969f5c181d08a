"""The origin of an answer's state: the server that attached it, and the models that may receive it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, get_args
from urllib.parse import urlsplit

import msgspec

from quartapp.upstreams.common.history import Field, ReturnedState
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.entry import Entry
from quartapp.upstreams.kinds import OPENAI_URL

# These servers refuse a tool call in the history without the reasoning that led to it.
_WANT_THOUGHTS: Final = frozenset({"api.deepseek.com", "api.moonshot.ai", "api.moonshot.cn"})

_STATE: Final = frozenset(get_args(Field)) - {"reasoning_content", "reasoning"}


class Origins:
    """The servers of a table of models."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._ids = {_id(entry) for entry in entries if entry.upstream.attaches_state(entry.base_url)}

    def returned(self, entry: Entry, *, max_chars: int) -> ReturnedState:
        """Return the rules for state that goes back to the server of `entry`."""
        id = _id(entry)
        origin = Origin(id, is_only=self._ids <= {id})
        return ReturnedState(origin, _names(entry, origin), max_chars)


def _names(entry: Entry, origin: Origin) -> frozenset[str]:
    if entry.returns is not None:
        return frozenset(entry.returns)
    names = _STATE if origin.is_only and entry.upstream.attaches_state(entry.base_url) else frozenset()
    wants_thoughts = urlsplit(entry.base_url or "").hostname in _WANT_THOUGHTS
    return names | {"reasoning_content"} if wants_thoughts else names


def _id(entry: Entry) -> str:
    """Return eight hexadecimal digits that identify a server by its address, the name of its key and its headers."""
    named = [entry.base_url or OPENAI_URL, entry.env_name, sorted(entry.headers.items())]
    return hashlib.sha256(msgspec.json.encode(named)).hexdigest()[:8]
