"""What the upstream and the clients agree on: how a plan is asked for, and how a token carries the time it was sent."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
TRIPLES = [f"{a}{b}{c}".encode() for a in DIGITS for b in DIGITS for c in DIGITS]
WRAP_US = len(TRIPLES) ** 2
"""Stamps count microseconds modulo this, 36 minutes: far longer than any answer here."""

MARK = b"~"
"""Stands before a stamp; appears nowhere else in a request's answer, whatever the format."""
STAMP = re.compile(MARK + b"([0-9a-z]{6})")
STAMP_BYTES = 7

PLAN = re.compile(r"bench-(?:(?P<idle>idle)|(?P<tokens>\d+)-(?P<pace>\d+))")


def now_us() -> int:
    """Microseconds of CLOCK_MONOTONIC, which on Linux all processes share."""
    return time.monotonic_ns() // 1000


def stamp(at_us: int) -> bytes:
    """The token sent at `at_us`: the mark and six base-36 digits, always seven bytes."""
    high, low = divmod(at_us % WRAP_US, len(TRIPLES))
    return MARK + TRIPLES[high] + TRIPLES[low]


def age_us(digits: bytes, at_us: int) -> int:
    """How long before `at_us` the token with these six digits was sent."""
    return (at_us - int(digits, 36)) % WRAP_US


@dataclass(frozen=True)
class Plan:
    """An answer to ask the upstream for; `pace` is in tokens a second, 0 sends all at once."""

    tokens: int
    pace: int = 0
    ends: bool = True

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Reads the name back. Raises ValueError if `text` is no plan."""
        match = PLAN.fullmatch(text)
        if match is None:
            raise ValueError(f"not a plan: {text[:80]!r}")
        if match["idle"]:
            return cls(tokens=1, ends=False)
        return cls(tokens=int(match["tokens"]), pace=int(match["pace"]))

    @property
    def name(self) -> str:
        """`bench-300-50` is 300 tokens at 50 a second, `bench-idle` one token and then silence."""
        return f"bench-{self.tokens}-{self.pace}" if self.ends else "bench-idle"

    @property
    def interval_us(self) -> int:
        return 1_000_000 // self.pace if self.pace else 0
