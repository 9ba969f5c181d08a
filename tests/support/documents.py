"""The code blocks of the documentation, each with the file that it is written to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_FILE = re.compile(r"`([\w./]+\.(?:py|html))`[^`]*:$")


class Block(NamedTuple):
    """A fenced block of a page, with the last line of text before it."""

    before: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """Return the name of the file that the text before the block names last, or None."""
        named = _FILE.search(self.before)
        return named and named[1]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of `page`. Raises AssertionError for one without a language or a blank line before it."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"([^\n]*)\n\n```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == text.count("\n```") / 2, page
    return [Block(*each) for each in found]
