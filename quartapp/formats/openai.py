"""OpenAI's chat completions: chunks in an event stream, and one whole completion.

An upstream's own chunks are passed on as they came (Raw); events of other models are told in chunks of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from quartapp.errors import KINDS
from quartapp.events import Delta, Done, Event, Failed, Ping, Raw, Reasoning, Refusal, Start, ToolCall, Usage
from quartapp.formats.encoding import to_json
from quartapp.formats.sse import COMMENT

Chunk = dict[str, Any]

_decode = msgspec.json.Decoder().decode
_DONE = b"data: [DONE]\n\n"


def error_object(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it, in a refusal's body or as the last event of a broken stream."""
    return {"message": message, "type": _error_type(KINDS[code].status), "code": code, "param": param}


def _error_type(status: int) -> str:
    if status >= 500:
        return "server_error"
    named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return named.get(status, "invalid_request_error")


class Chunks:
    """The chunks of one answer. `created` is in seconds since 1970; usage is told only to who asked for it."""

    def __init__(self, created: int, *, include_usage: bool) -> None:
        self._created = created
        self._include_usage = include_usage
        self._head: Chunk = {}
        self._is_raw = False
        self._has_role = False

    def encode(self, events: Sequence[Event]) -> bytes:
        """The events of the stream; after Done `[DONE]`, which an answer that failed never gets."""
        return b"".join([self._event(event) for event in events])

    def _event(self, event: Event) -> bytes:
        match event:
            case Raw(payload):
                self._is_raw = True
                return b"data: " + payload + b"\n\n"
            case Ping():
                return COMMENT
            case Failed(code, message):
                return b"data: " + to_json({"error": error_object(code, message)}) + b"\n\n"
        chunks = b"".join(map(_data, self.of(event)))
        return chunks + _DONE if isinstance(event, Done) else chunks

    def of(self, event: Event) -> Iterator[Chunk]:
        """The chunks that tell of `event`, decoded."""
        match event:
            case Start(id, model):
                self._head = {
                    "id": f"chatcmpl-{id}",
                    "object": "chat.completion.chunk",
                    "created": self._created,
                    "model": model,
                }
            case Raw(payload):
                self._is_raw = True
                yield _decode(payload)
            case Delta(text):
                yield self._chunk({"content": text})
            case Reasoning(text):
                yield self._chunk({"reasoning_content": text})
            case Refusal(text):
                yield self._chunk({"refusal": text})
            case ToolCall():
                yield self._chunk({"tool_calls": [_tool_call(event)]})
            case Done(reason, usage) if not self._is_raw:
                yield self._chunk({}, reason)
                if self._include_usage and usage is not None:
                    yield {**self._head, "choices": [], "usage": usage_object(usage)}

    def _chunk(self, delta: Chunk, finish_reason: str | None = None) -> Chunk:
        if not self._has_role:
            self._has_role = True
            delta = {"role": "assistant", **delta}
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def usage_object(usage: Usage) -> dict[str, int]:
    """Usage under OpenAI's names."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


def _data(chunk: Chunk) -> bytes:
    return b"data: " + to_json(chunk) + b"\n\n"


def _tool_call(event: ToolCall) -> dict[str, Any]:
    call: dict[str, Any] = {"index": event.index}
    if event.id is not None:
        call |= {"id": event.id, "type": "function"}
    function = {"name": event.name, "arguments": event.arguments if event.name is None else event.arguments or ""}
    return call | {"function": {name: value for name, value in function.items() if value is not None}}


def merge(chunks: Iterable[Chunk]) -> Chunk:
    """The chunks of a whole answer as one completion. What a chunk adds to a choice is put together by its kind:
    texts and lists are joined, tool calls go by their index, anything else stands as it was last said."""
    whole: Chunk = {}
    choices: dict[int, Chunk] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            if name == "choices":
                for choice in value or ():
                    _merge_choice(choices, choice)
            elif value is not None:
                whole[name] = value
    return whole | {"object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}


def _merge_choice(choices: dict[int, Chunk], choice: Chunk) -> None:
    index = choice.get("index", 0)
    empty = {"index": index, "message": {"role": "assistant", "content": None}, "logprobs": None, "finish_reason": None}
    merged = choices.setdefault(index, empty)
    _merge_into(merged["message"], choice.get("delta") or {})
    for name, value in choice.items():
        if name == "logprobs" and value is not None:
            merged["logprobs"] = merged["logprobs"] or {}
            _merge_into(merged["logprobs"], value)
        elif name not in ("index", "delta", "logprobs") and value is not None:
            merged[name] = value


_ATOMS = frozenset({"role", "id", "type", "name", "index"})


def _merge_into(merged: Chunk, added: Chunk) -> None:
    for name, value in added.items():
        known = merged.get(name)
        if value is None:
            merged.setdefault(name, None)
        elif name == "tool_calls":
            merged[name] = _merge_calls(known or [], value)
        elif isinstance(value, dict):
            _merge_into(merged.setdefault(name, {}), value)
        elif known is not None and isinstance(value, str | list) and name not in _ATOMS:
            merged[name] = known + value
        else:
            merged[name] = value


def _merge_calls(known: list[Chunk], added: list[Chunk]) -> list[Chunk]:
    by_index = dict(enumerate(known))
    for fragment in added:
        call = by_index.setdefault(fragment.get("index", 0), {})
        _merge_into(call, {name: value for name, value in fragment.items() if name != "index"})
    return [by_index[index] for index in sorted(by_index)]
