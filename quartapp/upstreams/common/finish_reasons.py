"""Finish reasons in OpenAI's words: stop, length, tool_calls, content_filter, and the older function_call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from quartapp.core.error_log import masked
from quartapp.core.errors import ChatError, Code

_SYNONYMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed"), "stop"),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "max_length", "model_length", "token_limit"), "length"),
    "model_context_window_exceeded": "length",
    **dict.fromkeys(("tool_use", "tool_call", "function_call"), "tool_calls"),
    **dict.fromkeys(("content_filtered", "safety", "recitation", "refusal", "sensitive"), "content_filter"),
    **dict.fromkeys(
        ("blocklist", "prohibited_content", "spii", "guardrail_intervened", "error_toxic"), "content_filter"
    ),
}
# Reasons that mean a failure: the server gave up, or the request was cancelled there.
_FAILURES: Final[Mapping[str, Code]] = {
    "error": "upstream_error",
    "network_error": "upstream_error",
    "insufficient_system_resource": "upstream_overloaded",
    **dict.fromkeys(("abort", "aborted", "cancelled", "canceled"), "upstream_truncated"),
}
# Placeholders in chunks before the last one.
_NONE_YET: Final = frozenset({"null", "none", "not_finished", "in_progress"})
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,32}")

#: The reason for an ended answer whose own reason is not a name.
OTHER: Final = "other"


def read_finish_reason(value: str, *, has_calls: bool) -> str | None:
    """Return `value` in OpenAI's words; None for a placeholder. Case does not count.

    An unknown name is returned unchanged, because clients may know it, and `other` stands for text that is no name.
    Gemini adds its own word after a colon.

    If an answer `has_calls`, `stop` becomes `tool_calls`. Raises ChatError for a reason that means a failure.
    """
    name = value.partition(":")[0].strip()
    word = name.lower().replace("-", "_")
    if word in _FAILURES:
        raise ChatError(_FAILURES[word])
    if word in _NONE_YET:
        return None
    reason = _SYNONYMS.get(word, word if word in _OPENAI else name)
    if reason == "stop" and has_calls:
        return "tool_calls"
    return reason if _SAFE.fullmatch(reason) and masked(reason) == reason else OTHER


_OPENAI = frozenset({"stop", "length", "tool_calls", "content_filter"})
