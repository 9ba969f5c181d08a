"""Why an answer ended, in OpenAI's five words: stop, length, tool_calls, content_filter, and function_call of old."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from quartapp.core.errors import ChatError, Code, masked

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
# Ends that no answer has: the server gave up, or somebody made it.
_FAILURES: Final[Mapping[str, Code]] = {
    "error": "upstream_error",
    "network_error": "upstream_error",
    "insufficient_system_resource": "upstream_overloaded",
    **dict.fromkeys(("abort", "aborted", "cancelled", "canceled"), "upstream_truncated"),
}
# What some servers write in each chunk until there is a reason.
_NONE_YET: Final = frozenset({"null", "none", "not_finished", "in_progress"})
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,32}")

#: What a reason is told as that is no name: an answer has ended, and nobody here can say why.
OTHER: Final = "other"


def read_finish_reason(said: str, *, has_calls: bool) -> str | None:
    """`said` in OpenAI's words, whatever case it comes in; a name that nobody knows stands as it is, as clients can
    make something of it, and what is no name is `other`. Gemini adds its own word after a colon.

    An answer that `has_calls` and merely stops has stopped for them; None is no end. Raises ChatError for an end that
    is a failure.
    """
    name = said.partition(":")[0].strip()
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
