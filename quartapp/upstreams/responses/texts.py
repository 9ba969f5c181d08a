"""The texts of a response, joined from their deltas and compared with the complete texts that its server sends later.

A text is one part of one item. Servers refer to an item by number, by id, by another id in each event, or not at all. A
complete text must begin with the joined deltas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from quartapp.core.errors import ChatError
from quartapp.upstreams.responses.shapes import PIECES, Name, Place

MAX_PARTS: Final = 2048

# A decoder writes this for half a character.
_HALF: Final = "\ufffd"


class JoinedText:
    """A text that was sent, with the names that its events had. After its end, a delta begins another text."""

    def __init__(self, kind: str, place: Place) -> None:
        self.kind = kind
        self.piece = PIECES[kind]
        self.number, self.id, self.part = place
        self.sent: list[str] = []
        self.has_ended = False
        self.has_item_ended = False

    def is_renamed(self, place: Place) -> bool:
        """Return whether it has another id."""
        return None not in (self.id, place.id) and self.id != place.id

    def is_in(self, place: Place) -> bool:
        """Return whether it is in the item at `place`. A missing name matches an item that has not ended."""
        if self.id is not None and self.id == place.id:
            return True
        if None in (self.number, place.number):
            return not self.has_item_ended and not self.is_renamed(place)
        return self.number == place.number and not (self.has_item_ended and self.is_renamed(place))

    def may_be(self, place: Place) -> bool:
        """Return whether it is the part at `place`. A missing number matches any part."""
        return (None in (self.part, place.part) or self.part == place.part) and self.is_in(place)


class CompleteText(msgspec.Struct):
    """A complete text from the server.

    `rest` is the text that was not sent. `begun` is the sent text that it continues, if there is one.
    """

    kind: str
    place: Place
    text: str
    rest: str = ""
    begun: JoinedText | None = None


class JoinedTexts:
    """The texts of one response. Raises ChatError, upstream_error, for more than MAX_PARTS."""

    def __init__(self) -> None:
        self.by_kind: dict[str, list[JoinedText]] = {kind: [] for kind in PIECES}
        # The last text with a name, for each part and for None; the name None is for all.
        self._last: dict[tuple[str, Name, int | None], JoinedText] = {}

    def streamed(self, kind: str, place: Place) -> JoinedText:
        """Return the text that a delta continues."""
        text = self._find(kind, place)
        if text is None or text.has_ended:
            return self.begin(kind, place)
        self._learn(text, place)
        return text

    def begin(self, kind: str, place: Place) -> JoinedText:
        """Return a new text."""
        if sum(map(len, self.by_kind.values())) == MAX_PARTS:
            raise ChatError("upstream_error")
        text = JoinedText(kind, place)
        self.by_kind[kind].append(text)
        self._learn(text, place)
        return text

    def end_part(self, complete: CompleteText) -> None:
        """Compare a complete part with the sent text."""
        place = complete.place
        text = self._find(complete.kind, place)
        if text is None:
            compare([], [complete])
            return
        is_named = not text.is_renamed(place) and place.part is not None and place.part == text.part
        if compare([text], [complete], is_named=is_named):
            text.has_ended = True
            self._learn(text, place)

    def end_item(self, kind: str, place: Place, complete: Sequence[CompleteText]) -> None:
        """Compare the complete texts of an item with the sent ones."""
        sent = [text for text in self.by_kind[kind] if text.is_in(place)]
        compare(sent, complete, is_named=not any(text.is_renamed(place) for text in sent))

    def close_item(self, place: Place) -> None:
        """Record that all texts of an item were sent."""
        for text in (text for texts in self.by_kind.values() for text in texts if text.is_in(place)):
            text.has_ended = text.has_item_ended = True

    def _find(self, kind: str, place: Place) -> JoinedText | None:
        keys = ((kind, name, part) for name in (place.id, place.number, None) for part in (place.part, None))
        found = (self._last[key] for key in keys if key in self._last)
        return next((text for text in found if text.may_be(place)), None)

    def _learn(self, text: JoinedText, place: Place) -> None:
        """Record the names that an event is the first to contain."""
        text.number = place.number if text.number is None else text.number
        text.id = text.id or place.id
        text.part = place.part if text.part is None else text.part
        for name in (text.id, text.number, None):
            self._last |= {(text.kind, name, part): text for part in (text.part, None)}


def compare(
    sent: Sequence[JoinedText], complete: Sequence[CompleteText], *, is_named: bool = True
) -> Sequence[JoinedText]:
    """Set the rests of complete texts of one kind: after the sent texts if they begin with these, or each by itself.

    Return `sent`, or no text if the complete texts are others: all of `sent` has ended differently, and no name shows
    that they are the same. Raises ChatError, upstream_error, if the complete texts contradict the sent ones.
    """
    whole = "".join([each.text for each in complete])
    rest = _text_rest(_joined(sent), whole)
    if rest is None and not is_named and all(text.has_ended for text in sent):
        sent, rest = [], whole
    if rest is None:
        _compare_each(sent, complete)
        return sent
    left = len(rest)
    for each in reversed(complete):
        size = min(left, len(each.text))
        each.rest = each.text[len(each.text) - size :]
        each.begun = sent[-1] if sent and 0 < size < len(each.text) else None
        left -= size
    return sent


def _compare_each(sent: Sequence[JoinedText], complete: Sequence[CompleteText]) -> None:
    """Set the rests of texts in another order than the sent ones, or with some of these missing."""
    unmatched: dict[str, list[JoinedText]] = {}
    for text in sent:
        unmatched.setdefault(_joined([text]), []).append(text)
    changed = [each for each in complete if not (unmatched.get(each.text) and unmatched[each.text].pop())]
    left = [text for texts in unmatched.values() for text in texts]
    is_new = False
    for each in changed:
        each.begun = next((text for text in left if text.part == each.place.part and text.is_in(each.place)), None)
        if each.begun is None:
            each.rest, is_new = each.text, True
            continue
        left.remove(each.begun)
        rest = _text_rest(_joined([each.begun]), each.text)
        if rest is None:
            raise ChatError("upstream_error")
        each.rest = rest
    if is_new and left:
        raise ChatError("upstream_error")  # a sent text differs, and cannot be matched by a name


def _joined(sent: Iterable[JoinedText]) -> str:
    return "".join(delta for text in sent for delta in text.sent)


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
