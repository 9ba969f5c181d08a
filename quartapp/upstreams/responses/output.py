"""The output of a response as pieces of an answer. Each is emitted once, also if the server repeats it.

A server sends a text in deltas, then the complete part, the complete item and the complete response. Some servers omit
all but one of these, and some add text in a later one. A complete text adds the part that deltas did not contain. If it
contradicts them, or the new part would be in the wrong place, the answer is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from quartapp.core.errors import ChatError
from quartapp.core.events import Piece, Reasoning
from quartapp.upstreams.chat_completions.attached import AttachmentParser
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.responses.calls import StreamedCall, StreamedCalls
from quartapp.upstreams.responses.shapes import (
    DELTAS,
    PARTS,
    PIECES,
    SUMMARY,
    THOUGHT,
    CallItem,
    ImageItem,
    Item,
    ItemPart,
    MessageItem,
    Place,
    ReasoningItem,
    ResponseEvent,
    TextPiece,
    read_item,
)
from quartapp.upstreams.responses.texts import CompleteText, JoinedText, JoinedTexts, compare

_BETWEEN_PARTS: Final = "\n\n"

# The kinds of texts in the parts of a message. `text` is an older name of `output_text`.
_PART_KINDS: Final[Mapping[str, str]] = {
    "output_text": "output_text",
    "text": "output_text",
    "refusal": "refusal",
    THOUGHT: THOUGHT,
}


class ResponseOutput:
    """The output of one response so far, and the pieces of one read. Raises ChatError, upstream_error."""

    def __init__(self, origin: Origin | None = None) -> None:
        self.calls = StreamedCalls(self._emit, origin)
        self._pieces: list[Piece] = []
        self._attached = AttachmentParser()
        self._texts = JoinedTexts()
        # The current text, the names in its last event, and its deltas that are not in a piece yet.
        self._current: JoinedText | None = None
        self._current_at: tuple[object, ...] | None = None
        self._deltas: list[str] = []
        self._is_apart = False
        self._last: dict[TextPiece, JoinedText] = {}

    def take(self) -> list[Piece]:
        """Return the pieces since the last call."""
        if self._deltas:
            self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    def add(self, event: ResponseEvent) -> None:
        """Add the next delta of a text. It runs for each token."""
        at = (event.type, event.output_index, event.item_id, event.content_index, event.summary_index)
        if at != self._current_at:
            if event.delta == "":
                return
            self._turn_to(self._texts.streamed(DELTAS[event.type], event.place))
            self._current_at = at
        self._deltas.append(_given(event.delta))

    def add_arguments(self, event: ResponseEvent) -> None:
        """Add the next piece of a call's arguments."""
        self.calls.add_arguments(event.place, _given(event.delta))

    def annotate(self, event: ResponseEvent) -> None:
        """Add an annotation of the last text."""
        self._emit_all(self._attached.annotations(event.annotation))

    def begin_item(self, event: ResponseEvent) -> None:
        """Begin a call. Other items begin with their content."""
        item = read_item(event.item)
        if isinstance(item, CallItem):
            self.calls.begin(Place(event.output_index, item.id or None), item)

    def end_arguments(self, event: ResponseEvent) -> None:
        """Add the new part of a call's complete arguments."""
        self.calls.end_arguments(event.place, event.arguments or event.input or "")

    def end_part(self, event: ResponseEvent) -> None:
        """Add the new text of a complete part."""
        if text := event.text or event.refusal:
            self._close_run()
            complete = CompleteText(PARTS[event.type], event.place, text)
            self._texts.end_part(complete)
            self._emit_rest(complete)

    def end_item(self, event: ResponseEvent) -> None:
        """Add the new content of a complete item."""
        item = read_item(event.item)
        if item is None:
            return
        self._close_run()
        place = Place(event.output_index, item.id or None)
        complete = list(self._complete_texts(item, place))
        for kind in PIECES:
            self._texts.end_item(kind, place, [each for each in complete if each.kind == kind])
        self._emit_item(place, item, complete, self.calls.open_at(place))
        self._texts.close_item(place)

    def end(self, items: Sequence[Item], *, is_complete: bool) -> None:
        """Add the new content of the complete output. Servers may number its items differently."""
        self._close_run()
        texts = [list(self._complete_texts(item, Place(None, item.id or None))) for item in items]
        for kind, sent in self._texts.by_kind.items():
            compare(sent, [each for complete in texts for each in complete if each.kind == kind])
        others = self.calls.others(item for item in items if isinstance(item, CallItem))
        for number, (item, complete) in enumerate(zip(items, texts, strict=True)):
            self._emit_item(Place(number, item.id or None), item, complete, others)
        self.calls.end(is_complete=is_complete)

    def _complete_texts(self, item: Item, place: Place) -> Iterator[CompleteText]:
        """Yield the texts of an item that are not empty."""
        parts: Iterable[tuple[str, str | None]] = ()
        if isinstance(item, ReasoningItem):
            parts = self._thoughts(item)
        elif isinstance(item, MessageItem):
            parts = map(_kind_and_text, item.content or ())
        for number, (kind, text) in enumerate(parts):
            if text:
                yield CompleteText(kind, place._replace(part=number), text)

    def _thoughts(self, item: ReasoningItem) -> Iterator[tuple[str, str | None]]:
        """Yield the thoughts, or their summary if no thought was streamed.

        If only a summary was streamed, the summary is used, because the two have the same content.
        """
        sent = self._texts.by_kind
        if item.content and (sent[THOUGHT] or not sent[SUMMARY]):
            yield from ((THOUGHT, part.text) for part in item.content)
        elif not sent[THOUGHT]:
            yield from ((SUMMARY, part.text) for part in item.summary or ())

    def _emit_item(
        self, place: Place, item: Item, texts: Iterable[CompleteText], unnamed: Iterator[StreamedCall]
    ) -> None:
        for complete in texts:
            self._emit_rest(complete)
        match item:
            case MessageItem():
                for part in item.content or ():
                    self._emit_all(self._attached.annotations(part.annotations))
            case ImageItem():
                self._emit_all(self._attached.images(item.url))
            case ReasoningItem():
                self.calls.keep_thinking(item)
            case CallItem():
                self.calls.end_call(place, item, unnamed)

    def _emit_rest(self, complete: CompleteText) -> None:
        if not complete.rest:
            return
        text = complete.begun or self._texts.begin(complete.kind, complete.place)
        if complete.begun is not None and self._last[text.piece] is not text:
            raise ChatError("upstream_error")  # other text was emitted since
        text.has_ended = True
        self._turn_to(text)
        self._deltas.append(complete.rest)

    def _turn_to(self, text: JoinedText) -> None:
        """Make `text` the current one, apart from the text before it if both are reasoning."""
        if text is not self._current:
            self._flush()
            self._is_apart = text.piece is Reasoning and self._last.get(text.piece, text) is not text
            self._current = self._last[text.piece] = text
            if text.piece is not Reasoning:
                self.calls.begin_text()

    def _close_run(self) -> None:
        """Join the deltas so far, because a complete text is compared with them."""
        self._flush()
        self._current_at = None

    def _emit_all(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._emit(piece)

    def _emit(self, piece: Piece) -> None:
        self._flush()
        self._pieces.append(piece)

    def _flush(self) -> None:
        text = "".join(self._deltas)
        if text and self._current is not None:
            self._current.sent.append(text)
            self._pieces.append(self._current.piece(_BETWEEN_PARTS + text if self._is_apart else text))
            self._is_apart = False
        self._deltas.clear()


def _kind_and_text(part: ItemPart) -> tuple[str, str | None]:
    """Return the kind of a message part, and its text. Raises ChatError for text of an unknown kind."""
    kind = _PART_KINDS.get(part.type)
    if kind is None and (part.text or part.refusal):
        raise ChatError("upstream_error")
    return kind or "output_text", part.refusal if kind == "refusal" else part.text


def _given(delta: str | None) -> str:
    if delta is None:
        raise ChatError("upstream_error")
    return delta
