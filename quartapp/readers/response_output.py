"""The output of a response: its items as pieces of an answer, each told once, however often its server says it.

A server says a text in deltas, then the whole part, the whole item, and the whole response once more; some leave out
all but one of these. What was told in deltas is not told again when it comes whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from quartapp.errors import ChatError
from quartapp.events import Delta, Piece, Reasoning, Refusal, ToolCall
from quartapp.readers.response_shapes import Call, Event, Item, Message, Name, Place, TextKind, Thinking

MAX_NAMES: Final = 2048
MAX_CALLS: Final = 128

_BETWEEN_PARTS: Final = "\n\n"


class _Told(msgspec.Struct):
    """What was told of a call."""

    index: int
    has_arguments: bool = False
    has_ended: bool = False


class Output:
    """What was told of one response, and the pieces of one read. Raises ChatError: upstream_error."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._texts: list[str] = []
        self._kind: TextKind | None = None
        self._streamed_at: tuple[object, ...] | None = None
        self._thought_at: tuple[Name, int | None] | None = None
        self._streamed: dict[TextKind, set[Name]] = {Delta: set(), Reasoning: set(), Refusal: set()}
        self._whole: set[tuple[TextKind, Name, int]] = set()
        self._calls: list[_Told] = []
        self._by_name: dict[Name, _Told] = {}
        self._unnamed: set[Place] = set()

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def take(self) -> list[Piece]:
        """The pieces since the last time; text that followed on text is one."""
        if self._texts:
            self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    # -- texts

    def add(self, kind: TextKind, event: Event) -> None:
        """The next piece of a text. Runs for each token."""
        at = (kind, event.output_index, event.item_id, event.summary_index)
        if at != self._streamed_at:
            if event.delta == "":
                return
            self._turn_to(kind, event.place.name, event.summary_index)
            self._note(kind, event.place)
            self._streamed_at = at
        if event.delta is None:
            raise ChatError("upstream_error")
        self._texts.append(event.delta)

    def add_whole(self, kind: TextKind, place: Place, part: int, text: str | None) -> None:
        """A whole part, unless it has been told."""
        at = (kind, place.id or place.number, part)
        if text and at not in self._whole and not self._was_streamed(kind, place):
            self._turn_to(kind, place.name, part)
            self._whole.add(at)
            self._check_room()
            self._texts.append(text)

    def _turn_to(self, kind: TextKind, name: Name, part: int | None) -> None:
        """What comes now is of that kind; where one part of a model's thinking follows on another, they are apart."""
        self._streamed_at = None
        if kind is not self._kind:
            self._flush()
            self._kind = kind
        if kind is Reasoning:
            if self._thought_at not in (None, (name, part)):
                self._texts.append(_BETWEEN_PARTS)
            self._thought_at = (name, part)

    def _note(self, kind: TextKind, place: Place) -> None:
        """That an item's text is streamed. There are servers that give an item another id in each event; then its
        number says enough."""
        names = self._streamed[kind]
        if place.number is None or place.number not in names:
            names |= set(place) - {None} or {None}
            self._check_room()

    def _was_streamed(self, kind: TextKind, place: Place) -> bool:
        """Whether some of an item's text was; one that has no name may be any."""
        names = self._streamed[kind]
        return bool(names) and (None in names or place.name is None or not names.isdisjoint(place))

    def _check_room(self) -> None:
        if len(self._whole) + sum(map(len, self._streamed.values())) > MAX_NAMES:
            raise ChatError("upstream_error")

    def _flush(self) -> None:
        text = "".join(self._texts)
        if text and self._kind is not None:
            self._pieces.append(self._kind(text))
        self._texts.clear()

    # -- calls

    def begin_call(self, place: Place, call: Call) -> None:
        """A call has begun. Its arguments come in pieces, or with its end; one without a name yet is waited for."""
        if call.name and self._find(call.call_id or call.id) is None:
            self._begin(place, call)

    def add_arguments(self, place: Place, arguments: str) -> None:
        """The next piece of a call's arguments."""
        call = self._call_at(place)
        if call is not None:
            self._tell_arguments(call, arguments)

    def end_arguments(self, place: Place, arguments: str) -> None:
        """All arguments of a call, unless some have been told."""
        call = self._call_at(place)
        if call is not None and not call.has_arguments:
            self._tell_arguments(call, arguments)

    def _call_at(self, place: Place) -> _Told | None:
        """The call that an event speaks of; None if it has not begun, and then its end will tell it whole."""
        call = self._find(place.id, place.number)
        if call is None and place.name is None and self._calls:
            return self._calls[-1]
        if call is None:
            self._unnamed.add(place)
            if len(self._unnamed) > MAX_CALLS:
                raise ChatError("upstream_error")
        return call

    def _find(self, *names: Name) -> _Told | None:
        return next((self._by_name[name] for name in names if name in self._by_name), None)

    def _begin(self, place: Place, call: Call) -> _Told:
        if not call.name or len(self._calls) == MAX_CALLS:
            raise ChatError("upstream_error")
        told = _Told(len(self._calls))
        self._calls.append(told)
        names = {*place, call.call_id} - {None, ""}
        self._by_name |= dict.fromkeys(names, told)
        self._unnamed = {place for place in self._unnamed if names.isdisjoint(place)}
        self._flush()
        id = call.call_id or call.id or f"call_{secrets.token_hex(12)}"
        self._pieces.append(ToolCall(told.index, id, call.name))
        return told

    def _tell_arguments(self, call: _Told, arguments: str) -> None:
        if arguments:
            call.has_arguments = True
            self._flush()
            self._pieces.append(ToolCall(call.index, arguments=arguments))

    # -- whole items

    def end_item(self, place: Place, item: Item) -> None:
        """A whole item: what is new in it."""
        if isinstance(item, Call):
            self._end_call(self._begun(place, item) or self._begin(place, item), item)
            return
        for number, (kind, text) in enumerate(_texts(item)):
            self.add_whole(kind, place, number, text)

    def _begun(self, place: Place, call: Call) -> _Told | None:
        """The call that ends; by its place where it has another id than before, unless that one has ended already."""
        told = self._find(call.call_id)
        if told is None:
            told = self._find(place.id, place.number)
            return None if told is None or told.has_ended else told
        return told

    def _end_call(self, told: _Told, call: Call) -> None:
        told.has_ended = True
        if not told.has_arguments:
            self._tell_arguments(told, call.arguments or call.input or "")

    def end(self, items: Iterable[Item]) -> None:
        """The whole output. Servers number its items anew, or name them so: by then a kind of text was told or it was
        not, and a call of an id that is not known is known by its number among them."""
        told = {kind for kind, names in self._streamed.items() if names} | {kind for kind, *_ in self._whole}
        calls = 0
        for number, item in enumerate(items):
            if isinstance(item, Call):
                begun = self._find(item.call_id) or (self._calls[calls] if calls < len(self._calls) else None)
                self._end_call(begun or self._begin(Place(number, item.id), item), item)
                calls += 1
                continue
            for part, (kind, text) in enumerate(_texts(item)):
                if kind not in told:
                    self.add_whole(kind, Place(number), part, text)
        if self._unnamed:
            raise ChatError("upstream_error")  # a call that nobody can make, as it has no name


def _texts(item: Message | Thinking) -> Iterator[tuple[TextKind, str | None]]:
    """The parts of an item; a summary only where there is nothing that it sums up."""
    if isinstance(item, Thinking):
        for part in item.content or item.summary or ():
            yield Reasoning, part.text
        return
    for part in item.content or ():
        if part.type == "refusal":
            yield Refusal, part.refusal
        elif part.type == "output_text":
            yield Delta, part.text
