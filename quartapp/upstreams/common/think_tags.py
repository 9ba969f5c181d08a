"""Reasoning in `<think>` tags in the text of a model; reads may cut the tags anywhere."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Literal

from quartapp.core.events import Delta, Piece, Reasoning

ThinkTagMode = Literal["leading", "open", "none"]

_CLOSING: Final = "</think>"
# Gemini has a tag of its own.
_TAGS: Final = {"<think>": _CLOSING, "<thought>": "</thought>"}

# White space to hold back because a block may follow. An answer that begins with more is text.
_MAX_SPACE_CHARS = 256

# Bytes of a thought that are kept for comparison.
_MAX_THOUGHT_BYTES: Final = 2**20


class _TagPlace(Enum):
    START = auto()
    INSIDE = auto()
    TEXT = auto()


class ThinkTags:
    """A splitter of one answer's text into reasoning and answer.

    `leading`: a block at the start of the answer is reasoning, and a later tag is text. `open`: the answer starts
    inside a block, and only the closing tag comes. White space after either tag is dropped. A possible beginning of a
    tag is held back until the next text or `release`.
    """

    def __init__(self, mode: Literal["leading", "open"]) -> None:
        self._place = _TagPlace.START if mode == "leading" else _TagPlace.INSIDE
        self._skips_space = mode == "open"
        self._held = ""
        self._closing = _CLOSING
        self._thoughts = Thoughts()

    @property
    def is_over(self) -> bool:
        """Return whether all further text is answer text, unchanged."""
        return self._place is _TagPlace.TEXT and not self._skips_space

    def split(self, text: str, *, is_thought: bool = False) -> list[Piece]:
        """Return the pieces of the held back text and `text`; `is_thought` is the server's own mark."""
        text, self._held = self._held + text, ""
        pieces: list[Piece] = []
        if self._place is _TagPlace.START:
            text = self._open(text)
        if is_thought and self._place is _TagPlace.TEXT:
            return self._reasoning(text)
        if self._place is _TagPlace.INSIDE:
            thought, text = self._close(self._without_space(text))
            pieces += self._reasoning(thought)
        if self._place is _TagPlace.TEXT and (text := self._without_space(text)):
            pieces.append(Delta(text))
        return pieces

    def release(self) -> list[Piece]:
        """Return the text that is held back, because no tag can follow."""
        held, self._held = self._held, ""
        if self._place is _TagPlace.START:
            self._place = _TagPlace.TEXT
        if not held:
            return []
        return self._reasoning(held) if self._place is _TagPlace.INSIDE else [Delta(held)]

    def without_known(self, thought: str) -> str:
        """Return the new part of a thought in a field, because some servers send it in the text too."""
        return self._thoughts.add(thought, is_text=False)

    def _reasoning(self, thought: str) -> list[Piece]:
        thought = self._thoughts.add(thought, is_text=True) if thought else ""
        return [Reasoning(thought)] if thought else []

    def _open(self, text: str) -> str:
        start = text.lstrip()
        if len(text) - len(start) <= _MAX_SPACE_CHARS:
            for opening, closing in _TAGS.items():
                if start.startswith(opening):
                    self._place, self._skips_space, self._closing = _TagPlace.INSIDE, True, closing
                    return start[len(opening) :]
            if any(opening.startswith(start) for opening in _TAGS):
                self._held = text
                return ""
        self._place = _TagPlace.TEXT
        return text

    def _close(self, text: str) -> tuple[str, str]:
        """Return the thought, and the text after the block if the block has ended."""
        thought, tag, rest = text.partition(self._closing)
        if tag:
            self._place, self._skips_space = _TagPlace.TEXT, True
            return thought, rest
        end = len(thought) - _overlap(thought, self._closing)
        self._held = thought[end:]
        return thought[:end], ""

    def _without_space(self, text: str) -> str:
        if self._skips_space:
            text = text.lstrip()
            self._skips_space = not text
        return text


class Thoughts:
    """A comparison of a thought in the text with the same thought in a field."""

    def __init__(self) -> None:
        self._ahead = bytearray()
        self._compared = 0  # bytes at the start of `_ahead` that both sources have sent
        self._is_text = False  # whether the text is ahead
        self._differs = False

    def add(self, thought: str, *, is_text: bool) -> str:
        """Return the part of `thought` that the other source has not sent; all of it if the two differ."""
        if self._differs:
            return thought
        data = thought.encode()
        if self._ahead and self._is_text != is_text:
            return self._compare(data, is_text)
        self._is_text = is_text
        self._ahead += data
        self._differs = len(self._ahead) > _MAX_THOUGHT_BYTES
        return thought

    def _compare(self, data: bytes, is_text: bool) -> str:
        end = self._compared + len(data)
        if self._ahead.startswith(data[: len(self._ahead) - self._compared], self._compared):
            known = min(len(data), len(self._ahead) - self._compared)
            self._compared = end
            if end < len(self._ahead):
                return ""
            self._ahead[:] = data[known:]
            self._compared, self._is_text = 0, is_text
            return data[known:].decode()
        self._differs = True
        return (bytes(self._ahead[: self._compared]) + data).decode()


def _overlap(text: str, tag: str) -> int:
    """Return the number of characters at the end of `text` that begin `tag`."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
