"""The JSON of responses: chunks, completions, usage, the list of models."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from uuid import uuid4

from msgspec import Struct

from .tokens import Json

ROLE: Json = {"role": "assistant", "content": "", "refusal": None}
"""The delta that opens each choice."""

_MODELS_CREATED = 1_735_689_600


class Tally(Struct):
    """The token counts of one request, updated with each delta of its answer."""

    prompt: int
    completion: int = 0
    reasoning: int = 0

    def add(self, delta: Json) -> None:
        self.completion += 1
        self.reasoning += "reasoning_content" in delta

    def usage(self) -> Json:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning, "audio_tokens": 0},
        }


def envelope(model: str, *, include_usage: bool) -> Json:
    """Return the fields that all chunks of an answer share. With `include_usage` the usage is null until the last."""
    shared = {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "fp_mock",
    }
    return shared | {"usage": None} if include_usage else shared


def chunk(shared: Json, index: int, delta: Json, finish_reason: str | None = None) -> Json:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**shared, "choices": [choice]}


def completion(shared: Json, choices: Sequence[Json], usage: Json) -> Json:
    return {**shared, "object": "chat.completion", "choices": choices, "usage": usage}


def choice(index: int, deltas: Sequence[Json], finish_reason: str) -> Json:
    return {"index": index, "message": message(deltas), "logprobs": None, "finish_reason": finish_reason}


def message(deltas: Sequence[Json]) -> Json:
    """Merge deltas into one message."""
    merged: Json = {"role": "assistant", "content": _joined(deltas, "content"), "refusal": _joined(deltas, "refusal")}
    if reasoning := _joined(deltas, "reasoning_content"):
        merged["reasoning_content"] = reasoning
    if fragments := [call for delta in deltas for call in delta.get("tool_calls", ())]:
        merged["tool_calls"] = [_tool_call(fragments)]
    elif merged["refusal"] is None:
        merged["content"] = merged["content"] or ""
    return merged


def _joined(deltas: Iterable[Json], field: str) -> str | None:
    return "".join(delta[field] for delta in deltas if field in delta) or None


def _tool_call(fragments: Sequence[Json]) -> Json:
    """Merge the fragments of one call. The first has the id and name, and this server never sends two calls."""
    arguments = "".join(fragment["function"]["arguments"] for fragment in fragments)
    first = fragments[0]
    return {"id": first["id"], "type": first["type"], "function": {**first["function"], "arguments": arguments}}


def model_card(name: str, about: str) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": _MODELS_CREATED,
        "owned_by": "quartapp",
        "description": about,
    }
