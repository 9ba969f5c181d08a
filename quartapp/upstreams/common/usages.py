"""Token counts of an answer, from all the places and names that servers use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from quartapp.core.events import Usage
from quartapp.core.request import JsonObject
from quartapp.protocols.chat_completions.encode import usage_object

# OpenAI's chat completions; its Responses API and Anthropic; Ollama; Bedrock.
_SENT = ("prompt_tokens", "input_tokens", "prompt_eval_count", "inputTokenCount")
_RECEIVED = ("completion_tokens", "output_tokens", "eval_count", "outputTokenCount")
# OpenAI nests these: chat completions under the first name, the Responses API under the second.
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
# DeepSeek; Moonshot and Together; Mistral.
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
# Anthropic and Bedrock count these tokens outside of their input tokens.
_CACHE_READS = ("cache_read_input_tokens", "cacheReadInputTokenCount")
_CACHE_WRITES = ("cache_creation_input_tokens", "cacheWriteInputTokenCount")


def read_usage(usage: Any) -> Usage | None:
    """Return the counts of a usage object, in any number type; None if there are none."""
    if not isinstance(usage, dict):
        return None
    sent, received = _first_count(usage, _SENT), _first_count(usage, _RECEIVED)
    if sent is None and received is None:
        return None
    sent, received = (sent or 0) + _uncounted_input(usage), received or 0
    return Usage(
        sent,
        received,
        _count(usage.get("total_tokens")) or sent + received,
        _cached_input(usage),
        _detail(usage, _OUTPUT_DETAILS, "reasoning_tokens", ("reasoning_tokens",)),  # Perplexity and SGLang
    )


def is_openais_usage(usage: Any) -> bool:
    """Return whether OpenAI's clients find each count of `usage` under its expected name."""
    if not isinstance(usage, dict):
        return False
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not type(sent) is type(received) is type(usage.get("total_tokens", 0)) is int:
        return False
    counted = read_usage(usage)
    if _without_negatives(usage) != usage:
        return False
    return counted is None or all(usage.get(name) == details for name, details in _details(usage, counted))


def to_openais_usage(usage: Any, counted: Usage) -> JsonObject:
    """Return the fields of `usage`, with the counts of `counted` under OpenAI's names."""
    rest = _without_negatives(usage) if isinstance(usage, dict) else {}
    return {**rest, **usage_object(counted), **dict(_details(rest, counted))}


def usage_field(document: JsonObject, counted: Usage | None, *, is_requested: bool) -> JsonObject:
    """Return a chunk's `usage` field in OpenAI's form.

    It is empty if the client did not ask for it, or if it is unreadable.
    """
    sent = document.get("usage")
    if is_openais_usage(sent):
        return {"usage": sent}
    if counted is not None and (sent is not None or is_requested):
        return {"usage": to_openais_usage(sent, counted)}
    return {"usage": None} if "usage" in document and sent is None and is_requested else {}


def _without_negatives(usage: JsonObject) -> JsonObject:
    """Return `usage` without negative counts, because servers write -1 for unknown."""
    inner = {name: _without_negatives(value) if isinstance(value, dict) else value for name, value in usage.items()}
    return {name: value for name, value in inner.items() if not (isinstance(value, int) and value < 0)}


def _details(usage: JsonObject, counted: Usage) -> Iterator[tuple[str, JsonObject]]:
    for name, counts in usage_object(counted).items():
        if isinstance(counts, dict):
            known = usage.get(name)
            yield name, (known if isinstance(known, dict) else {}) | counts


def find_usage(document: JsonObject) -> Usage | None:
    """Return the usage of a chunk from any of the known places."""
    return next((usage for place in _places(document) if (usage := read_usage(place)) is not None), None)


def _places(document: JsonObject) -> Iterator[Any]:
    yield document.get("usage")
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        yield choice.get("usage") if isinstance(choice, dict) else None  # Moonshot
    groq = document.get("x_groq")
    yield groq.get("usage") if isinstance(groq, dict) else None
    yield document.get("amazon-bedrock-invocationMetrics")
    yield document


def read_timings(timings: Any) -> Usage | None:
    """Return the counts in llama.cpp's timings; `prompt_n` does not include cached tokens."""
    if not isinstance(timings, dict):
        return None
    sent, received = _count(timings.get("prompt_n")), _count(timings.get("predicted_n"))
    if sent is None or received is None:
        return None
    cached = _count(timings.get("cache_n"))
    sent += cached or 0
    return Usage(sent, received, sent + received, cached)


def _cached_input(usage: JsonObject) -> int | None:
    return _detail(usage, _INPUT_DETAILS, "cached_tokens", _CACHED + _CACHE_READS)


def _detail(usage: JsonObject, places: tuple[str, ...], name: str, other_names: tuple[str, ...]) -> int | None:
    """Return the count `name` from an object at one of `places`, else one of `other_names` from `usage` itself."""
    for place in places:
        details = usage.get(place)
        if isinstance(details, dict) and (count := _count(details.get(name))) is not None:
            return count
    return _first_count(usage, other_names)


def _uncounted_input(usage: JsonObject) -> int:
    """Return the cached tokens that are missing in the count of input tokens.

    A gateway that uses OpenAI's names, or sends details, has added them.
    """
    counts_all = "prompt_tokens" in usage or any(place in usage for place in _INPUT_DETAILS)
    return 0 if counts_all else (_first_count(usage, _CACHE_READS) or 0) + (_first_count(usage, _CACHE_WRITES) or 0)


def _first_count(usage: JsonObject, names: tuple[str, ...]) -> int | None:
    for name in names:
        if (count := _count(usage.get(name))) is not None:
            return count
    return None


def _count(value: Any) -> int | None:
    if value is None:  # the most frequent case; an exception costs ten times as much
        return None
    try:
        count = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return count if 0 <= count < 2**53 else None


_NULL_USAGE = re.compile(rb'"usage"\s*:\s*null\b')


def without_null_usage(payload: bytes) -> bytes:
    """Return `payload` without a null `usage`, which servers send in each chunk after a request for usage."""
    stripped = payload.replace(b',"usage":null', b"", 1)
    if len(stripped) < len(payload):
        return stripped
    at = payload.find(b'"usage"')
    null = _NULL_USAGE.match(payload, at)
    if null is None:
        return payload
    before, after = payload[:at].rstrip(), payload[null.end() :].lstrip()
    return before.removesuffix(b",") + after if before.endswith(b",") else before + after.removeprefix(b",")
