"""What is left to tell of a whole of which a server has sent pieces before."""

from __future__ import annotations

from quartapp.core.errors import ChatError
from quartapp.upstreams.chat_completions.loose import parse

# What half a character becomes.
_HALF = "\ufffd"


def text_rest(told: str, whole: str) -> str | None:
    """What follows in `whole` on what was told; None if it begins otherwise. White space at the ends does not count:
    there are servers that strip what they say whole. A character that was cut in two may be whole now."""
    if whole.startswith(told):
        return whole[len(told) :]
    begun, stripped = told.lstrip(), whole.lstrip()
    if stripped.startswith(begun):
        return stripped[len(begun) :]
    is_mended = _HALF in told and len(whole) <= len(told) <= 4 * len(whole)
    return "" if is_mended or begun.rstrip() == stripped.rstrip() else None


def arguments_rest(told: str, whole: str) -> str:
    """What follows in a call's arguments on what was told of them; they may be the same in other words of JSON. Raises
    ChatError: upstream_error, if they are others."""
    if whole.startswith(told):
        return whole[len(told) :]
    try:
        is_same = bool(parse(told.encode()) == parse(whole.encode()))
    except (ValueError, RecursionError):
        is_same = False
    if not is_same:
        raise ChatError("upstream_error")
    return ""
