"""What was told of a response's texts, held against what its server says whole.

A text is one part of one item. Servers name the two by a number, by an id, by another id in each event, or not at all:
what is absent says nothing, and what came last is meant where nothing else is. What is whole has to begin as it was
told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Final

import msgspec

from quartapp.core.errors import ChatError
from quartapp.upstreams.responses.rests import text_rest
from quartapp.upstreams.responses.shapes import Place, TextKind

MAX_PARTS: Final = 2048


class TextItem:
    """An item of which a text was told."""

    def __init__(self, place: Place) -> None:
        self.number, self.id = place
        self.parts: list[TextPart] = []
        self.by_index: dict[int | None, TextPart] = {}
        self.is_done = False

    def clashes(self, place: Place) -> bool:
        """Whether it has another id."""
        return None not in (self.id, place.id) and self.id != place.id

    def may_be(self, place: Place) -> bool:
        return not self.clashes(place) and (None in (self.number, place.number) or self.number == place.number)

    def part(self, index: int | None) -> TextPart | None:
        """The part of that number, or the last one, if its number is not known."""
        last = self.parts[-1] if self.parts else None
        if index is None or (index not in self.by_index and last is not None and last.index is None):
            return last
        return self.by_index.get(index)


class TextPart:
    """A part of an item, as far as it was told."""

    def __init__(self, kind: TextKind, item: TextItem, index: int | None) -> None:
        self.kind = kind
        self.item = item
        self.index = index
        self.said = StringIO()
        self.is_whole = False

    @property
    def text(self) -> str:
        return self.said.getvalue()


class Whole(msgspec.Struct):
    """A part that its server says whole. `rest` is what was not told of it yet, which belongs to `part` if some was."""

    kind: TextKind
    place: Place
    index: int | None
    text: str
    rest: str = ""
    item: TextItem | None = None
    part: TextPart | None = None


class Texts:
    """The texts of one response that were told. Raises ChatError: upstream_error, for what was told otherwise."""

    def __init__(self) -> None:
        self._parts: dict[TextKind, list[TextPart]] = {kind: [] for kind in TextKind}
        self._items: dict[tuple[TextKind, int | str | None], TextItem] = {}
        self._last: dict[TextKind, TextItem] = {}
        self._size = 0

    def has(self, kind: TextKind) -> bool:
        return bool(self._parts[kind])

    def streamed(self, kind: TextKind, place: Place, index: int | None) -> TextPart:
        """The part that goes on with a piece; behind the end of one begins another."""
        item = self._find(kind, place)
        part = None if item is None else item.part(index)
        if item is None or part is None or part.is_whole:
            is_other = item is None or item.is_done or (part is not None and item.clashes(place))
            return self.begin(Whole(kind, place, index, "", item=None if is_other else item))
        self._learn(part, place, index)
        return part

    def begin(self, whole: Whole) -> TextPart:
        """A part of which nothing was told."""
        self._size += 1
        if self._size > MAX_PARTS:
            raise ChatError("upstream_error")
        item = whole.item or TextItem(whole.place)
        part = TextPart(whole.kind, item, None)
        item.parts.append(part)
        self._learn(part, whole.place, whole.index)
        self._parts[whole.kind].append(part)
        self._last[whole.kind] = item
        # A number or an id that comes again, as that of another item, is the later one's from now on.
        self._items |= {(whole.kind, name): item for name in (item.number, item.id) if name is not None}
        return part

    def end_part(self, whole: Whole) -> None:
        """Finds what is left of one part."""
        item = self._find(whole.kind, whole.place)
        part = None if item is None else item.part(whole.index)
        whole.rest, whole.item = whole.text, item
        if item is None or part is None:
            return
        rest = text_rest(part.text, whole.text)
        if rest is not None:
            self._learn(part, whole.place, whole.index)
            part.is_whole = True
            whole.part, whole.rest = part, rest
        elif part.is_whole and item.clashes(whole.place):
            whole.item = None
        elif not part.is_whole or (whole.index is not None and whole.index == part.index):
            raise ChatError("upstream_error")

    def end_item(self, kind: TextKind, place: Place, wholes: Sequence[Whole]) -> None:
        """Finds what is left of one item's parts, all of a kind."""
        item = self._find(kind, place)
        if item is not None and item.clashes(place) and not self._is_told(item, wholes):
            item = None
        item = item or TextItem(place)
        for whole in wholes:
            whole.item = item
        _compare(item.parts, wholes)
        item.is_done = True
        for part in item.parts:
            part.is_whole = True

    def end(self, kind: TextKind, wholes: Sequence[Whole]) -> None:
        """Finds what is left of the whole output, all of a kind. Servers number its items anew, or name them so."""
        for whole in wholes:
            whole.item = self._items.get((kind, whole.place.id)) if whole.place.id else None
        _compare(self._parts[kind], wholes)

    def _is_told(self, item: TextItem, wholes: Sequence[Whole]) -> bool:
        """Whether an item by another id is the one that ends: it is unless it has ended, and reads otherwise."""
        is_whole = all(part.is_whole for part in item.parts)
        return not is_whole or text_rest(_joined(item.parts), _joined(wholes)) is not None

    def _find(self, kind: TextKind, place: Place) -> TextItem | None:
        item = self._items.get((kind, place.id)) if place.id else None
        if item is None and place.number is not None:
            item = self._items.get((kind, place.number))
            item = None if item is not None and item.is_done and item.clashes(place) else item
        if item is None:
            item = self._last.get(kind)
            item = None if item is None or item.is_done or not item.may_be(place) else item
        return item

    def _learn(self, part: TextPart, place: Place, index: int | None) -> None:
        """What an event says of a part's names that no other has said."""
        item = part.item
        for name, known in ((place.number, item.number), (place.id, item.id)):
            if known is None and name is not None:
                self._items[part.kind, name] = item
        item.number = place.number if item.number is None else item.number
        item.id = item.id or place.id
        part.index = index if part.index is None else part.index
        item.by_index[part.index] = part


def _joined(texts: Iterable[TextPart | Whole]) -> str:
    return "".join(each.text for each in texts)


def _compare(told: Sequence[TextPart], wholes: Sequence[Whole]) -> None:
    """Finds what is left of the wholes: behind all that was told, if all begins so, or else of each."""
    rest = text_rest(_joined(told), _joined(wholes))
    if rest is None:
        _compare_each(told, wholes)
        return
    left = len(rest)
    for whole in reversed(wholes):
        size = min(left, len(whole.text))
        whole.rest = whole.text[len(whole.text) - size :]
        whole.part = told[-1] if 0 < size < len(whole.text) and told else None
        left -= size


def _compare_each(told: Sequence[TextPart], wholes: Sequence[Whole]) -> None:
    """Finds what is left of wholes that come in another order than they were told in, or without some of these."""
    by_text: dict[str, list[TextPart]] = {}
    for part in told:
        by_text.setdefault(part.text, []).append(part)
    by_place = {(part.item, part.index): part for part in told}
    found, fresh = 0, False
    for whole in wholes:
        if by_text.get(whole.text):
            by_text[whole.text].pop()
            found += 1
        elif whole.item is not None and (whole.item, whole.index) in by_place:
            whole.part = by_place[whole.item, whole.index]
            rest = text_rest(whole.part.text, whole.text)
            if rest is None:
                raise ChatError("upstream_error")
            whole.rest = rest
            found += 1
        else:
            whole.rest, fresh = whole.text, True
    if fresh and found < len(told):
        raise ChatError("upstream_error")  # a text that was told otherwise: by which name cannot be known
