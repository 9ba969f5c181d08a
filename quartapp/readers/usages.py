"""How many tokens an answer took: wherever a server says it, and whatever it calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quartapp.events import Usage
from quartapp.requests.documents import JsonObject

# OpenAI's names, those of its Responses API and of Anthropic's, Ollama's own, and Bedrock's.
_SENT = ("prompt_tokens", "input_tokens", "prompt_eval_count", "inputTokenCount")
_RECEIVED = ("completion_tokens", "output_tokens", "eval_count", "outputTokenCount")


def read_usage(usage: Any) -> Usage | None:
    """The counts of a usage object, whatever number type they come in; None if there are none."""
    if not isinstance(usage, dict):
        return None
    sent, received = _first_count(usage, _SENT), _first_count(usage, _RECEIVED)
    if sent is None and received is None:
        return None
    sent, received = sent or 0, received or 0
    return Usage(sent, received, _count(usage.get("total_tokens")) or sent + received)


def find_usage(document: JsonObject) -> Usage | None:
    """The usage that a chunk tells in any of the known places."""
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
    """What llama.cpp says of its speed; `prompt_n` leaves out what it still had in its cache."""
    if not isinstance(timings, dict):
        return None
    sent, received = _count(timings.get("prompt_n")), _count(timings.get("predicted_n"))
    if sent is None or received is None:
        return None
    sent += _count(timings.get("cache_n")) or 0
    return Usage(sent, received, sent + received)


def _first_count(usage: JsonObject, names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _count(usage.get(name))) is not None), None)


def _count(value: Any) -> int | None:
    if value is None:  # as most are: an exception costs ten times as much
        return None
    try:
        count = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return count if 0 <= count < 2**53 else None
