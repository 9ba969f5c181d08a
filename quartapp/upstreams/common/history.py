"""State of earlier answers that goes back to a model's server.

A conversation contains state from servers: signatures of thoughts, thoughts, encrypted items. The server that attached
it refuses the next request without it. Another server refuses it, and must not receive it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest, JsonObject, without
from quartapp.upstreams.common.marks import Origin

#: Fields that an entry may list: state of a turn or a call, and the two names that servers use for thoughts.
Field = Literal[
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
    "extra_content",
    "provider_specific_fields",
]

_THOUGHTS: Final = ("reasoning_content", "reasoning")

# A server that requires thoughts refuses a turn without them. Some treat empty text as missing.
_NO_THOUGHTS: Final = " "

# Fields of a reasoning item of the Responses API. Other fields from a client are not sent.
_ITEM_FIELDS: Final = ("id", "type", "summary", "content", "encrypted_content", "status")


class ReturnedState(msgspec.Struct, frozen=True):
    """The state that one model's server gets back: state with the mark of `origin`, and fields in `names`.

    State without a mark has an unknown origin. Thoughts go back only in a conversation with tools, there with each
    turn. More than `max_chars` characters of state are refused.
    """

    origin: Origin = Origin()
    names: frozenset[str] = frozenset()
    max_chars: int = 100_000

    def check(self, request: ChatRequest, *, has_tools: bool = False) -> None:
        """Raise ChatError, too_large, for more state than the model may receive; `has_tools` is as in `messages`."""
        if sum(map(_chars, self._states(request.messages, has_tools))) > self.max_chars:
            raise ChatError("too_large", path="messages")

    def messages(self, turns: Sequence[JsonObject], *, has_tools: bool = False) -> list[JsonObject]:
        """Return the turns in the form of chat completions; `has_tools` is whether the request names tools."""
        names = self._thought_names(turns, has_tools)
        return [self._turn(turn, names) if turn["role"] == "assistant" else turn for turn in turns]

    def items(self, call: JsonObject) -> tuple[list[JsonObject], list[JsonObject]]:
        """Return the reasoning items that the Responses API sent before `call`: before the turn's text, and after."""
        content = self._state(call).get("extra_content")
        given = content.get("openai") if isinstance(content, dict) else None
        state = given if isinstance(given, dict) else {}
        items, place = state.get("reasoning_items"), state.get("before_text")
        found = [_sendable(each) for each in items] if isinstance(items, list) else []
        count = place if isinstance(place, int) and place > 0 else 0
        return [each for each in found[:count] if each], [each for each in found[count:] if each]

    def _turn(self, turn: JsonObject, thought_names: Sequence[str]) -> JsonObject:
        if not thought_names and "extra" not in turn and "tool_calls" not in turn:
            return turn
        sent = without(turn, {"extra"}) | self._state(turn)
        if "tool_calls" in turn:
            sent["tool_calls"] = [without(call, {"extra"}) | self._state(call) for call in turn["tool_calls"]]
        return sent | dict.fromkeys(thought_names, turn.get("extra", {}).get("reasoning", _NO_THOUGHTS))

    def _states(self, turns: Sequence[JsonObject], has_tools: bool) -> Iterator[JsonObject]:
        names = self._thought_names(turns, has_tools)
        for turn in turns:
            if "extra" in turn:
                yield self._state(turn) | dict.fromkeys(names, turn["extra"].get("reasoning", _NO_THOUGHTS))
            if "tool_calls" in turn:
                yield from (self._state(call) for call in turn["tool_calls"] if "extra" in call)

    def _thought_names(self, turns: Sequence[JsonObject], has_tools: bool) -> list[str]:
        """Return the names under which each turn gets its thoughts. DeepSeek requires them for turns without calls too.

        In a conversation without tools it ignores them, and they would only cost time.
        """
        names: list[str] = [name for name in _THOUGHTS if name in self.names]
        return names if names and (has_tools or any("tool_calls" in turn for turn in turns)) else []

    def _state(self, holder: JsonObject) -> JsonObject:
        """Return the state of a turn or of a call that goes back to the server."""
        extra = without(holder.get("extra", {}), _THOUGHTS)
        if not extra:
            return extra
        own, unmarked = self.origin.unmark(extra)
        return own | {name: value for name, value in unmarked.items() if name in self.names}


def without_state(request: ChatRequest) -> ChatRequest:
    """Return the request without the state of servers, for a model of the host app."""
    if not any("extra" in holder for turn in request.messages for holder in (turn, *turn.get("tool_calls", ()))):
        return request
    return msgspec.structs.replace(request, messages=ReturnedState().messages(request.messages))


def _sendable(item: Any) -> JsonObject | None:
    """Return an encrypted reasoning item without unknown fields; None for any other value."""
    if not isinstance(item, dict) or item.get("type") != "reasoning" or not item.get("encrypted_content"):
        return None
    return {name: item[name] for name in _ITEM_FIELDS if name in item}


def _chars(state: Any) -> int:
    return len(msgspec.json.encode(state)) if state else 0
