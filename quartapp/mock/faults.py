"""The faults of streams: functions from a script and the parameter of the model to the script with the fault."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, cycle, pairwise, repeat
from typing import TypeAlias

from .player import Event, Head, Kind, Mark, Pause, Script, Step, is_event

Fault: TypeAlias = Callable[[Script, float], Script]
"""Takes the script of a request and the parameter of the model, and returns the altered script."""

_COMMENT = b": keep-alive\n\n"
_COMMENT_EVERY_S = 0.02

_BEHIND_LEAD_BYTE = re.compile(rb"(?<=[\xc0-\xff])")


# Steps that are inserted ----------------------------------------------------------------------------------------------


def before(extra: Callable[[float], Iterable[Step]], *kinds: Kind) -> Fault:
    """Return a fault that inserts `extra` before the first event of these kinds."""

    def altered(script: Script, parameter: float) -> Script:
        for step in script:
            if is_event(step, *kinds):
                yield from extra(parameter)
                yield step
                break
            yield step
        yield from script

    return altered


def after_tokens(*extra: Step) -> Fault:
    """Return a fault that inserts `extra` after as many tokens as the parameter, 0 is directly after the headers.

    If the answer has fewer tokens, `extra` is inserted before the finish reason.
    """

    def altered(script: Script, tokens: float) -> Script:
        yield next(script)
        seen = 0
        for step in script:
            if seen >= tokens or is_event(step, "finish"):
                yield from extra
                yield step
                break
            seen += is_event(step, "token")
            yield step
        yield from script

    return altered


def steps(*extra: Step) -> Callable[[float], Iterable[Step]]:
    return lambda _: extra


def pause(duration_s: float) -> Iterable[Step]:
    return (Pause(duration_s),)


def comments(duration_s: float) -> Iterable[Step]:
    return (_COMMENT, Pause(_COMMENT_EVERY_S)) * math.ceil(duration_s / _COMMENT_EVERY_S)


def endless_comments(_: float) -> Iterable[Step]:
    return cycle((Mark.BEAT, _COMMENT))


def endless_line(_: float) -> Iterable[Step]:
    return chain((b'data: {"id":"',), repeat(b"x" * 4096))


def late(script: Script, duration_s: float) -> Script:
    return chain((Pause(duration_s),), script)


def pauses(script: Script, duration_s: float) -> Script:
    for step in script:
        if is_event(step, "token"):
            yield Pause(duration_s)
        yield step


def at_once(script: Script, _: float) -> Script:
    """Remove the pace, so that the answer is sent as fast as the client reads it."""
    return (step for step in script if step is not Mark.BEAT)


# Events that are replaced ---------------------------------------------------------------------------------------------


def for_each_event(change: Callable[[Event], Iterable[Step]]) -> Fault:
    """Return a fault that replaces each event by the steps that `change` returns."""

    def altered(script: Script, _: float) -> Script:
        for step in script:
            yield from change(step) if isinstance(step, Event) else (step,)

    return altered


@for_each_event
def endless_tokens(event: Event) -> Iterable[Step]:
    """Repeat the first token without end."""
    return cycle((event, Mark.BEAT)) if event.kind == "token" else (event,)


@for_each_event
def null_content(event: Event) -> Iterator[Step]:
    if event.kind == "token":
        yield event.but(choices=[{**choice, "delta": {"content": None}} for choice in event.body["choices"]])
    yield event


@for_each_event
def empty_choices(event: Event) -> Iterator[Step]:
    """Add chunks without choices before and after the answer, the first with filter results, as Azure sends them."""
    findings = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]
    if event.kind == "role":
        yield event.but(choices=[], prompt_filter_results=findings)
    yield event
    if event.kind == "finish":
        yield event.but(choices=[])


@for_each_event
def no_done(event: Event) -> Iterable[Step]:
    return () if event.kind == "done" else (event,)


@for_each_event
def usage_null(event: Event) -> Iterable[Step]:
    return (event.but(usage=None),)


@for_each_event
def usage_none(event: Event) -> Iterator[Step]:
    if event.kind != "usage":
        yield Event(event.kind, {field: value for field, value in event.body.items() if field != "usage"})


@for_each_event
def usage_odd(event: Event) -> Iterator[Step]:
    if event.kind != "usage":
        yield event
        return
    usage = event.body["usage"]
    yield event.but(
        usage={
            "prompt_tokens": str(usage["prompt_tokens"]),
            "completion_tokens": float(usage["completion_tokens"]),
            "prompt_tokens_details": {"cached_tokens": None, "by_modality": [{"modality": "text", "tokens": "all"}]},
            "cost": {"currency": "EUR", "amount": 0.0},
        }
    )


def usage_with_finish(script: Script, _: float) -> Script:
    """Move the usage into the chunk before it, which has the last finish reason."""
    for step, following in pairwise(chain(script, (Mark.END,))):
        if isinstance(step, Event) and is_event(following, "usage"):
            yield step.but(usage=following.body["usage"])
        elif not is_event(step, "usage"):
            yield step


def usage_every_chunk(script: Script, _: float) -> Script:
    """Add the usage so far to each chunk, if the client requested usage."""
    steps = list(script)
    usage = next((step.body["usage"] for step in steps if is_event(step, "usage")), None)
    token_count = 0
    for step in steps:
        token_count += is_event(step, "token")
        if usage and isinstance(step, Event):
            total = usage["prompt_tokens"] + token_count
            yield step.but(usage={**usage, "completion_tokens": token_count, "total_tokens": total})
        else:
            yield step


# Events in other bytes ------------------------------------------------------------------------------------------------


@for_each_event
def one_byte(event: Event) -> Iterable[Step]:
    data = event.encode()
    return (data[at : at + 1] for at in range(len(data)))


@for_each_event
def crlf(event: Event) -> Iterable[Step]:
    return (event.encode().replace(b"\n", b"\r\n"),)


@for_each_event
def no_space(event: Event) -> Iterable[Step]:
    return (event.encode().replace(b"data: ", b"data:", 1),)


def one_write(script: Script, _: float) -> Script:
    """Send the complete body in a single write."""
    yield next(script)
    yield b"".join(step.encode() for step in script if isinstance(step, Event))


def inside_characters(script: Script, _: float) -> Script:
    """End every write, except the last, after the first byte of a multi-byte character."""
    carried = b""
    for step in script:
        if isinstance(step, Event):
            *pieces, carried = _BEHIND_LEAD_BYTE.split(carried + step.encode())
            yield from pieces
        else:
            yield step
    yield carried


def gzipped(script: Script, _: float) -> Script:
    compressor = zlib.compressobj(wbits=31)
    for step in script:
        match step:
            case Head(status, headers):
                yield Head(status, (*headers, (b"content-encoding", b"gzip")))
            case Event():
                yield compressor.compress(step.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
            case _:
                yield step
    yield compressor.flush()
