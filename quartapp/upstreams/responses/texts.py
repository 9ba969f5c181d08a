"""The streamed texts of a response, compared with the complete texts that its server sends later.

A text is one part of one item. Servers refer to an item by number, by id, by another id in each event, or not at all. A
missing name matches any item, and without a match the latest item is meant. A complete text must begin with the
streamed text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Final

import msgspec

from quartapp.core.errors import ChatError
from quartapp.upstreams.responses.shapes import Place, TextKind

MAX_PARTS: Final = 2048

# A decoder writes this for half a character.
_HALF: Final = "\ufffd"


class StreamedItem:
    """An item with streamed text."""

    def __init__(self, place: Place) -> None:
        self.number, self.id = place
        self.parts: list[StreamedPart] = []
        self.by_index: dict[int | None, StreamedPart] = {}
        self.is_done = False

    def clashes(self, place: Place) -> bool:
        """Return whether it has a different id."""
        return None not in (self.id, place.id) and self.id != place.id

    def may_be(self, place: Place) -> bool:
        return not self.clashes(place) and (None in (self.number, place.number) or self.number == place.number)

    def part(self, index: int | None) -> StreamedPart | None:
        """Return the part of that number, or the last one if its number is unknown."""
        last = self.parts[-1] if self.parts else None
        if index is None or (index not in self.by_index and last is not None and last.index is None):
            return last
        return self.by_index.get(index)


class StreamedPart:
    """The streamed text of a part."""

    def __init__(self, kind: TextKind, item: StreamedItem, index: int | None) -> None:
        self.kind = kind
        self.item = item
        self.index = index
        self.buffer = StringIO()
        self.is_complete = False

    @property
    def text(self) -> str:
        return self.buffer.getvalue()


class CompletePart(msgspec.Struct):
    """A complete part from the server.

    `rest` is the text that was not streamed. `part` is the streamed part that it continues, if there is one.
    """

    kind: TextKind
    place: Place
    index: int | None
    text: str
    rest: str = ""
    item: StreamedItem | None = None
    part: StreamedPart | None = None


class StreamedTexts:
    """The streamed texts of one response. Raises ChatError, upstream_error, for a contradicting complete text."""

    def __init__(self) -> None:
        self._parts: dict[TextKind, list[StreamedPart]] = {kind: [] for kind in TextKind}
        self._items: dict[tuple[TextKind, int | str | None], StreamedItem] = {}
        self._last: dict[TextKind, StreamedItem] = {}
        self._size = 0

    def has(self, kind: TextKind) -> bool:
        return bool(self._parts[kind])

    def streamed(self, kind: TextKind, place: Place, index: int | None) -> StreamedPart:
        """Return the part that a delta continues. After the end of a part, a new one begins."""
        item = self._find(kind, place)
        part = None if item is None else item.part(index)
        if item is None or part is None or part.is_complete:
            is_other = item is None or item.is_done or (part is not None and item.clashes(place))
            return self.begin(CompletePart(kind, place, index, "", item=None if is_other else item))
        self._learn(part, place, index)
        return part

    def begin(self, complete: CompletePart) -> StreamedPart:
        """Return a new part."""
        self._size += 1
        if self._size > MAX_PARTS:
            raise ChatError("upstream_error")
        item = complete.item or StreamedItem(complete.place)
        part = StreamedPart(complete.kind, item, None)
        item.parts.append(part)
        self._learn(part, complete.place, complete.index)
        self._parts[complete.kind].append(part)
        self._last[complete.kind] = item
        # If two items have the same number or id, it refers to the later one from now on.
        self._items |= {(complete.kind, name): item for name in (item.number, item.id) if name is not None}
        return part

    def end_part(self, complete: CompletePart) -> None:
        """Set the rest of one part."""
        item = self._find(complete.kind, complete.place)
        part = None if item is None else item.part(complete.index)
        complete.rest, complete.item = complete.text, item
        if item is None or part is None:
            return
        rest = _text_rest(part.text, complete.text)
        if rest is not None:
            self._learn(part, complete.place, complete.index)
            part.is_complete = True
            complete.part, complete.rest = part, rest
        elif part.is_complete and item.clashes(complete.place):
            complete.item = None
        elif not part.is_complete or (complete.index is not None and complete.index == part.index):
            raise ChatError("upstream_error")

    def end_item(self, kind: TextKind, place: Place, complete_parts: Sequence[CompletePart]) -> None:
        """Set the rests of one item's parts of one kind."""
        item = self._find(kind, place)
        if item is not None and item.clashes(place) and not self._is_same(item, complete_parts):
            item = None
        item = item or StreamedItem(place)
        for complete in complete_parts:
            complete.item = item
        _compare(item.parts, complete_parts)
        item.is_done = True
        for part in item.parts:
            part.is_complete = True

    def end(self, kind: TextKind, complete_parts: Sequence[CompletePart]) -> None:
        """Set the rests of the complete output's parts of one kind. Servers may number its items differently."""
        for complete in complete_parts:
            complete.item = self._items.get((kind, complete.place.id)) if complete.place.id else None
        _compare(self._parts[kind], complete_parts)

    def _is_same(self, item: StreamedItem, complete_parts: Sequence[CompletePart]) -> bool:
        """Return whether `item` is the ending item, although its id differs.

        It is not if it has ended before with another text.
        """
        is_complete = all(part.is_complete for part in item.parts)
        return not is_complete or _text_rest(_joined(item.parts), _joined(complete_parts)) is not None

    def _find(self, kind: TextKind, place: Place) -> StreamedItem | None:
        item = self._items.get((kind, place.id)) if place.id else None
        if item is None and place.number is not None:
            item = self._items.get((kind, place.number))
            item = None if item is not None and item.is_done and item.clashes(place) else item
        if item is None:
            item = self._last.get(kind)
            item = None if item is None or item.is_done or not item.may_be(place) else item
        return item

    def _learn(self, part: StreamedPart, place: Place, index: int | None) -> None:
        """Record the names of a part that an event is the first to contain."""
        item = part.item
        for name, known in ((place.number, item.number), (place.id, item.id)):
            if known is None and name is not None:
                self._items[part.kind, name] = item
        item.number = place.number if item.number is None else item.number
        item.id = item.id or place.id
        part.index = index if part.index is None else part.index
        item.by_index[part.index] = part


