"""One text on its way through a filter, held back so that no match is sent in part."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

from quartapp.core.errors import ChatError

#: Replaces a text. The same text always has the same replacement.
TextFunction = Callable[[str], str]


#: The longest context of a text that continues, in windows: one for the context, two for the text that waited.
MAX_CONTEXT_WINDOWS: Final = 3


class HeldText:
    """A text that arrives in pieces. At least its last `window` characters wait, and at most twice as many.

    If each match of `function` has at most `window` characters, the results together are `function` of the complete
    text. A text that continues after `flush` is filtered with the end of the text before it as context: at least
    `window` characters.

    >>> text = HeldText(lambda text: text.replace("secret", "***"), 6)
    >>> [text.add("my sec"), text.add("ret is out"), text.flush()]
    ['', 'my *** ', 'is out']
    """

    __slots__ = ("_context", "_context_output", "_function", "_held", "_window")

    def __init__(self, function: TextFunction, window: int) -> None:
        self._function = function
        self._window = window
        self._held = ""
        self._context = ""  # sent before, but needed to find a match that began in it
        self._context_output: str | None = None

    def __len__(self) -> int:
        """Return the number of characters that wait."""
        return len(self._held)

    def add(self, text: str) -> str:
        """Return the text that can be sent after `text` has arrived. Raises the ChatError of the function."""
        self._held += text
        if len(self._held) <= self._window:
            return ""
        raw = self._with_context()
        output = self._function(raw)
        sent = self._sent_chars(output)
        first = len(self._context)
        cut, end = self._clean_cut(raw, output, sent, first)
        if cut == first:
            if len(self._held) <= 2 * self._window:
                return ""
            cut, end = self._clean_cut(raw, output, sent, first, is_exact=True)
        if cut == first:
            cut = len(raw) - self._window  # inside a match that is longer than the window
            output = self._function(raw[:cut])
            sent, end = self._sent_chars(output), len(output)
        self._held, self._context, self._context_output = raw[cut:], "", None
        return output[sent:end]

    def flush(self) -> str:
        """Return the text that waits, filtered. Raises the ChatError of the function."""
        if not self._held:
            return ""
        raw = self._with_context()
        output = self._function(raw)
        sent = self._sent_chars(output)
        cut, _ = self._clean_cut(raw, output, 0, 0)  # a context that begins inside a match could hide the next one
        self._held, self._context, self._context_output = "", raw[cut:][-MAX_CONTEXT_WINDOWS * self._window :], None
        return output[sent:]

    def _with_context(self) -> str:
        """Return the text that waits, after the text before it that was flushed."""
        if self._context and self._context_output is None:
            try:
                self._context_output = self._function(self._context)
            except ChatError:  # the end of a text alone may be another match than the text
                self._context = ""
        return self._context + self._held

    def _sent_chars(self, output: str) -> int:
        """Return the length of the beginning of `output` that was sent with the context.

        If a match began in the context, its replacement is sent after the part that was sent.
        """
        known = self._context_output or ""
        if output.startswith(known):
            return len(known)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(output, known, strict=False)))

    def _clean_cut(self, raw: str, output: str, sent: int, first: int, *, is_exact: bool = False) -> tuple[int, int]:
        """Return the last place after `first` at which `raw` can be cut, and the length of its output up to there.

        The rest has at least `window` characters, and its own output is the end of the complete output. So no match
        crosses the cut. The steps back grow, so that a large window costs few calls. If it `is_exact`, each place is
        tried.
        """
        last, back = len(raw) - self._window, 0
        while (cut := last - back) > first and back <= self._window:
            rest = raw[cut:]
            try:
                kept = self._function(rest)
            except ChatError:  # see _with_context
                kept = None
            if kept is not None and output.endswith(kept) and len(output) - len(kept) >= sent:
                return cut, len(output) - len(kept)
            back += 1 if is_exact else 1 + back // 8
        return first, sent
