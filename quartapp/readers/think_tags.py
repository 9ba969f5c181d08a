"""Reasoning that a model writes into its text: `<think>…</think>`, with the tags cut anywhere."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Literal

from quartapp.events import Delta, Piece, Reasoning

ThinkTagMode = Literal["leading", "open", "none"]

_CLOSING: Final = "</think>"
# Gemini has a tag of its own.
_TAGS: Final = {"<think>": _CLOSING, "<thought>": "</thought>"}

# White space that is held back in case a block follows it; an answer that begins with more is text.
_MAX_SPACE_CHARS = 256


class _Place(Enum):
    START = auto()
    INSIDE = auto()
    TEXT = auto()


class ThinkTags:
    """Splits the text of one answer into reasoning and answer.

    `leading`: a block that opens the answer is reasoning, and a later tag is text. `open`: the answer begins inside a
    block, of which only the end comes. White space after either tag is dropped. What could be the beginning of a tag
    is held back until the next text, or `release`.
    """

    def __init__(self, mode: Literal["leading", "open"]) -> None:
        self._place = _Place.START if mode == "leading" else _Place.INSIDE
        self._skips_space = mode == "open"
        self._held = ""
        self._closing = _CLOSING

    @property
    def is_over(self) -> bool:
        """Whether all that may still come is text as it stands."""
        return self._place is _Place.TEXT and not self._skips_space

    def split(self, text: str) -> list[Piece]:
        """What `text` says, after what was held back before it."""
        text, self._held = self._held + text, ""
        pieces: list[Piece] = []
        if self._place is _Place.START:
            text = self._open(text)
        if self._place is _Place.INSIDE:
            thought, text = self._close(self._without_space(text))
            if thought:
                pieces.append(Reasoning(thought))
        if self._place is _Place.TEXT and (text := self._without_space(text)):
            pieces.append(Delta(text))
        return pieces

    def release(self) -> list[Piece]:
        """What is held back, which is no tag: something else follows it, or nothing."""
        held, self._held = self._held, ""
        if self._place is _Place.START:
            self._place = _Place.TEXT
        if not held:
            return []
        return [Reasoning(held) if self._place is _Place.INSIDE else Delta(held)]

    def _open(self, text: str) -> str:
        start = text.lstrip()
        if len(text) - len(start) <= _MAX_SPACE_CHARS:
            for opening, closing in _TAGS.items():
                if start.startswith(opening):
                    self._place, self._skips_space, self._closing = _Place.INSIDE, True, closing
                    return start[len(opening) :]
            if any(opening.startswith(start) for opening in _TAGS):
                self._held = text
                return ""
        self._place = _Place.TEXT
        return text

    def _close(self, text: str) -> tuple[str, str]:
        """The thought, and what follows the end of the block if it has come."""
        thought, tag, rest = text.partition(self._closing)
        if tag:
            self._place, self._skips_space = _Place.TEXT, True
            return thought, rest
        end = len(thought) - _overlap(thought, self._closing)
        self._held = thought[end:]
        return thought[:end], ""

    def _without_space(self, text: str) -> str:
        if self._skips_space:
            text = text.lstrip()
            self._skips_space = not text
        return text


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` the `tag` begins with."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
