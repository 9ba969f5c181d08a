"""The tool calls of a conversation: the forms in which clients send them, and calls without a result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from quartapp.core.events import CALL_STATE
from quartapp.core.request import JsonObject, without
from quartapp.protocols.common.documents import Strict
from quartapp.protocols.common.states import rejoined, without_thought_mark

#: The result of a call that the user has not approved.
DENIED: Final = "The user did not allow this call."

#: The result that is sent for a call without one, if other calls of the same turn have a result.
NO_RESULT: Final = "There is no result: this call was not answered."

# An id or name from an earlier answer. It has no maximum length, because some servers put a signature into an id.
NonEmptyText = Annotated[str, Field(min_length=1)]


class AnswerPart(Strict):
    """A part of an earlier answer. Unknown fields are accepted, because a server may have added them."""

    model_config = ConfigDict(strict=True, extra="allow")


class FunctionCall(AnswerPart):
    """The function that a model called, and its arguments as the JSON text that the model wrote."""

    name: NonEmptyText
    arguments: str | None = None


class CustomCall(AnswerPart):
    """The custom tool that a model called, and the text that the model wrote for it."""

    name: NonEmptyText
    input: str | None = None


class ToolCallMessage(AnswerPart):
    """A tool call of an earlier answer, in OpenAI's form or in that of the native records (`name`, `arguments`).

    `approved` is the decision of the user about a call that needs an approval, with the `reason` of a denial.
    """

    id: NonEmptyText
    type: Literal["function", "custom"] | None = None
    function: FunctionCall | None = None
    custom: CustomCall | None = None
    kind: Literal["custom"] | None = None
    name: NonEmptyText | None = None
    arguments: str | None = None
    extra: Any = None
    approved: bool | None = None
    reason: str | None = None

    @property
    def field_at_fault(self) -> str | None:
        """Return the missing field if the call names no tool, else None."""
        if self._is_custom:
            return None if self.custom or self.name else "custom"
        return None if self.function or self.name else "function"

    @property
    def chars(self) -> int:
        """Return the number of characters that the call adds to a prompt, with the reason of a denial."""
        return len(self._text) + len(self.reason or "")

    def as_sent(self) -> JsonObject:
        """Return the call in OpenAI's form, with its state in `extra`."""
        state = state_in(self.model_extra, self.extra, CALL_STATE)
        extra = {"extra": state} if state else {}
        if self._is_custom:
            return {"id": self.id, "type": "custom", "custom": {"name": self._name, "input": self._text}, **extra}
        arguments = self._text or "{}"
        return {"id": self.id, "type": "function", "function": {"name": self._name, "arguments": arguments}, **extra}

    @property
    def _is_custom(self) -> bool:
        return "custom" in (self.type, self.kind) or (self.custom is not None and self.function is None)

    @property
    def _name(self) -> str | None:
        tool = self.custom if self._is_custom else self.function
        return tool.name if tool else self.name

    @property
    def _text(self) -> str:
        if self._is_custom and self.custom:
            return self.custom.input or ""
        return (self.function.arguments if self.function else self.arguments) or ""


def state_in(fields: JsonObject | None, extra: Any, names: frozenset[str]) -> JsonObject:
    """Return the state with these `names`, from `fields`, where servers put it, or from our `extra`."""
    if not fields and not extra:
        return {}
    places = [fields or {}, extra if isinstance(extra, dict) else {}]
    state = {name: value for place in places for name, value in place.items() if name in names and value}
    return without_thought_mark(rejoined(state))[0]


def settle(turns: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Yield the turns so that every tool call has a result, without which most servers refuse the conversation.

    An answer that ended inside its calls has calls without a result. If no call of a turn has a result, the calls and
    the state of the turn are removed. If some calls have one, the others get NO_RESULT, because the state of all calls
    may be in the first. A late result is moved to its call. A result without a call is removed, and so is an empty
    turn of an assistant.
    """
    results = _results(turns)
    for index, turn in enumerate(turns):
        if turn["role"] == "tool":
            continue
        call_results = results.get(index, [])
        if "tool_calls" in turn:
            answered = {result["tool_call_id"] for result in call_results}
            missing = [call for call in turn["tool_calls"] if call["id"] not in answered]
            if call_results:
                turn = with_valid_arguments(turn)
                call_results += [_no_result(id) for id in dict.fromkeys(call["id"] for call in missing)]
            else:
                turn = without(turn, {"tool_calls", "extra"})
        if turn["role"] != "assistant" or turn["content"] or turn.get("refusal") or "tool_calls" in turn:
            yield turn
        yield from call_results


def _results(turns: Sequence[JsonObject]) -> dict[int, list[JsonObject]]:
    """Return the results of each turn by its index. A result belongs to the latest call with its id."""
    results: dict[int, list[JsonObject]] = {}
    due: dict[
        str, tuple[int, int]
    ] = {}  # id -> index of the latest turn that calls it, number of calls without a result
    for index, turn in enumerate(turns):
        if "tool_calls" in turn:
            ids = [call["id"] for call in turn["tool_calls"]]
            due |= {id: (index, ids.count(id)) for id in ids}
        if turn["role"] == "tool":
            caller, left = due.get(turn["tool_call_id"], (index, 0))
            if left:
                results.setdefault(caller, []).append(turn)
                due[turn["tool_call_id"]] = (caller, left - 1)
    return results


def _no_result(call_id: str) -> JsonObject:
    return {"role": "tool", "content": NO_RESULT, "tool_call_id": call_id}


def with_valid_arguments(turn: JsonObject) -> JsonObject:
    """Return a turn whose calls all have an object in JSON as their arguments, `{}` in place of any other text.

    Models write other text too, and many servers refuse it when it comes back.
    """
    return turn | {"tool_calls": [_mended(call) for call in turn["tool_calls"]]}


def _mended(call: JsonObject) -> JsonObject:
    if "function" not in call or _is_object(call["function"]["arguments"]):
        return call
    return call | {"function": call["function"] | {"arguments": "{}"}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
