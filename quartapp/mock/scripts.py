"""The script of a request without a fault: a stream, one JSON object, or an error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from . import chunks
from .chunks import Tally
from .requests import RefusedError
from .steps import DONE, Event, Head, Headers, Mark, Script, encode
from .tokens import Answer, Finish, Json

STREAM_HEADERS: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)


def streamed(shared: Json, answers: Sequence[Answer], tally: Tally, *, include_usage: bool) -> Script:
    yield Head(200, STREAM_HEADERS)
    for index in range(len(answers)):
        yield Event("role", chunks.chunk(shared, index, chunks.ROLE))
    yield from _events(shared, answers, tally)
    if include_usage:
        yield Event("usage", {**shared, "choices": [], "usage": tally.usage()})
    yield DONE


def _events(shared: Json, answers: Sequence[Answer], tally: Tally) -> Script:
    """Yield a token of each choice in turn, until all have finished."""
    unfinished = dict(enumerate(answers))
    while unfinished:
        yield Mark.BEAT
        for index, answer in tuple(unfinished.items()):
            part = next(answer)
            if isinstance(part, Finish):
                del unfinished[index]
                yield Event("finish", chunks.chunk(shared, index, {}, part.reason))
            else:
                tally.add(part)
                yield Event("token", chunks.chunk(shared, index, part))


def complete(shared: Json, answers: Sequence[Answer], tally: Tally) -> Script:
    """Yield the pauses of the stream, then one JSON object."""
    deltas: dict[int, list[Json]] = defaultdict(list)
    finished: dict[int, Json] = {}
    for step in _events(shared, answers, tally):
        if isinstance(step, Event):
            (choice,) = step.body["choices"]
            index, reason = choice["index"], choice["finish_reason"]
            deltas[index].append(choice["delta"])
            if reason:
                finished[index] = chunks.choice(index, deltas[index], reason)
        else:
            yield step
    choices = [finished[index] for index in sorted(finished)]
    yield from json_reply(200, chunks.completion(shared, choices, tally.usage()))


def reply(status: int, content_type: bytes, body: bytes, headers: Headers = ()) -> Script:
    yield Head(status, ((b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers))
    yield body


def json_reply(status: int, body: Json, headers: Headers = ()) -> Script:
    return reply(status, b"application/json", encode(body), headers)


def refusal(error: RefusedError) -> Script:
    return json_reply(error.status, error.body, error.headers)
