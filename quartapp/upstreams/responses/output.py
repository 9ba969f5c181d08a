"""The output of a response as pieces of an answer. Each is emitted once, also if the server repeats it.

A server sends a text in deltas, then the complete part, the complete item and the complete response. Some servers omit
all but one of these, and some add text in a later one. A complete text adds the part that deltas did not contain. If it
contradicts them, or the new part would be in the wrong place, the answer is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from quartapp.core.errors import ChatError
from quartapp.core.events import Annotation, Image, Piece, Reasoning, ToolCall
from quartapp.upstreams.chat_completions.attached import AttachmentParser
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.responses.calls import StreamedCalls
from quartapp.upstreams.responses.shapes import (
    PIECES,
    CallItem,
    ImageItem,
    Item,
    ItemPart,
    MessageItem,
    Place,
    ReasoningItem,
    ResponseEvent,
    TextKind,
    TextPiece,
)
from quartapp.upstreams.responses.texts import CompletePart, StreamedPart, StreamedTexts

_BETWEEN_PARTS: Final = "\n\n"


class ResponseOutput:
    """The output of one response so far, and the pieces of one read. Raises ChatError, upstream_error."""

    def __init__(self, origin: Origin | None = None) -> None:
        self.calls = StreamedCalls(self._emit_call, origin)
        self._pieces: list[Piece] = []
        self._attached = AttachmentParser()
        self._streamed_texts = StreamedTexts()
        # Text that is not in a piece yet, the type of its piece, and the last part of each type.
        self._texts: list[str] = []
        self._piece: TextPiece | None = None
        self._last: dict[TextPiece, StreamedPart] = {}
        self._streamed: StreamedPart | None = None
        self._streamed_at: tuple[object, ...] | None = None

    def take(self) -> list[Piece]:
        """Return the pieces since the last call. Adjacent texts are one piece."""
        if self._texts:
            self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    def add(self, kind: TextKind, event: ResponseEvent) -> None:
        """Add the next delta of a text. It runs for each token."""
        at = (kind, event.output_index, event.item_id, event.content_index, event.summary_index)
        if at != self._streamed_at or self._streamed is None:
            if event.delta == "":
                return
            self._streamed = self._streamed_texts.streamed(kind, event.place, event.part)
            self._streamed_at = at
            self._turn_to(self._streamed)
        if event.delta is None:
            raise ChatError("upstream_error")
        self._texts.append(event.delta)
        self._streamed.buffer.write(event.delta)

    def annotate(self, annotation: object) -> None:
        """Add an annotation of the last text."""
        self._add_attached(self._attached.annotations(annotation))

    def end_part(self, kind: TextKind, place: Place, part: int | None, text: str | None) -> None:
        """Add the new text of a complete part."""
        if text:
            complete = CompletePart(kind, place, part, text)
            self._streamed_texts.end_part(complete)
            self._emit_rest(complete)
            self._streamed = None

    def end_item(self, place: Place, item: Item) -> None:
        """Add the new content of a complete item."""
        if isinstance(item, CallItem):
            self.calls.end_call(place, item)
            return
        if isinstance(item, ReasoningItem):
            self.calls.keep_thinking(item)
        complete_parts = list(self._complete_parts(place, item))
        for kind, same in _by_kind(complete_parts).items():
            self._streamed_texts.end_item(kind, place, same)
        for complete in complete_parts:
            self._emit_rest(complete)
        self._streamed = None
        self._emit_attached(item)

    def end(self, items: Iterable[Item], *, is_complete: bool) -> None:
        """Add the new content of the complete output."""
        pairs = [(Place(number, item.id), item) for number, item in enumerate(items)]
        parts = [[] if isinstance(item, CallItem) else list(self._complete_parts(place, item)) for place, item in pairs]
        for kind, same in _by_kind(complete for each in parts for complete in each).items():
            self._streamed_texts.end(kind, same)
        calls = self.calls.end_all((place, item) for place, item in pairs if isinstance(item, CallItem))
        for (_, item), texts in zip(pairs, parts, strict=True):
            for complete in texts:
                self._emit_rest(complete)
            self._emit_attached(item)
            if isinstance(item, ReasoningItem):
                self.calls.keep_thinking(item)
            if isinstance(item, CallItem):
                next(calls)
        self.calls.end(is_complete=is_complete)

    def _complete_parts(self, place: Place, item: MessageItem | ReasoningItem | ImageItem) -> Iterator[CompletePart]:
        """Yield the parts of an item that have text."""
        parts = self._thoughts(item) if isinstance(item, ReasoningItem) else map(_kind_and_text, item.content or ())
        for number, (kind, text) in enumerate(parts):
            if text:
                yield CompletePart(kind, place, number, text)

    def _thoughts(self, item: ReasoningItem) -> Iterator[tuple[TextKind, str | None]]:
        """Yield the thoughts, or their summary if no thought was streamed.

        If only a summary was streamed, the summary is used, because the two have the same content.
        """
        is_thought = self._streamed_texts.has(TextKind.THOUGHT)
        if item.content and (is_thought or not self._streamed_texts.has(TextKind.SUMMARY)):
            yield from ((TextKind.THOUGHT, part.text) for part in item.content)
        elif not is_thought:
            yield from ((TextKind.SUMMARY, part.text) for part in item.summary or ())

    def _emit_rest(self, complete: CompletePart) -> None:
        if not complete.rest:
            return
        if complete.part is not None and self._last[PIECES[complete.kind]] is not complete.part:
            raise ChatError("upstream_error")  # other text was emitted since
        part = complete.part or self._streamed_texts.begin(complete)
        part.is_complete = True
        self._turn_to(part)
        self._texts.append(complete.rest)
        part.buffer.write(complete.rest)

    def _turn_to(self, part: StreamedPart) -> None:
        """Make `part` the current part. Separate it from the part before it if both are reasoning."""
        piece = PIECES[part.kind]
        if piece is not self._piece:
            self._flush()
            self._piece = piece
        if piece is Reasoning and self._last.get(piece, part) is not part:
            self._texts.append(_BETWEEN_PARTS)
        self._last[piece] = part

    def _emit_attached(self, item: Item) -> None:
        if isinstance(item, MessageItem):
            for part in item.content or ():
                self._add_attached(self._attached.annotations(part.annotations))
        elif isinstance(item, ImageItem):
            self._add_attached(self._attached.images(item.url))

    def _add_attached(self, attached: Iterable[Annotation | Image]) -> None:
        for piece in attached:
            self._flush()
            self._pieces.append(piece)

    def _emit_call(self, call: ToolCall) -> None:
        self._flush()
        self._pieces.append(call)

    def _flush(self) -> None:
        text = "".join(self._texts)
        if text and self._piece is not None:
            self._pieces.append(self._piece(text))
        self._texts.clear()


def _by_kind(complete_parts: Iterable[CompletePart]) -> dict[TextKind, list[CompletePart]]:
    kinds: dict[TextKind, list[CompletePart]] = {}
    for complete in complete_parts:
        kinds.setdefault(complete.kind, []).append(complete)
    return kinds


_OF_MESSAGES: Final = {
    "output_text": TextKind.ANSWER,
    "text": TextKind.ANSWER,
    "refusal": TextKind.REFUSAL,
    "reasoning_text": TextKind.THOUGHT,
}


def _kind_and_text(part: ItemPart) -> tuple[TextKind, str | None]:
    """Return the kind of a message part, and its text. Raises ChatError for text of an unknown kind."""
    kind = _OF_MESSAGES.get(part.type)
    if kind is None and (part.text or part.refusal):
        raise ChatError("upstream_error")
    return kind or TextKind.ANSWER, part.refusal if kind is TextKind.REFUSAL else part.text
