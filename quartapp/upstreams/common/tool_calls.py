"""Tool calls from the fragments that servers stream. Servers repeat, omit or delay numbers, ids and names."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import ToolCall

MAX_CALLS = 128

# Arguments are parsed repeatedly to see whether a call is complete, up to so many characters in total. That takes at
# most a third of a second, which blocks the event loop.
MAX_LOOKED_AT_CHARS = 2**20


class Fragment(msgspec.Struct, frozen=True, gc=False):
    """The fields of one call in a chunk; `index` is the server's number. A missing field is None."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    is_custom: bool = False
    extra: dict[str, Any] | None = None

    @property
    def is_empty(self) -> bool:
        return self.id is None and self.name is None and self.arguments is None and not self.extra

    def is_read_as(self, call: ToolCall) -> bool:
        """Return whether clients that get the fragment unchanged read it as `call`."""
        return (
            call.index == self.index
            and call.arguments == self.arguments
            and call.id == self.id
            and call.name == self.name
            and (call.kind == "custom") == self.is_custom
            and call.extra == self.extra
        )


class _OpenCall:
    """One call. `id` is the server's; `held` contains the arguments that are still needed."""

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
    """The calls of one choice, numbered from 0 in the order of their beginnings.

    The first fragment of a call carries its id and name, and waits for the name. An id is generated if it is missing or
    belongs to another call. Raises ChatError, upstream_error, for more than MAX_CALLS calls, and for more than
    `max_held_chars` characters of held arguments.
    """

    def __init__(self, max_held_chars: int) -> None:
        self._calls: list[_OpenCall] = []
        self._by_index: dict[int, _OpenCall] = {}
        self._by_id: dict[str, _OpenCall | None] = {}  # None: several calls have that id
        self._room = max_held_chars
        self._look_chars_left = MAX_LOOKED_AT_CHARS

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, fragments: Sequence[Fragment]) -> Iterator[ToolCall]:
        """Yield the calls in the fragments of one chunk."""
        begun: set[_OpenCall] = set()
        for position, fragment in enumerate(fragments):
            if fragment.arguments is None and fragment.is_empty:
                continue
            numbered = self._numbered(fragment, None if len(fragments) == 1 else position)
            call = self._continued(fragment, numbered, begun) or self._begin(fragment)
            begun.add(call)
            yield from self._emit(call, fragment)

    def end(self) -> Iterator[ToolCall]:
        """Yield `{}` for each complete call without arguments, because clients decode these as JSON."""
        for call in self._calls:
            if call.lacks_json:
                call.lacks_json = False
                yield ToolCall(call.index, arguments="{}")

    def check_names(self) -> None:
        """Raise ChatError, upstream_error, for a call without a name, because no client can execute it."""
        if not all(call.name for call in self._calls):
            raise ChatError("upstream_error")

    def _numbered(self, fragment: Fragment, position: int | None) -> _OpenCall | None:
        """Return the call with the fragment's number.

        If a chunk has several fragments without numbers, their positions are the numbers. A single one continues the
        last call.
        """
        if fragment.index is not None:
            return self._by_index.get(fragment.index)
        if position is None:
            return self._last
        return self._calls[position] if position < len(self._calls) else None

    def _continued(self, fragment: Fragment, numbered: _OpenCall | None, begun: set[_OpenCall]) -> _OpenCall | None:
        """Return the call that `fragment` continues, or None for a new call; `begun` are calls of the same chunk."""
        has_new_index = fragment.index is not None and fragment.index not in self._by_index
        same_id = self._by_id.get(fragment.id or "")
        if fragment.name is None:
            is_new = has_new_index and fragment.id is not None
            return same_id or numbered or (None if is_new else self._last)
        if same_id is not None and not has_new_index:
            return same_id if same_id.name in (None, fragment.name) else None
        if numbered is None or numbered in begun or not self._may_be_named(numbered, fragment.name):
            return None
        return numbered if None in (fragment.id, numbered.id) else None

    def _may_be_named(self, call: _OpenCall, name: str) -> bool:
        """Return whether a fragment with `name` may belong to `call`.

        Servers repeat a name until the call is complete.
        """
        return call.name is None or (call.name == name and not self._is_complete(call))

    def _is_complete(self, call: _OpenCall) -> bool:
        """Return whether the arguments of `call` are a JSON object.

        Arguments are kept only for calls without an id, because only these need the check.
        """
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
    def _last(self) -> _OpenCall | None:
        return self._calls[-1] if self._calls else None

    def _begin(self, fragment: Fragment) -> _OpenCall:
        if len(self._calls) == MAX_CALLS:
            raise ChatError("upstream_error")
        is_own = fragment.id is not None and fragment.id not in self._by_id
        call = _OpenCall(len(self._calls), fragment.id if is_own else None)
        self._calls.append(call)
        if fragment.id is not None:
            self._by_id[fragment.id] = call if is_own else None
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        return call

    def _emit(self, call: _OpenCall, fragment: Fragment) -> Iterator[ToolCall]:
        is_emitted = call.name is not None
        call.lacks_json = call.lacks_json and not (fragment.arguments or fragment.is_custom)
        call.name, call.kind = call.name or fragment.name, "custom" if fragment.is_custom else call.kind
        if fragment.arguments and (not is_emitted or call.id is None):
            self._room -= len(fragment.arguments)
            if self._room < 0:
                raise ChatError("upstream_error")
            call.held.append(fragment.arguments)
            call.held_chars += len(fragment.arguments)
        if is_emitted and (fragment.arguments or fragment.extra):
            yield ToolCall(call.index, None, None, fragment.arguments, call.kind, fragment.extra)
            return
        call.extra |= fragment.extra or {}
        if not is_emitted and call.name is not None:
            id = call.id or f"call_{secrets.token_hex(12)}"
            yield ToolCall(call.index, id, call.name, "".join(call.held) or None, call.kind, call.extra or None)


def with_arguments(calls: Sequence[ToolCall], ended: Sequence[ToolCall]) -> list[ToolCall]:
    """Return `calls` with the arguments of `ended` in those that `ended` contains, and then the rest of `ended`."""
    by_index = {call.index: call for call in ended}
    begun = [
        msgspec.structs.replace(call, arguments=by_index.pop(call.index).arguments) if call.index in by_index else call
        for call in calls
    ]
    return [*begun, *by_index.values()]
