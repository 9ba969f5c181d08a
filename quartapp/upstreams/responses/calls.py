"""The calls of a response. Each is emitted once, and so are its arguments, also if the server repeats them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from typing import Any, Final

from quartapp.core.errors import ChatError
from quartapp.core.events import ToolCall
from quartapp.upstreams.common.lenient_json import parse
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.responses.shapes import CallItem, Name, Place, ReasoningItem

MAX_CALLS: Final = 128


class _StreamedCall:
    """The state of a call that has begun; `opening` are arguments from its beginning, which few servers mean."""

    def __init__(self, index: int, kind: str | None, opening: str) -> None:
        self.index = index
        self.kind = kind
        self.opening = opening
        self.arguments = StringIO()
        self.has_ended = False


class StreamedCalls:
    """The calls of one response, passed to `emit`. Raises ChatError, upstream_error."""

    def __init__(self, emit: Callable[[ToolCall], None], origin: Origin | None = None) -> None:
        self._emit = emit
        self._origin = origin or Origin()
        self._thinking: list[dict[str, Any]] = []  # reasoning items before the next call
        self._kept: set[str | None] = set()
        self._calls: list[_StreamedCall] = []
        self._by_name: dict[Name, _StreamedCall] = {}
        self._early: dict[Place, StringIO] = {}  # arguments that came before their call

    def __bool__(self) -> bool:
        return bool(self._calls)

    def keep_thinking(self, item: ReasoningItem) -> None:
        """Keep an encrypted item. The next request sends it back before the call that it led to."""
        if item.item is not None and item.encrypted_content not in self._kept:
            self._kept.add(item.encrypted_content)
            self._thinking.append(item.item)

    def begin(self, place: Place, call: CallItem) -> None:
        """Begin a call, or wait for its name. Its arguments come in pieces, or with its end."""
        if self._find(call.call_id or call.id) is not None:
            return
        if call.name:
            self._begin(place, call)
        else:
            self._early_at(place)

    def add_arguments(self, place: Place, arguments: str) -> None:
        """Add the next piece of a call's arguments."""
        call = self._call_at(place)
        if call is None:
            self._early_at(place).write(arguments)
        else:
            self._emit_arguments(call, arguments)

    def end_arguments(self, place: Place, arguments: str) -> None:
        """Add the new part of a call's complete arguments."""
        call = self._call_at(place)
        if call is not None:
            self._emit_rest(call, arguments)
        elif arguments:
            early = self._early_at(place)
            early.write(_arguments_rest(early.getvalue(), arguments))

    def end_call(self, place: Place, call: CallItem) -> None:
        """Add the new part of a complete call.

        If its id is new, it is the call at its place, unless that one has ended already.
        """
        streamed = self._find(call.call_id)
        if streamed is None:
            streamed = self._find(place.id, place.number)
            streamed = None if streamed is not None and streamed.has_ended else streamed
        self._end(streamed or self._begin(place, call), call)

    def end_all(self, calls: Iterable[tuple[Place, CallItem]]) -> Iterator[None]:
        """Add the new parts of the calls of the complete output, one for each step of the iterator.

        A call with an unknown id is the next call that the output does not name, or a new one.
        """
        ended = list(calls)
        known = [self._find(call.call_id) for _, call in ended]
        others = iter([streamed for streamed in self._calls if streamed not in known])
        for (place, call), streamed in zip(ended, known, strict=True):
            self._end(streamed or next(others, None) or self._begin(place, call), call)
            yield

    def end(self, *, is_complete: bool) -> None:
        """End the response. A complete call without arguments gets `{}`, because clients decode arguments as JSON."""
        for call in self._calls:
            if not call.arguments.tell():
                empty = "{}" if is_complete and call.kind is None else ""
                self._emit_arguments(call, call.opening or empty)
        if self._early:
            raise ChatError("upstream_error")  # a call without a name cannot be executed

    def _call_at(self, place: Place) -> _StreamedCall | None:
        """Return the call that an event belongs to; None if it has not begun."""
        call = self._find(place.id, place.number)
        return self._calls[-1] if call is None and place.name is None and self._calls else call

    def _early_at(self, place: Place) -> StringIO:
        names = set(place) - {None}
        same = next((each for each in self._early if not names.isdisjoint(each)), place)
        early = self._early.setdefault(same, StringIO())
        if len(self._early) > MAX_CALLS:
            raise ChatError("upstream_error")
        return early

    def _find(self, *names: Name) -> _StreamedCall | None:
        return next((self._by_name[name] for name in names if name in self._by_name), None)

    def _begin(self, place: Place, call: CallItem) -> _StreamedCall:
        if not call.name or len(self._calls) == MAX_CALLS:
            raise ChatError("upstream_error")
        streamed = _StreamedCall(len(self._calls), call.kind, call.arguments or call.input or "")
        self._calls.append(streamed)
        names = {*place, call.call_id} - {None, ""}
        self._by_name |= dict.fromkeys(names, streamed)
        id = call.call_id or call.id or f"call_{secrets.token_hex(12)}"
        self._emit(ToolCall(streamed.index, id, call.name, None, streamed.kind, self._take_thinking()))
        for early in [each for each in self._early if each.name is None or not names.isdisjoint(each)]:
            self._emit_arguments(streamed, self._early.pop(early).getvalue())
        return streamed

    def _take_thinking(self) -> dict[str, Any] | None:
        items, self._thinking = self._thinking, []
        return self._origin.mark({"extra_content": {"openai": {"reasoning_items": items}}}) if items else None

    def _end(self, streamed: _StreamedCall, call: CallItem) -> None:
        streamed.has_ended = True
        self._emit_rest(streamed, call.arguments or call.input or "")

    def _emit_rest(self, call: _StreamedCall, arguments: str) -> None:
        if arguments:
            self._emit_arguments(call, _arguments_rest(call.arguments.getvalue(), arguments))

    def _emit_arguments(self, call: _StreamedCall, arguments: str) -> None:
        if arguments:
            call.arguments.write(arguments)
            self._emit(ToolCall(call.index, arguments=arguments, kind=call.kind))


def _arguments_rest(sent: str, complete: str) -> str:
    """Return the end of a call's arguments that follows on `sent`; empty if they are the same JSON value.

    Raises ChatError, upstream_error, for another value.
    """
    if complete.startswith(sent):
        return complete[len(sent) :]
    try:
        is_same = bool(parse(sent.encode()) == parse(complete.encode()))
    except (ValueError, RecursionError):
        is_same = False
    if not is_same:
        raise ChatError("upstream_error")
    return ""
