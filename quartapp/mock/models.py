"""What a model of the catalogue is, and the models that behave."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from . import answers
from .answers import Says
from .steps import Script

Fault: TypeAlias = Callable[[Script, float], Script]
"""Takes the ordinary script and the model's parameter."""

_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


class Parameter(Struct, frozen=True):
    """What may follow a colon in a model's name."""

    symbol: str
    default: float
    low: float
    high: float
    decimals: bool = False

    def read(self, text: str) -> float | None:
        """None for what is no such number, or out of range."""
        pattern = _DECIMAL if self.decimals else _WHOLE
        if not pattern.fullmatch(text):
            return None
        value = float(text)
        return value if self.low <= value <= self.high else None


class Model(Struct, frozen=True, kw_only=True):
    about: str
    says: Says = answers.count
    parameter: Parameter | None = None
    fault: Fault | None = None
    streamed_only: bool = True
    """The fault lies in the form of the stream, and an answer in one piece has none."""

    def read(self, text: str | None) -> float | None:
        """The parameter's value, 0.0 for a model without one; None if the text does not fit."""
        if text is None:
            return self.parameter.default if self.parameter else 0.0
        return self.parameter.read(text) if self.parameter else None


MODELS: dict[str, Model] = {
    "mock": Model(
        about="Counts (“count to 20”), gives a Markdown tour, a long answer, several scripts and emoji, or echoes.",
        says=answers.converse,
    ),
    "mock-echo": Model(
        about="Repeats the last user message verbatim, and says nothing else.",
        says=answers.echo,
    ),
    "mock-count": Model(
        about="Counts to the first number in the last user message, or to 20, one number a token.",
        says=answers.count,
    ),
    "mock-reasoning": Model(
        about="Thinks aloud in `reasoning_content` deltas before it answers.",
        says=answers.reason,
    ),
    "mock-tool-call": Model(
        about="Calls the first function of `tools`, arguments in fragments, and quotes the result it is then given.",
        says=answers.call_tool,
    ),
    "mock-refusal": Model(
        about="Refuses whatever it is asked, in `refusal` deltas.",
        says=answers.refuse,
    ),
}
