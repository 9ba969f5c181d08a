"""How a fault reports usage: never, elsewhere, all the time, or in another shape."""

from __future__ import annotations

from collections.abc import Iterable

from .alterations import without
from .steps import Event, Script, Step, is_event
from .tokens import Json


def null(script: Script, _: float) -> Script:
    for step in script:
        yield step.but(usage=None) if isinstance(step, Event) else step


def none(script: Script, _: float) -> Script:
    for step in without(script, "usage"):
        yield Event(step.kind, _without_usage(step.body)) if isinstance(step, Event) else step


def _without_usage(body: Json) -> Json:
    return {field: value for field, value in body.items() if field != "usage"}


def odd(script: Script, _: float) -> Script:
    for step in script:
        yield step.but(usage=_odd(step.body["usage"])) if isinstance(step, Event) and step.kind == "usage" else step


def _odd(usage: Json) -> Json:
    return {
        "prompt_tokens": str(usage["prompt_tokens"]),
        "completion_tokens": float(usage["completion_tokens"]),
        "prompt_tokens_details": {"cached_tokens": None, "by_modality": [{"modality": "text", "tokens": "all"}]},
        "cost": {"currency": "EUR", "amount": 0.0},
    }


def with_finish(script: Script, _: float) -> Script:
    """The usage in the last chunk that has a finish reason, and none after it."""
    steps = list(script)
    usage = _usage_of(steps)
    last_finish = max((place for place, step in enumerate(steps) if is_event(step, "finish")), default=-1)
    for place, step in enumerate(steps):
        if usage and place == last_finish and isinstance(step, Event):
            yield step.but(usage=usage)
        elif not is_event(step, "usage"):
            yield step


def every_chunk(script: Script, _: float) -> Script:
    """The count so far in each chunk, if usage was asked for."""
    steps = list(script)
    usage = _usage_of(steps)
    spoken = 0
    for step in steps:
        spoken += is_event(step, "token")
        if usage and isinstance(step, Event):
            total = usage["prompt_tokens"] + spoken
            yield step.but(usage={**usage, "completion_tokens": spoken, "total_tokens": total})
        else:
            yield step


def _usage_of(steps: Iterable[Step]) -> Json | None:
    found = (step.body["usage"] for step in steps if isinstance(step, Event) and step.kind == "usage")
    return next(found, None)
