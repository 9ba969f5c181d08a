"""Tool calls as servers stream them, told apart: whatever they number and name twice, late or not at all."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import ToolCall

MAX_CALLS = 128

# Arguments are parsed again and again to see whether a call is whole, up to so many characters in all: a third of a
# second of the oddest JSON, during which nothing else is answered.
MAX_LOOKED_AT_CHARS = 2**20


class Fragment(msgspec.Struct, frozen=True, gc=False):
    """What a chunk says of one call, by its server's own number; what it does not say is None."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    is_custom: bool = False
    extra: dict[str, Any] | None = None

    @property
    def is_empty(self) -> bool:
        return self.id is None and self.name is None and self.arguments is None and not self.extra

    def is_told_by(self, call: ToolCall) -> bool:
        """Return whether clients that get the fragment unchanged take it for `call`."""
        return (
            call.index == self.index
            and call.arguments == self.arguments
            and call.id == self.id
            and call.name == self.name
            and (call.kind == "custom") == self.is_custom
            and call.extra == self.extra
        )


class _Call:
    """One call. `id` is its server's, and `held` its arguments as far as they are still needed."""

    def __init__(self, index: int, id: str | None) -> None:
        self.index = index
        self.id = id
        self.name: str | None = None
        self.kind: str | None = None
        self.extra: dict[str, Any] = {}
        self.held: list[str] = []
        self.held_chars = 0
        self.lacks_json = True


class ToolCalls:
    """The calls of one choice, numbered from 0 in the order in which they begin.

    An id and a name are told in a call's first fragment, which waits for the name; an id that is missing, or another
    call's, is made here. Raises ChatError: upstream_error, for more than MAX_CALLS calls, and where more than
    `max_held_chars` characters of arguments would have to be held.
    """

    def __init__(self, max_held_chars: int) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call | None] = {}  # None: several calls were given that id
        self._room = max_held_chars
        self._look_chars_left = MAX_LOOKED_AT_CHARS

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, fragments: Sequence[Fragment]) -> Iterator[ToolCall]:
        """What the fragments of one chunk tell."""
        begun: set[_Call] = set()
        for position, said in enumerate(fragments):
            if said.arguments is None and said.is_empty:
                continue
            numbered = self._numbered(said, None if len(fragments) == 1 else position)
            call = self._going_on(said, numbered, begun) or self._begin(said)
            begun.add(call)
            yield from self._tell(call, said)

    def end(self) -> Iterator[ToolCall]:
        """Yield `{}` for each complete call without arguments, because clients decode these as JSON."""
        for call in self._calls:
            if call.lacks_json:
                call.lacks_json = False
                yield ToolCall(call.index, arguments="{}")

    def check_names(self) -> None:
        """Raises ChatError: upstream_error, for a call that nobody can make, as it has no name."""
        if not all(call.name for call in self._calls):
            raise ChatError("upstream_error")

    def _numbered(self, said: Fragment, position: int | None) -> _Call | None:
        """The call of that number. Without one, several fragments of a chunk are numbered by their places, and a
        single one is the last call's."""
        if said.index is not None:
            return self._by_index.get(said.index)
        if position is None:
            return self._last
        return self._calls[position] if position < len(self._calls) else None

    def _going_on(self, said: Fragment, numbered: _Call | None, begun: set[_Call]) -> _Call | None:
        """The call that goes on with `said`, or None where one begins; `begun` are those that its chunk told of."""
        has_new_index = said.index is not None and said.index not in self._by_index
        same_id = self._by_id.get(said.id or "")
        if said.name is None:
            is_new = has_new_index and said.id is not None
            return same_id or numbered or (None if is_new else self._last)
        if same_id is not None and not has_new_index:
            return same_id if same_id.name in (None, said.name) else None
        if numbered is None or numbered in begun or not self._may_be_named(numbered, said.name):
            return None
        return numbered if None in (said.id, numbered.id) else None

    def _may_be_named(self, call: _Call, name: str) -> bool:
        """Whether a fragment with `name` may belong to `call`: servers repeat a name until the call is whole."""
        return call.name is None or (call.name == name and not self._is_whole(call))

    def _is_whole(self, call: _Call) -> bool:
        """Whether its arguments are a JSON object; known of calls without an id alone, where it counts."""
        if not call.held or not call.held[-1].rstrip().endswith("}"):
            return False
        self._look_chars_left -= call.held_chars
        if self._look_chars_left < 0:
            return False
        try:
            return isinstance(json.loads("".join(call.held)), dict)
        except (ValueError, RecursionError):
            return False

    @property
    def _last(self) -> _Call | None:
        return self._calls[-1] if self._calls else None

    def _begin(self, said: Fragment) -> _Call:
        if len(self._calls) == MAX_CALLS:
            raise ChatError("upstream_error")
        is_own = said.id is not None and said.id not in self._by_id
        call = _Call(len(self._calls), said.id if is_own else None)
        self._calls.append(call)
        if said.id is not None:
            self._by_id[said.id] = call if is_own else None
        if said.index is not None:
            self._by_index[said.index] = call
        return call

    def _tell(self, call: _Call, said: Fragment) -> Iterator[ToolCall]:
        is_told = call.name is not None
        call.lacks_json = call.lacks_json and not (said.arguments or said.is_custom)
        call.name, call.kind = call.name or said.name, "custom" if said.is_custom else call.kind
        if said.arguments and (not is_told or call.id is None):
            self._room -= len(said.arguments)
            if self._room < 0:
                raise ChatError("upstream_error")
            call.held.append(said.arguments)
            call.held_chars += len(said.arguments)
        if is_told and (said.arguments or said.extra):
            yield ToolCall(call.index, None, None, said.arguments, call.kind, said.extra)
            return
        call.extra |= said.extra or {}
        if not is_told and call.name is not None:
            id = call.id or f"call_{secrets.token_hex(12)}"
            yield ToolCall(call.index, id, call.name, "".join(call.held) or None, call.kind, call.extra or None)


def with_arguments(calls: Sequence[ToolCall], ended: Sequence[ToolCall]) -> list[ToolCall]:
    """Return `calls`, in which those of `ended` that begin there have their arguments, and the others of `ended`."""
    rests = {call.index: call for call in ended}
    begun = [
        msgspec.structs.replace(call, arguments=rests.pop(call.index).arguments) if call.index in rests else call
        for call in calls
    ]
    return [*begun, *rests.values()]
