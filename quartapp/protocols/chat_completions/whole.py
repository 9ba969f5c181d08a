"""One complete completion, merged from the chunks of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quartapp.core.events import TURN_STATE
from quartapp.core.request import JsonObject, without
from quartapp.protocols.common.states import TextPieces, add_state, joined, without_thought_mark


def merge(chunks: Iterable[JsonObject]) -> JsonObject:
    """Merge the chunks of a complete answer into one completion.

    Texts and lists are joined, tool calls are merged by their index, and other fields keep their last value.
    """
    completion: JsonObject = {}
    choices: dict[int, _ChoiceMerger] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            choices.setdefault(choice.get("index", 0), _ChoiceMerger()).add(choice)
        completion |= {name: value for name, value in chunk.items() if name not in _OF_CHUNKS and value is not None}
    finished = [choices[index].merged(index) for index in sorted(choices)]
    return completion | {"object": "chat.completion", "choices": finished}


# A completion has no obfuscation, because its purpose is to hide the length of chunks.
_OF_CHUNKS = frozenset({"choices", "obfuscation"})
_ATOMS = frozenset({"role", "id", "type", "name"})


class _ChoiceMerger:
    """One choice of a completion, merged from its chunks."""

    def __init__(self) -> None:
        self._message: JsonObject = {"role": "assistant", "content": None}
        self._calls: dict[int, JsonObject] = {}
        self._rest: JsonObject = {"logprobs": None, "finish_reason": None}
        self._has_thought_tag = False

    def add(self, choice: JsonObject) -> None:
        delta = self._with_thought(choice.get("delta") or {})
        for call in delta.get("tool_calls") or ():
            _merge_into(self._calls.setdefault(call.get("index", 0), {}), without(call, {"index"}))
        _merge_into(self._message, without(delta, {"tool_calls"}))
        for name, value in choice.items():
            if name == "logprobs":
                _merge_into(self._rest, {name: value})
            elif name not in ("index", "delta") and value is not None:
                self._rest[name] = value

    def _with_thought(self, delta: JsonObject) -> JsonObject:
        """Return the delta with a text that Gemini marks as a thought in `reasoning_content`.

        If tags in the text mark the thought too, the text stays where it is.
        """
        rest, is_thought = without_thought_mark(delta)
        if not is_thought:
            return delta
        text = delta.get("content")
        self._has_thought_tag = self._has_thought_tag or str(text).startswith("<thought>")
        return rest if self._has_thought_tag else rest | {"content": None, "reasoning_content": text}

    def merged(self, index: int) -> JsonObject:
        calls = [self._calls[number] for number in sorted(self._calls)]
        message = self._message | ({"tool_calls": [_joined(call) for call in calls]} if calls else {})
        return {"index": index, "message": _joined(message), **_joined(self._rest)}


def _merge_into(merged: JsonObject, added: JsonObject) -> None:
    for name, value in added.items():
        known = merged.get(name)
        if name in TURN_STATE:
            add_state(merged, {name: value})
        elif value is None:
            merged.setdefault(name, None)
        elif isinstance(value, dict):
            merged[name] = inner = known if isinstance(known, dict) else {}
            _merge_into(inner, value)
        elif isinstance(value, str) and name not in _ATOMS:
            merged[name] = texts = known if isinstance(known, TextPieces) else TextPieces()
            texts.append(value)
        elif isinstance(value, list) and type(known) is list:
            known += value
        elif value != "" or known is None:  # many servers repeat an id or a name, as an empty string
            merged[name] = value


def _joined(merged: JsonObject) -> JsonObject:
    return {name: _joined_value(name, value) for name, value in merged.items()}


def _joined_value(name: str, value: Any) -> Any:
    if name in TURN_STATE or isinstance(value, TextPieces):
        return joined(value)
    return _joined(value) if isinstance(value, dict) else value
