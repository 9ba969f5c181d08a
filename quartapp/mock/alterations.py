"""Faults that insert steps into a script, or remove some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import TypeAlias

from .models import Fault
from .steps import Event, Head, Kind, Mark, Pause, Script, Step, is_event

Extra: TypeAlias = Callable[[float], Iterable[Step]]
"""Returns the steps to insert into a script, for the parameter of the model."""

_COMMENT = b": keep-alive\n\n"
_COMMENT_EVERY_S = 0.02


def always(*steps: Step) -> Extra:
    return lambda _: steps


def pause(duration_s: float) -> Iterable[Step]:
    return (Pause(duration_s),)


def comments(duration_s: float) -> Iterator[Step]:
    for _ in range(math.ceil(duration_s / _COMMENT_EVERY_S)):
        yield _COMMENT
        yield Pause(_COMMENT_EVERY_S)


def endless_comments(_: float) -> Iterator[Step]:
    while True:
        yield Mark.BEAT
        yield _COMMENT


def endless_line(_: float) -> Iterator[Step]:
    return chain((b'data: {"id":"',), repeat(b"x" * 4096))


def insert(script: Script, extra: Iterable[Step], matches: Callable[[Step], bool]) -> Script:
    """Insert `extra` before the first step that `matches` accepts."""
    for step in script:
        if matches(step):
            yield from extra
            yield step
            break
        yield step
    yield from script


def before(extra: Extra, *kinds: Kind) -> Fault:
    """Return a fault that inserts `extra` before the first event of these kinds."""
    return lambda script, parameter: insert(script, extra(parameter), lambda step: is_event(step, *kinds))


def before_each(extra: Extra, kind: Kind) -> Fault:
    def altered(script: Script, parameter: float) -> Script:
        for step in script:
            if is_event(step, kind):
                yield from extra(parameter)
            yield step

    return altered


def after_tokens(*extra: Step) -> Fault:
    """Return a fault that inserts `extra` after as many tokens as the parameter, 0 is directly after the headers.

    If the answer has fewer tokens, `extra` is inserted before the finish reason.
    """
    return lambda script, tokens: insert(script, extra, _past(tokens))


def _past(tokens: float) -> Callable[[Step], bool]:
    seen = 0

    def matches(step: Step) -> bool:
        nonlocal seen
        reached = seen >= tokens or is_event(step, "finish")
        seen += is_event(step, "token")
        return reached and not isinstance(step, Head)

    return matches


def late(script: Script, duration_s: float) -> Script:
    yield Pause(duration_s)
    yield from script


def endless_tokens(script: Script, _: float) -> Script:
    """Repeat the first token without end."""
    for step in script:
        yield step
        while is_event(step, "token"):
            yield Mark.BEAT
            yield step


def null_content(script: Script, _: float) -> Script:
    for step in script:
        if isinstance(step, Event) and step.kind == "token":
            yield step.but(choices=[{**choice, "delta": {"content": None}} for choice in step.body["choices"]])
        yield step


def empty_choices(script: Script, _: float) -> Script:
    """Add chunks without choices before and after the answer, the first with filter results, as Azure sends them."""
    findings = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]
    for step in script:
        if isinstance(step, Event) and step.kind == "role":
            yield step.but(choices=[], prompt_filter_results=findings)
        yield step
        if isinstance(step, Event) and step.kind == "finish":
            yield step.but(choices=[])


def without(script: Script, kind: Kind) -> Script:
    return (step for step in script if not is_event(step, kind))


def no_done(script: Script, _: float) -> Script:
    return without(script, "done")


def at_once(script: Script, _: float) -> Script:
    """Remove the pace, so that the answer is sent as fast as the client reads it."""
    return (step for step in script if step is not Mark.BEAT)
