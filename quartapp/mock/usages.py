"""Faults of the reported usage: none, in another chunk, in every chunk, or in another form."""

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
    """Move the usage into the last chunk with a finish reason."""
    steps = list(script)
    usage = _usage_of(steps)
    last_finish = max((place for place, step in enumerate(steps) if is_event(step, "finish")), default=-1)
    for place, step in enumerate(steps):
        if usage and place == last_finish and isinstance(step, Event):
            yield step.but(usage=usage)
        elif not is_event(step, "usage"):
            yield step


def every_chunk(script: Script, _: float) -> Script:
    """Add the usage so far to each chunk, if the client requested usage."""
    steps = list(script)
    usage = _usage_of(steps)
    token_count = 0
    for step in steps:
        token_count += is_event(step, "token")
        if usage and isinstance(step, Event):
            total = usage["prompt_tokens"] + token_count
            yield step.but(usage={**usage, "completion_tokens": token_count, "total_tokens": total})
        else:
            yield step


def _usage_of(steps: Iterable[Step]) -> Json | None:
    found = (step.body["usage"] for step in steps if isinstance(step, Event) and step.kind == "usage")
    return next(found, None)
