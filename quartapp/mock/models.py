"""The type of a model, and the models without a fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from . import answers
from .answers import AnswerFunction
from .steps import Script

Fault: TypeAlias = Callable[[Script, float], Script]
"""Takes the script of a request and the parameter of the model, and returns the altered script."""

_INTEGER = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


class Parameter(Struct, frozen=True):
    """The number that may follow a colon in the name of a model."""

    symbol: str
    default: float
    low: float
    high: float
    decimals: bool = False

    def read(self, text: str) -> float | None:
        """Return the number in `text`, or None if it is no number or out of range."""
        pattern = _DECIMAL if self.decimals else _INTEGER
        if not pattern.fullmatch(text):
            return None
        value = float(text)
        return value if self.low <= value <= self.high else None


class Model(Struct, frozen=True, kw_only=True):
    """A model: its description, the function that answers, and its fault."""

    about: str
    answer: AnswerFunction = answers.count
    parameter: Parameter | None = None
    fault: Fault | None = None
    streamed_only: bool = True
    """True if the fault affects only streams, and not an answer in one JSON object."""

    def read(self, text: str | None) -> float | None:
        """Return the value of the parameter, 0.0 for a model without one, or None if `text` is not valid."""
        if text is None:
            return self.parameter.default if self.parameter else 0.0
        return self.parameter.read(text) if self.parameter else None


MODELS: dict[str, Model] = {
    "mock": Model(
        about="Counts (“count to 20”), gives a Markdown tour, a long answer, several scripts and emoji, or echoes.",
        answer=answers.converse,
    ),
    "mock-echo": Model(
        about="Repeats the last user message verbatim, and says nothing else.",
        answer=answers.echo,
    ),
    "mock-count": Model(
        about="Counts to the first number in the last user message, or to 20, one number a token.",
        answer=answers.count,
    ),
    "mock-reasoning": Model(
        about="Thinks aloud in `reasoning_content` deltas before it answers.",
        answer=answers.reason,
    ),
    "mock-tool-call": Model(
        about="Calls the first function of `tools`, arguments in fragments, and quotes the result it is then given.",
        answer=answers.call_tool,
    ),
    "mock-refusal": Model(
        about="Refuses whatever it is asked, in `refusal` deltas.",
        answer=answers.refuse,
    ),
}
