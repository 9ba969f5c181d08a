"""How a fault alters a script: what is put in, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import TypeAlias

from .models import Fault
from .steps import Event, Head, Kind, Mark, Pause, Script, Step, is_event

Extra: TypeAlias = Callable[[float], Iterable[Step]]
"""Steps to put into a script, by the model's parameter."""

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


def insert(script: Script, extra: Iterable[Step], here: Callable[[Step], bool]) -> Script:
    """`extra` before the first step that `here` accepts."""
    for step in script:
        if here(step):
            yield from extra
            yield step
            break
        yield step
    yield from script


def before(extra: Extra, *kinds: Kind) -> Fault:
    """`extra` before the first event of these kinds."""
    return lambda script, parameter: insert(script, extra(parameter), lambda step: is_event(step, *kinds))


def before_each(extra: Extra, kind: Kind) -> Fault:
    def altered(script: Script, parameter: float) -> Script:
        for step in script:
            if is_event(step, kind):
                yield from extra(parameter)
            yield step

    return altered


def after_tokens(*extra: Step) -> Fault:
    """`extra` after as many tokens as the parameter says, 0 being right after the headers.

    In an answer that has fewer it comes before the finish.
    """
    return lambda script, tokens: insert(script, extra, _past(tokens))


def _past(tokens: float) -> Callable[[Step], bool]:
    seen = 0

    def here(step: Step) -> bool:
        nonlocal seen
        reached = seen >= tokens or is_event(step, "finish")
        seen += is_event(step, "token")
        return reached and not isinstance(step, Head)

    return here


def late(script: Script, duration_s: float) -> Script:
    yield Pause(duration_s)
    yield from script


def endless_tokens(script: Script, _: float) -> Script:
    """The first token over and over."""
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
    """Chunks without choices around the answer, the first with the filter's findings, as Azure sends them."""
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
    """Without the pace: as fast as the reader takes it."""
    return (step for step in script if step is not Mark.BEAT)
