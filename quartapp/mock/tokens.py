"""Text split into tokens, and an answer as a stream of deltas that ends with its finish reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from msgspec import Struct

Json: TypeAlias = dict[str, Any]


class Finish(Struct, frozen=True):
    """The last item of an answer."""

    reason: str


Answer: TypeAlias = Iterator[Json | Finish]
"""The deltas of chunks, one for each token, then exactly one `Finish`."""

_TOKEN = re.compile(r"\s{0,8}\S{1,12}|\s{1,8}")


def split(text: str) -> Iterator[str]:
    """Split text into tokens of about one word with the space before it. Joined they are the text."""
    return (match.group() for match in _TOKEN.finditer(text))


def count(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


def deltas(tokens: Iterable[str], field: str = "content") -> Iterator[Json]:
    return ({field: token} for token in tokens)


def text_answer(tokens: Iterable[str], finish_reason: str = "stop") -> Answer:
    yield from deltas(tokens)
    yield Finish(finish_reason)


def at_most(answer: Answer, max_tokens: int) -> Answer:
    """Truncate the answer with the reason `length` if it has more than `max_tokens`."""
    for number, part in enumerate(answer):
        if number == max_tokens and not isinstance(part, Finish):
            yield Finish("length")
            return
        yield part


def until_stop(answer: Answer, stops: tuple[str, ...]) -> Answer:
    """End the answer before the first stop sequence in its content, also if the sequence spans tokens."""
    held = ""
    for part in answer:
        if isinstance(part, dict) and "content" in part:
            text = held + part["content"]
            sendable, stopped = _before_stop(text, stops)
            held = text[len(sendable) :]
            yield from deltas([sendable] if sendable else [])
            if stopped:
                yield Finish("stop")
                return
        else:
            yield from deltas([held] if held else [])
            held = ""
            yield part


def _before_stop(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """Return the text that can be sent, and whether a stop sequence follows it.

    The end of the text is held back if it is the start of a stop sequence.
    """
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    if found:
        return text[: min(found)], True
    begun = max((size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0)
    return text[: len(text) - begun], False
