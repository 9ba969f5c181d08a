"""The output of a response: its items as pieces of an answer, each told once, however often its server says it.

A server says a text in deltas, then the whole part, the whole item, and the whole response once more; some leave out
all but one of these, and some say more in one than in those before. What is whole adds what was not told yet. Where it
is not what was told, or the rest would stand in the wrong place, the answer is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from quartapp.core.errors import ChatError
from quartapp.core.events import Annotation, Image, Piece, Reasoning, ToolCall
from quartapp.upstreams.chat_completions.attached import Attached, Picture
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.responses.calls import Calls
from quartapp.upstreams.responses.shapes import (
    PIECES,
    Call,
    Event,
    Item,
    Message,
    Part,
    Place,
    TextKind,
    TextPiece,
    Thinking,
)
from quartapp.upstreams.responses.texts import TextPart, Texts, Whole

_BETWEEN_PARTS: Final = "\n\n"


class Output:
    """What was told of one response, and the pieces of one read. Raises ChatError: upstream_error."""

    def __init__(self, origin: Origin | None = None) -> None:
        self.calls = Calls(self._tell_call, origin)
        self._pieces: list[Piece] = []
        self._attached = Attached()
        self._told = Texts()
        # Text that is no piece yet, what it is a piece of, and the part that was the last of each.
        self._texts: list[str] = []
        self._piece: TextPiece | None = None
        self._last: dict[TextPiece, TextPart] = {}
        self._streamed: TextPart | None = None
        self._streamed_at: tuple[object, ...] | None = None

    def take(self) -> list[Piece]:
        """The pieces since the last time; text that followed on text is one."""
        if self._texts:
            self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    def add(self, kind: TextKind, event: Event) -> None:
        """The next piece of a text. Runs for each token."""
        at = (kind, event.output_index, event.item_id, event.content_index, event.summary_index)
        if at != self._streamed_at or self._streamed is None:
            if event.delta == "":
                return
            self._streamed = self._told.streamed(kind, event.place, event.part)
            self._streamed_at = at
            self._turn_to(self._streamed)
        if event.delta is None:
            raise ChatError("upstream_error")
        self._texts.append(event.delta)
        self._streamed.said.write(event.delta)

    def annotate(self, annotation: object) -> None:
        """An annotation of the text that came last."""
        self._add_attached(self._attached.annotations(annotation))

    def end_part(self, kind: TextKind, place: Place, part: int | None, text: str | None) -> None:
        """A whole part: what is new in it."""
        if text:
            whole = Whole(kind, place, part, text)
            self._told.end_part(whole)
            self._tell_rest(whole)
            self._streamed = None

    def end_item(self, place: Place, item: Item) -> None:
        """A whole item: what is new in it."""
        if isinstance(item, Call):
            self.calls.end_call(place, item)
            return
        if isinstance(item, Thinking):
            self.calls.keep_thinking(item)
        wholes = list(self._wholes(place, item))
        for kind, same in _by_kind(wholes).items():
            self._told.end_item(kind, place, same)
        for whole in wholes:
            self._tell_rest(whole)
        self._streamed = None
        self._tell_attached(item)

    def end(self, items: Iterable[Item], *, is_complete: bool) -> None:
        """The whole output."""
        said = [(Place(number, item.id), item) for number, item in enumerate(items)]
        wholes = [[] if isinstance(item, Call) else list(self._wholes(place, item)) for place, item in said]
        for kind, same in _by_kind(whole for each in wholes for whole in each).items():
            self._told.end(kind, same)
        calls = self.calls.end_all((place, item) for place, item in said if isinstance(item, Call))
        for (_, item), texts in zip(said, wholes, strict=True):
            for whole in texts:
                self._tell_rest(whole)
            self._tell_attached(item)
            if isinstance(item, Thinking):
                self.calls.keep_thinking(item)
            if isinstance(item, Call):
                next(calls)
        self.calls.end(is_complete=is_complete)

    def _wholes(self, place: Place, item: Message | Thinking | Picture) -> Iterator[Whole]:
        """The parts of an item that say something."""
        parts = self._thoughts(item) if isinstance(item, Thinking) else map(_said, item.content or ())
        for number, (kind, text) in enumerate(parts):
            if text:
                yield Whole(kind, place, number, text)

    def _thoughts(self, item: Thinking) -> Iterator[tuple[TextKind, str | None]]:
        """What was thought, or a summary where nothing was told of what it sums up; where it alone was streamed, it
        stands for the rest."""
        is_thought, is_summed_up = self._told.has(TextKind.THOUGHT), self._told.has(TextKind.SUMMARY)
        if item.content and (is_thought or not is_summed_up):
            yield from ((TextKind.THOUGHT, part.text) for part in item.content)
        elif not is_thought:
            yield from ((TextKind.SUMMARY, part.text) for part in item.summary or ())

    def _tell_rest(self, whole: Whole) -> None:
        if not whole.rest:
            return
        if whole.part is not None and self._last[PIECES[whole.kind]] is not whole.part:
            raise ChatError("upstream_error")  # other text was told since
        part = whole.part or self._told.begin(whole)
        part.is_whole = True
        self._turn_to(part)
        self._texts.append(whole.rest)
        part.said.write(whole.rest)

    def _turn_to(self, part: TextPart) -> None:
        """What comes now is of that part; where one part of a model's thinking follows on another, they are apart."""
        piece = PIECES[part.kind]
        if piece is not self._piece:
            self._flush()
            self._piece = piece
        if piece is Reasoning and self._last.get(piece, part) is not part:
            self._texts.append(_BETWEEN_PARTS)
        self._last[piece] = part

    def _tell_attached(self, item: Item) -> None:
        if isinstance(item, Message):
            for part in item.content or ():
                self._add_attached(self._attached.annotations(part.annotations))
        elif isinstance(item, Picture):
            self._add_attached(self._attached.images(item.url))

    def _add_attached(self, attached: Iterable[Annotation | Image]) -> None:
        for piece in attached:
            self._flush()
            self._pieces.append(piece)

    def _tell_call(self, call: ToolCall) -> None:
        self._flush()
        self._pieces.append(call)

    def _flush(self) -> None:
        text = "".join(self._texts)
        if text and self._piece is not None:
            self._pieces.append(self._piece(text))
        self._texts.clear()


def _by_kind(wholes: Iterable[Whole]) -> dict[TextKind, list[Whole]]:
    kinds: dict[TextKind, list[Whole]] = {}
    for whole in wholes:
        kinds.setdefault(whole.kind, []).append(whole)
    return kinds


_OF_MESSAGES: Final = {
    "output_text": TextKind.ANSWER,
    "text": TextKind.ANSWER,
    "refusal": TextKind.REFUSAL,
    "reasoning_text": TextKind.THOUGHT,
}


def _said(part: Part) -> tuple[TextKind, str | None]:
    """What a part of a message is, and its text. Raises ChatError for a text that nobody knows what it is."""
    kind = _OF_MESSAGES.get(part.type)
    if kind is None and (part.text or part.refusal):
        raise ChatError("upstream_error")
    return kind or TextKind.ANSWER, part.refusal if kind is TextKind.REFUSAL else part.text
