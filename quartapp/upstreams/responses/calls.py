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
from quartapp.upstreams.responses.shapes import CallItem, CustomCallItem, Name, Place, ReasoningItem

MAX_CALLS: Final = 128


class StreamedCall:
    """A call with its arguments so far.

    Without an `index` it waits for its name. `opening` are arguments from its beginning, which few servers mean.
    """

    def __init__(self, index: int | None = None, kind: str | None = None, opening: str = "") -> None:
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
        self._before_text: int | None = None  # how many of them came before text; None: no text so far
        self._kept: set[str | None] = set()
        self._begun: list[StreamedCall] = []
        self._waiting: list[StreamedCall] = []
        self._by_name: dict[Name, StreamedCall] = {}  # None: the call of events without a name

    def __bool__(self) -> bool:
        return bool(self._begun)

    def keep_thinking(self, item: ReasoningItem) -> None:
        """Keep an encrypted item. The next request sends it back before the call that it led to."""
        if item.item is not None and item.encrypted_content not in self._kept:
            self._kept.add(item.encrypted_content)
            self._thinking.append(item.item)

    def begin_text(self) -> None:
        """Keep the place of the text among the reasoning items before the next call."""
        if self._before_text is None:
            self._before_text = len(self._thinking)

    def begin(self, place: Place, item: CallItem) -> None:
        """Begin a call, or wait for its name. Its arguments come in pieces, or with its end."""
        call = self._find(item.call_id or item.id)
        if call is not None and call.index is not None:
            return
        if item.name:
            self._begin(place, item)
        else:
            self._at(place)

    def add_arguments(self, place: Place, arguments: str) -> None:
        """Add the next piece of a call's arguments."""
        self._add(self._at(place), arguments)

    def end_arguments(self, place: Place, arguments: str) -> None:
        """Add the new part of a call's complete arguments."""
        if arguments:
            self._add_rest(self._at(place), arguments)

    def end_call(self, place: Place, item: CallItem, unnamed: Iterator[StreamedCall]) -> None:
        """Add the new part of a complete call: the one with its id, the next `unnamed` one, or a new one."""
        call = self._find(item.call_id) or next(unnamed, None)
        if call is None or call.index is None:
            call = self._begin(place, item)
        call.has_ended = True
        self._add_rest(call, item.arguments or item.input or "")

    def open_at(self, place: Place) -> Iterator[StreamedCall]:
        """Yield the call at a place, unless it has ended."""
        call = self._find(place.id, place.number)
        if call is not None and not call.has_ended:
            yield call

    def others(self, items: Iterable[CallItem]) -> Iterator[StreamedCall]:
        """Return the calls whose ids are not among those of the complete output."""
        named = [self._find(item.call_id) for item in items]
        return iter([call for call in self._begun if call not in named])

    def end(self, *, is_complete: bool) -> None:
        """End the response. A complete call without arguments gets `{}`, because clients decode arguments as JSON."""
        for call in self._begun:
            if not call.arguments.tell():
                empty = "{}" if is_complete and call.kind is None else ""
                self._add(call, call.opening or empty)
        if self._waiting:
            raise ChatError("upstream_error")  # a call without a name cannot be executed

    def _find(self, *names: Name) -> StreamedCall | None:
        return next((self._by_name[name] for name in names if name is not None and name in self._by_name), None)

    def _at(self, place: Place) -> StreamedCall:
        """Return the call that an event belongs to, which may not have begun."""
        names = {place.id, place.number} - {None} or {None}
        call = self._find(place.id, place.number) if names != {None} else self._by_name.get(None)
        if call is None:
            self._check_room()
            call = StreamedCall()
            self._waiting.append(call)
        if call.index is None:
            self._by_name |= dict.fromkeys(names, call)
        return call

    def _begin(self, place: Place, item: CallItem) -> StreamedCall:
        """Begin a call, with the arguments that came before it."""
        names = {item.call_id or None, place.id, place.number, None}
        early = [call for call in self._waiting if call in map(self._by_name.get, names)]
        self._waiting = [call for call in self._waiting if call not in early]
        self._by_name = {name: call for name, call in self._by_name.items() if call not in early}
        self._check_room()
        if not item.name:
            raise ChatError("upstream_error")
        kind = "custom" if isinstance(item, CustomCallItem) else None
        call = StreamedCall(len(self._begun), kind, item.arguments or item.input or "")
        self._begun.append(call)
        self._by_name |= dict.fromkeys(names, call)
        id = item.call_id or item.id or f"call_{secrets.token_hex(12)}"
        self._emit(ToolCall(len(self._begun) - 1, id, item.name, None, kind, self._take_thinking()))
        for each in early:
            self._add(call, each.arguments.getvalue())
        return call

    def _check_room(self) -> None:
        if len(self._begun) + len(self._waiting) >= MAX_CALLS:
            raise ChatError("upstream_error")

    def _take_thinking(self) -> dict[str, Any] | None:
        items, self._thinking = self._thinking, []
        count, self._before_text = self._before_text, 0  # all text of a turn is sent before its calls
        if not items:
            return None
        before_text = {"before_text": count} if count else {}
        return self._origin.mark({"extra_content": {"openai": {"reasoning_items": items, **before_text}}})

    def _add_rest(self, call: StreamedCall, arguments: str) -> None:
        if arguments:
            self._add(call, _arguments_rest(call.arguments.getvalue(), arguments))

    def _add(self, call: StreamedCall, arguments: str) -> None:
        if arguments:
            call.arguments.write(arguments)
            if call.index is not None:
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
