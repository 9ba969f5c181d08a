"""Reasoning that a model writes into its text: `<think>…</think>`, with the tags cut anywhere."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Literal

from quartapp.core.events import Delta, Piece, Reasoning

ThinkTagMode = Literal["leading", "open", "none"]

_CLOSING: Final = "</think>"
# Gemini has a tag of its own.
_TAGS: Final = {"<think>": _CLOSING, "<thought>": "</thought>"}

# White space that is held back in case a block follows it; an answer that begins with more is text.
_MAX_SPACE_CHARS = 256

# How much of a thought is kept to compare another with it.
_MAX_THOUGHT_BYTES: Final = 2**20


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
        self._thoughts = Thoughts()

    @property
    def is_over(self) -> bool:
        """Whether all that may still come is text as it stands."""
        return self._place is _Place.TEXT and not self._skips_space

    def split(self, text: str, *, is_thought: bool = False) -> list[Piece]:
        """What `text` says, after what was held back before it; `is_thought` if its server marks it as a thought."""
        text, self._held = self._held + text, ""
        pieces: list[Piece] = []
        if self._place is _Place.START:
            text = self._open(text)
        if is_thought and self._place is _Place.TEXT:
            return self._reasoning(text)
        if self._place is _Place.INSIDE:
            thought, text = self._close(self._without_space(text))
            pieces += self._reasoning(thought)
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
        return self._reasoning(held) if self._place is _Place.INSIDE else [Delta(held)]

    def without_known(self, thought: str) -> str:
        """Return what a thought in a field adds to those in the text; some servers send one thought as both."""
        return self._thoughts.add(thought, is_text=False)

    def _reasoning(self, thought: str) -> list[Piece]:
        thought = self._thoughts.add(thought, is_text=True) if thought else ""
        return [Reasoning(thought)] if thought else []

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


class Thoughts:
    """A thought that is both in the text and in a field: what one of the two has of it and the other does not yet."""

    def __init__(self) -> None:
        self._ahead = bytearray()
        self._compared = 0  # bytes at the start of `_ahead` that both have
        self._is_text = False  # whether the text is ahead
        self._differs = False

    def add(self, thought: str, *, is_text: bool) -> str:
        """Return the part of `thought` that the other one does not have; if it differs from the other's, all of it."""
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
    """How many characters at the end of `text` the `tag` begins with."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
