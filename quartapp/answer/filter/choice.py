"""The events of one choice on their way through a filter: texts by kind, tool calls, and what belongs to the text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from msgspec.structs import replace

from quartapp.answer.filter.held_text import HeldText, TextFunction
from quartapp.answer.filter.values import filtered_content, filtered_json, filtered_value, passed_state
from quartapp.core.events import Annotation, Delta, Image, Piece, Reasoning, Refusal, Step, ToolCall, ToolResult
from quartapp.protocols.common.states import add_state, joined

_TEXTS: Final = (Delta, Reasoning, Refusal)
_ATTACHED: Final = (Annotation, Image)
_SOURCE: Final = ("url", "title", "file_id", "filename", "container_id")


class _KindText:
    """The text of one kind. `arrivals` are the numbers of the runs of pieces that wait, and their characters."""

    def __init__(self, kind: Any, function: TextFunction, window: int) -> None:
        self._kind = kind
        self._text = HeldText(function, window)
        self._arrivals: deque[list[int]] = deque()

    @property
    def first(self) -> int:
        """Return the number of the oldest run that waits, or 0."""
        return self._arrivals[0][0] if self._arrivals else 0

    @property
    def last(self) -> int:
        """Return the number of the newest run that waits, or 0."""
        return self._arrivals[-1][0] if self._arrivals else 0

    def add(self, text: str, arrival: int) -> list[Piece]:
        if self.last == arrival:
            self._arrivals[-1][1] += len(text)
        else:
            self._arrivals.append([arrival, len(text)])
        waiting = len(self._text) + len(text)
        output = self._text.add(text)
        self._forget(waiting - len(self._text))
        return [self._kind(output)] if output else []

    def flush(self) -> list[Piece]:
        self._arrivals.clear()
        output = self._text.flush()
        return [self._kind(output)] if output else []

    def _forget(self, chars: int) -> None:
        while chars and self._arrivals:
            taken = min(chars, self._arrivals[0][1])
            self._arrivals[0][1] -= taken
            chars -= taken
            if not self._arrivals[0][1]:
                self._arrivals.popleft()


class FilteredChoice:
    """The filter of one choice's events.

    Each kind of text is held separately. Before a text is sent, those of other kinds are sent that ended before it
    began. Sources and images follow the text that arrived before them. A tool call is sent complete, by `flush`.
    """

    def __init__(self, function: TextFunction, window: int) -> None:
        self._function = function
        self._window = window
        self._texts: dict[type, _KindText] = {}
        self._calls: dict[int, list[ToolCall]] = {}
        self._attached: deque[tuple[int, Piece]] = deque()
        self._call_chars = 0  # since the last text
        self._arrival = 0
        self._last_kind: type | None = None

    def add(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Return the events that can be sent after `pieces` have arrived. Raises the ChatError of the filter."""
        sent: list[Piece] = []
        for kind, run in groupby(pieces, type):
            group: list[Any] = list(run)
            if kind in _TEXTS:
                sent += self._add_text(kind, "".join([piece.text for piece in group]))
            elif kind is ToolCall:
                sent += self._add_calls(group)
            elif kind in _ATTACHED:
                self._begin(None)
                self._attached += [(self._arrival, self._filtered(piece)) for piece in group]
                sent += self._released()
            else:
                sent += [*self.flush(), *map(self._filtered, group)]
        return sent

    def flush(self) -> list[Piece]:
        """Return all that waits: texts, sources and images, tool calls."""
        sent = self._flush_texts()
        calls = [self._complete(fragments) for fragments in self._calls.values()]
        self._calls.clear()
        return sent + calls

    def _flush_texts(self) -> list[Piece]:
        texts = sorted(self._texts.values(), key=lambda text: text.first)
        sent = [piece for text in texts for piece in text.flush()]
        self._last_kind = None
        return [*sent, *self._released()]

    def _add_calls(self, fragments: Iterable[ToolCall]) -> list[Piece]:
        """Take fragments of calls. Once they are longer than the window, the texts before them have ended."""
        for fragment in fragments:
            self._calls.setdefault(fragment.index, []).append(fragment)
            self._call_chars += len(fragment.arguments or "")
        return self._flush_texts() if self._call_chars > self._window else []

    def _begin(self, kind: type | None) -> None:
        if kind is None or kind is not self._last_kind:
            self._arrival += 1
        self._last_kind = kind

    def _add_text(self, kind: type, text: str) -> list[Piece]:
        if not text:
            return []
        self._begin(kind)
        self._call_chars = 0
        own = self._texts.get(kind)
        if own is None:
            own = self._texts[kind] = _KindText(kind, self._function, self._window)
        began = own.first or self._arrival
        output = own.add(text, self._arrival)
        if not output:
            return []
        return [*self._ended_before(began), *output, *self._released()]

    def _ended_before(self, arrival: int) -> Iterator[Piece]:
        """Yield the texts of which all pieces arrived before `arrival`."""
        for text in sorted(self._texts.values(), key=lambda text: text.last):
            if text.last < arrival:
                yield from text.flush()

    def _released(self) -> Iterator[Piece]:
        """Yield the sources and images for which no text waits that arrived before them."""
        oldest = min((text.first for text in self._texts.values() if text.first), default=self._arrival + 1)
        while self._attached and self._attached[0][0] < oldest:
            yield self._attached.popleft()[1]

    def _filtered(self, piece: Any) -> Any:
        match piece:
            case Annotation():
                return replace(piece, **{name: self._optional(getattr(piece, name)) for name in _SOURCE})
            case Image(url):
                return Image(filtered_value(url, self._function))
            case ToolResult(content=content):
                return replace(piece, content=filtered_content(content, self._function))
            case Step(extra):
                return Step(passed_state(extra, self._function))
            case _:
                return piece

    def _optional(self, text: str | None) -> str | None:
        return None if text is None else self._function(text)

    def _complete(self, fragments: list[ToolCall]) -> ToolCall:
        """Return a call with its arguments and its state, filtered."""
        extra: dict[str, Any] = {}
        for fragment in fragments:
            add_state(extra, fragment.extra or {})
        arguments = "".join([fragment.arguments or "" for fragment in fragments])
        if arguments:
            is_text = fragments[0].kind == "custom"
            arguments = self._function(arguments) if is_text else filtered_json(arguments, self._function)
        return replace(
            fragments[0],
            id=next((each.id for each in fragments if each.id), None),
            name=next((each.name for each in fragments if each.name), None),
            arguments=arguments,
            extra=passed_state(joined(extra), self._function),
        )
