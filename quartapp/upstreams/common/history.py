"""State of earlier answers that goes back to a model's server.

A conversation contains state from servers: signatures of thoughts, thoughts, encrypted items. The server that attached
it refuses the next request without it. Another server refuses it, and must not receive it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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

# A server that requires thoughts next to each call refuses a call without them. Some treat empty text as missing.
_NO_THOUGHTS: Final = " "

# Fields of a reasoning item of the Responses API. Other fields from a client are not sent.
_ITEM_FIELDS: Final = ("id", "type", "summary", "content", "encrypted_content", "status")


class ReturnedState(msgspec.Struct, frozen=True):
    """The state that one model's server gets back: state with the mark of `origin`, and fields in `names`.

    State without a mark has an unknown origin. Thoughts go back only next to tool calls. More than `max_chars`
    characters of state are refused.
    """

    origin: Origin = Origin()
    names: frozenset[str] = frozenset()
    max_chars: int = 100_000

    def check(self, request: ChatRequest) -> None:
        """Raise ChatError, too_large, for more state than the model may receive."""
        if sum(map(_chars, self._states(request.messages))) > self.max_chars:
            raise ChatError("too_large", path="messages")

    def messages(self, turns: Sequence[JsonObject]) -> list[JsonObject]:
        """Return the turns in the form of chat completions."""
        return [self._turn(turn) if turn["role"] == "assistant" else turn for turn in turns]

    def items(self, call: JsonObject) -> list[JsonObject]:
        """Return the reasoning items that the Responses API sent before `call`."""
        content = self._state(call).get("extra_content")
        given = content.get("openai", {}) if isinstance(content, dict) else {}
        items = given.get("reasoning_items") if isinstance(given, dict) else None
        found = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
        return [
            {name: item[name] for name in _ITEM_FIELDS if name in item}
            for item in found
            if item.get("type") == "reasoning" and item.get("encrypted_content")
        ]

    def _turn(self, turn: JsonObject) -> JsonObject:
        if "extra" not in turn and "tool_calls" not in turn:
            return turn
        sent = without(turn, {"extra"}) | self._state(turn)
        if "tool_calls" in turn:
            sent |= self._thoughts(turn)
            sent["tool_calls"] = [without(call, {"extra"}) | self._state(call) for call in turn["tool_calls"]]
        return sent

    def _states(self, turns: Iterable[JsonObject]) -> Iterator[JsonObject]:
        for turn in turns:
            if "extra" in turn:
                yield self._state(turn) | (self._thoughts(turn) if "tool_calls" in turn else {})
            if "tool_calls" in turn:
                yield from (self._state(call) for call in turn["tool_calls"] if "extra" in call)

    def _state(self, holder: JsonObject) -> JsonObject:
        """Return the state of a turn or of a call that goes back to the server."""
        extra = without(holder.get("extra", {}), _THOUGHTS)
        if not extra:
            return extra
        own, unmarked = self.origin.unmark(extra)
        return own | {name: value for name, value in unmarked.items() if name in self.names}

    def _thoughts(self, turn: JsonObject) -> JsonObject:
        thoughts = turn.get("extra", {}).get("reasoning", _NO_THOUGHTS)
        return {name: thoughts for name in _THOUGHTS if name in self.names}


def without_state(request: ChatRequest) -> ChatRequest:
    """Return the request without the state of servers, for a model of the host app."""
    if not any("extra" in holder for turn in request.messages for holder in (turn, *turn.get("tool_calls", ()))):
        return request
    return msgspec.structs.replace(request, messages=ReturnedState().messages(request.messages))


def _chars(state: Any) -> int:
    return len(msgspec.json.encode(state)) if state else 0
