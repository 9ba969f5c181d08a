"""The calls of a response: each begun once, by its name, and its arguments told once, however often they come."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from typing import Any, Final

from quartapp.core.errors import ChatError
from quartapp.core.events import ToolCall
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.responses.rests import arguments_rest
from quartapp.upstreams.responses.shapes import Call, Name, Place, Thinking

MAX_CALLS: Final = 128


class _Told:
    """What was told of a call; `opening` are arguments that came with its beginning, which few servers mean."""

    def __init__(self, index: int, kind: str | None, opening: str) -> None:
        self.index = index
        self.kind = kind
        self.opening = opening
        self.arguments = StringIO()
        self.has_ended = False


class Calls:
    """The calls of one response, told to `tell`. Raises ChatError: upstream_error."""

    def __init__(self, tell: Callable[[ToolCall], None], origin: Origin | None = None) -> None:
        self._tell = tell
        self._origin = origin or Origin()
        self._thinking: list[dict[str, Any]] = []  # what led to the next call
        self._kept: set[str | None] = set()
        self._calls: list[_Told] = []
        self._by_name: dict[Name, _Told] = {}
        self._early: dict[Place, StringIO] = {}  # arguments of calls that have not begun

    def __bool__(self) -> bool:
        return bool(self._calls)

    def keep_thinking(self, item: Thinking) -> None:
        """Keep an encrypted item, which the next request brings back before the call that it led to."""
        if item.item is not None and item.encrypted_content not in self._kept:
            self._kept.add(item.encrypted_content)
            self._thinking.append(item.item)

    def begin(self, place: Place, call: Call) -> None:
        """A call has begun. Its arguments come in pieces, or with its end; one without a name yet is waited for."""
        if self._find(call.call_id or call.id) is not None:
            return
        if call.name:
            self._begin(place, call)
        else:
            self._early_at(place)

    def add_arguments(self, place: Place, arguments: str) -> None:
        """The next piece of a call's arguments."""
        call = self._call_at(place)
        if call is None:
            self._early_at(place).write(arguments)
        else:
            self._tell_arguments(call, arguments)

    def end_arguments(self, place: Place, arguments: str) -> None:
        """All arguments of a call: what is new in them."""
        call = self._call_at(place)
        if call is not None:
            self._tell_rest(call, arguments)
        elif arguments:
            early = self._early_at(place)
            early.write(arguments_rest(early.getvalue(), arguments))

    def end_call(self, place: Place, call: Call) -> None:
        """A whole call; by its place where it has another id than before, unless that one has ended already."""
        told = self._find(call.call_id)
        if told is None:
            told = self._find(place.id, place.number)
            told = None if told is not None and told.has_ended else told
        self._end(told or self._begin(place, call), call)

    def end_all(self, calls: Iterable[tuple[Place, Call]]) -> Iterator[None]:
        """The calls of the whole output, one at a time. One of an id that is not known is the next that is not named
        there, or a new one."""
        ended = list(calls)
        known = [self._find(call.call_id) for _, call in ended]
        others = iter([told for told in self._calls if told not in known])
        for (place, call), told in zip(ended, known, strict=True):
            self._end(told or next(others, None) or self._begin(place, call), call)
            yield

    def end(self, *, is_complete: bool) -> None:
        """The response has ended. A complete call without arguments gets `{}`, because clients decode them as JSON."""
        for call in self._calls:
            if not call.arguments.tell():
                empty = "{}" if is_complete and call.kind is None else ""
                self._tell_arguments(call, call.opening or empty)
        if self._early:
            raise ChatError("upstream_error")  # a call that nobody can make, as it has no name

    def _call_at(self, place: Place) -> _Told | None:
        """The call that an event speaks of; None if it has not begun."""
        call = self._find(place.id, place.number)
        return self._calls[-1] if call is None and place.name is None and self._calls else call

    def _early_at(self, place: Place) -> StringIO:
        names = set(place) - {None}
        same = next((each for each in self._early if not names.isdisjoint(each)), place)
        early = self._early.setdefault(same, StringIO())
        if len(self._early) > MAX_CALLS:
            raise ChatError("upstream_error")
        return early

    def _find(self, *names: Name) -> _Told | None:
        return next((self._by_name[name] for name in names if name in self._by_name), None)

    def _begin(self, place: Place, call: Call) -> _Told:
        if not call.name or len(self._calls) == MAX_CALLS:
            raise ChatError("upstream_error")
        told = _Told(len(self._calls), call.kind, call.arguments or call.input or "")
        self._calls.append(told)
        names = {*place, call.call_id} - {None, ""}
        self._by_name |= dict.fromkeys(names, told)
        id = call.call_id or call.id or f"call_{secrets.token_hex(12)}"
        self._tell(ToolCall(told.index, id, call.name, None, told.kind, self._take_thinking()))
        for early in [each for each in self._early if each.name is None or not names.isdisjoint(each)]:
            self._tell_arguments(told, self._early.pop(early).getvalue())
        return told

    def _take_thinking(self) -> dict[str, Any] | None:
        items, self._thinking = self._thinking, []
        return self._origin.mark({"extra_content": {"openai": {"reasoning_items": items}}}) if items else None

    def _end(self, told: _Told, call: Call) -> None:
        told.has_ended = True
        self._tell_rest(told, call.arguments or call.input or "")

    def _tell_rest(self, call: _Told, arguments: str) -> None:
        if arguments:
            self._tell_arguments(call, arguments_rest(call.arguments.getvalue(), arguments))

    def _tell_arguments(self, call: _Told, arguments: str) -> None:
        if arguments:
            call.arguments.write(arguments)
            self._tell(ToolCall(call.index, arguments=arguments, kind=call.kind))