def _joined(texts: Iterable[StreamedPart | CompletePart]) -> str:
    return "".join(each.text for each in texts)


def _compare(streamed: Sequence[StreamedPart], complete_parts: Sequence[CompletePart]) -> None:
    """Set the rests of `complete_parts`: after the streamed text if they begin with it, or else part by part."""
    rest = _text_rest(_joined(streamed), _joined(complete_parts))
    if rest is None:
        _compare_each(streamed, complete_parts)
        return
    left = len(rest)
    for complete in reversed(complete_parts):
        size = min(left, len(complete.text))
        complete.rest = complete.text[len(complete.text) - size :]
        complete.part = streamed[-1] if 0 < size < len(complete.text) and streamed else None
        left -= size


def _compare_each(streamed: Sequence[StreamedPart], complete_parts: Sequence[CompletePart]) -> None:
    """Set the rests of parts in another order than the streamed ones, or with some of these missing."""
    by_text: dict[str, list[StreamedPart]] = {}
    for part in streamed:
        by_text.setdefault(part.text, []).append(part)
    by_place = {(part.item, part.index): part for part in streamed}
    found, fresh = 0, False
    for complete in complete_parts:
        if by_text.get(complete.text):
            by_text[complete.text].pop()
            found += 1
        elif complete.item is not None and (complete.item, complete.index) in by_place:
            complete.part = by_place[complete.item, complete.index]
            rest = _text_rest(complete.part.text, complete.text)
            if rest is None:
                raise ChatError("upstream_error")
            complete.rest = rest
            found += 1
        else:
            complete.rest, fresh = complete.text, True
    if fresh and found < len(streamed):
        raise ChatError("upstream_error")  # a streamed text differs, and cannot be matched by a name


def _text_rest(sent: str, complete: str) -> str | None:
    """Return the end of `complete` that follows on `sent`, or None if `complete` begins differently.

    White space at both ends does not count, because some servers strip a complete text. A character that was cut in
    two may be complete now.
    """
    if complete.startswith(sent):
        return complete[len(sent) :]
    begun, stripped = sent.lstrip(), complete.lstrip()
    if stripped.startswith(begun):
        return stripped[len(begun) :]
    is_mended = _HALF in sent and len(complete) <= len(sent) <= 4 * len(complete)
    return "" if is_mended or begun.rstrip() == stripped.rstrip() else None
