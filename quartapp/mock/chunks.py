"""The script of a request without a fault: a stream of chunks, one JSON object, or an error."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from uuid import uuid4

from msgspec import Struct

from .player import DONE, Event, Head, Headers, Kind, Mark, Script, encode
from .requests import Chat, RefusedError
from .tokens import Answer, Finish, Json

STREAM_HEADERS: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)

_ROLE: Json = {"role": "assistant", "content": "", "refusal": None}
"""The delta that opens each choice."""


def answered(chat: Chat, answers: Sequence[Answer], usage: Json | None = None) -> Script:
    """Return the script that sends an answer for each choice, in the form that the request names.

    `usage` replaces the count of tokens.
    """
    shared: Json = {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": chat.model,
        "system_fingerprint": "fp_mock",
    }
    tally = Tally(chat.prompt_tokens, usage)
    if not chat.stream:
        return _complete(shared, answers, tally)
    if chat.include_usage:
        shared["usage"] = None  # in each chunk except the last
    return _streamed(shared, answers, tally, include_usage=chat.include_usage)


def reply(status: int, content_type: bytes, body: bytes, headers: Headers = ()) -> Script:
    yield Head(status, ((b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers))
    yield body


def json_reply(status: int, body: Json, headers: Headers = ()) -> Script:
    return reply(status, b"application/json", encode(body), headers)


def refusal(error: RefusedError) -> Script:
    return json_reply(error.status, error.body, error.headers)


class Tally(Struct):
    """The token counts of one request, updated with each delta of its answer."""

    prompt: int
    given: Json | None = None
    completion: int = 0
    reasoning: int = 0

    def add(self, delta: Json) -> None:
        self.completion += 1
        self.reasoning += "reasoning_content" in delta

    def usage(self) -> Json:
        return self.given or {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning, "audio_tokens": 0},
        }


def _streamed(shared: Json, answers: Sequence[Answer], tally: Tally, *, include_usage: bool) -> Script:
    yield Head(200, STREAM_HEADERS)
    for index in range(len(answers)):
        yield _chunk("role", shared, index, _ROLE)
    yield from _events(shared, answers, tally)
    if include_usage:
        yield Event("usage", {**shared, "choices": [], "usage": tally.usage()})
    yield DONE


def _complete(shared: Json, answers: Sequence[Answer], tally: Tally) -> Script:
    """Yield the pauses of the stream, then one JSON object."""
    deltas: list[list[Json]] = [[] for _ in answers]
    reasons: list[str | None] = [None for _ in answers]
    for step in _events(shared, answers, tally):
        if isinstance(step, Event):
            (choice,) = step.body["choices"]
            deltas[choice["index"]].append(choice["delta"])
            reasons[choice["index"]] = choice["finish_reason"]
        else:
            yield step
    choices = [
        {"index": index, "message": _message(deltas[index]), "logprobs": None, "finish_reason": reason}
        for index, reason in enumerate(reasons)
    ]
    yield from json_reply(200, {**shared, "object": "chat.completion", "choices": choices, "usage": tally.usage()})


def _events(shared: Json, answers: Sequence[Answer], tally: Tally) -> Script:
    """Yield a token of each choice in turn, until all have finished."""
    unfinished = dict(enumerate(answers))
    while unfinished:
        yield Mark.BEAT
        for index, answer in tuple(unfinished.items()):
            part = next(answer)
            if isinstance(part, Finish):
                del unfinished[index]
                yield _chunk("finish", shared, index, {}, part.reason)
            else:
                tally.add(part)
                yield _chunk("token", shared, index, part)


def _chunk(kind: Kind, shared: Json, index: int, delta: Json, finish_reason: str | None = None) -> Event:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return Event(kind, {**shared, "choices": [choice]})


def _message(deltas: Sequence[Json]) -> Json:
    """Merge deltas into one message."""
    content, refusal_text = _joined(deltas, "content"), _joined(deltas, "refusal")
    message: Json = {"role": "assistant", "content": content, "refusal": refusal_text}
    if reasoning := _joined(deltas, "reasoning_content"):
        message["reasoning_content"] = reasoning
    if fragments := [call for delta in deltas for call in delta.get("tool_calls", ())]:
        calls: dict[int, list[Json]] = {}
        for fragment in fragments:
            calls.setdefault(fragment["index"], []).append(fragment)
        message["tool_calls"] = [_tool_call(each) for each in calls.values()]
    elif refusal_text is None:
        message["content"] = content or ""
    return message


def _joined(deltas: Iterable[Json], field: str) -> str | None:
    return "".join(delta[field] for delta in deltas if field in delta) or None


def _tool_call(fragments: Sequence[Json]) -> Json:
    """Merge the fragments of one call. The first has the id, the type and the name."""
    first, kind = fragments[0], fragments[0]["type"]
    field = "input" if kind == "custom" else "arguments"
    text = "".join(fragment[kind].get(field) or "" for fragment in fragments)
    return {name: value for name, value in first.items() if name != "index"} | {kind: {**first[kind], field: text}}
