"""The families of servers that attach state: the stream of a step, and the conversation that each accepts.

All follow the same script: five questions with three steps each, which are two calls at once behind text, another call
behind text, and an answer.
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support import responses_upstream as api
from tests.support.endpoints import chunk, event_stream

Json = dict[str, Any]

QUESTIONS: Final = 5
STEPS: Final = 3 * QUESTIONS
FIRST_ANSWER: Final = "Let me look."
LAST_ANSWER: Final = "It is sunny."

_FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS: Final = [{"type": "function", "function": _FUNCTION}, {"type": "custom", "custom": {"name": "run"}}]


@dataclass(frozen=True)
class Call:
    """A call of a step; `text` are its arguments, or the input of a custom tool."""

    id: str
    name: str
    text: str
    is_custom: bool = False

    @property
    def result(self) -> str:
        """Return the result that every client has to send."""
        return f"sunny for {self.id}"

    @property
    def openai(self) -> Json:
        if self.is_custom:
            return {"id": self.id, "type": "custom", "custom": {"name": self.name, "input": self.text}}
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.text}}


@dataclass(frozen=True)
class Step:
    """The step `number` of the conversation `name`, sent by `family`."""

    family: Family
    name: str
    number: int

    @property
    def text(self) -> str:
        texts = ("" if self.number == 3 else FIRST_ANSWER, "One more.", LAST_ANSWER)
        return texts[self.number % 3]

    @property
    def thoughts(self) -> str:
        return f"They ask {self.number},\nso — {self.name}."

    @property
    def calls(self) -> list[Call]:
        names = (("Bern", "Zürich"), ("Oslo",), ())[self.number % 3]
        return [self.family.call(f"call_{self.number}_{place}", city, place) for place, city in enumerate(names)]

    def token(self, place: int | str = "") -> str:
        """Return opaque state that no other step, conversation or server has."""
        return base64.b64encode(f"{self.family.name}/{self.name}/{self.number}/{place}".encode()).decode()


class Family(ABC):
    """The form of one family of servers: its stream of a step, and the conversation that it accepts."""

    name: str

    def call(self, id: str, city: str, place: int) -> Call:
        return Call(id, "weather", json.dumps({"city": city}))

    @abstractmethod
    def stream(self, step: Step) -> bytes:
        """Return the body of the response for a step."""

    @abstractmethod
    def step_items(self, step: Step) -> list[Json]:
        """Return the items of a step in the conversation; a step of another family has no state."""

    @abstractmethod
    def result_item(self, call: Call) -> Json: ...

    def received(self, body: Json, steps: Sequence[Step]) -> list[Json]:
        """Return the conversation in a request, without the parts that are free."""
        items: list[Json] = body["messages"]
        return items

    def fault_in(self, body: Json, name: str, steps: Sequence[Step]) -> str | None:
        """Return the first difference from the conversation after `steps`."""
        expected: list[Json] = []
        for step in steps:
            expected += [question(name, step.number // 3)] if step.number % 3 == 0 else []
            expected += self.step_items(step) + [self.result_item(call) for call in step.calls]
        expected += [question(name, len(steps) // 3)] if len(steps) % 3 == 0 else []
        received = self.received(body, steps)
        return (
            difference(_with_objects(expected), _with_objects(received))
            if name.startswith("ai")
            else difference(expected, received)
        )


def question(name: str, number: int) -> Json:
    return {"role": "user", "content": f"{name} {number}"}


class ChatFamily(Family):
    """A server with chat completions, and without state."""

    def stream(self, step: Step) -> bytes:
        reason = "tool_calls" if step.calls else "stop"
        deltas = [{"role": "assistant", "content": ""}, *self.deltas(step)]
        return event_stream(*map(chunk, deltas), chunk({}, reason))

    def deltas(self, step: Step) -> Iterator[Json]:
        yield from ({"content": piece} for piece in api.pieces(step.text))
        for index, call in enumerate(step.calls):
            kind, field = ("custom", "input") if call.is_custom else ("function", "arguments")
            begun = {"index": index, "id": call.id, "type": kind, kind: {"name": call.name, field: ""}}
            yield {"tool_calls": [begun]}
            yield from ({"tool_calls": [{"index": index, kind: {field: piece}}]} for piece in api.pieces(call.text))

    def step_items(self, step: Step) -> list[Json]:
        turn: Json = {"role": "assistant", "content": step.text or None}
        if step.calls:
            turn["tool_calls"] = [call.openai for call in step.calls]
        return [self.with_state(turn, step) if step.family is self else turn]

    def with_state(self, turn: Json, step: Step) -> Json:
        return turn

    def result_item(self, call: Call) -> Json:
        return {"role": "tool", "content": call.result, "tool_call_id": call.id}


class Custom(ChatFamily):
    """A server whose second call at once is one of a custom tool."""

    name = "custom"

    def call(self, id: str, city: str, place: int) -> Call:
        return Call(id, "run", f"echo '{city}'\n", is_custom=True) if place else super().call(id, city, place)


class Gemini(ChatFamily):
    """A server that signs the first call of a step, and a text without calls."""

    name = "gemini"

    def deltas(self, step: Step) -> Iterator[Json]:
        yield from ({"content": piece} for piece in api.pieces(step.text))
        if step.calls:
            yield {"tool_calls": [{"index": index} | call for index, call in enumerate(self._calls(step))]}
        else:
            yield {"content": "", **self._signature(step)}

    def with_state(self, turn: Json, step: Step) -> Json:
        return turn | ({"tool_calls": self._calls(step)} if step.calls else self._signature(step))

    def _calls(self, step: Step) -> list[Json]:
        first, *others = [call.openai for call in step.calls]
        return [first | self._signature(step), *others]

    def _signature(self, step: Step) -> Json:
        return {"extra_content": {"google": {"thought_signature": step.token()}}}


class DeepSeek(ChatFamily):
    """A server that requires the thoughts of each step, because its requests carry tools. Step 4 has none."""

    name = "deepseek"

    def deltas(self, step: Step) -> Iterator[Json]:
        yield from ({"reasoning_content": piece} for piece in api.pieces(self._thoughts(step)))
        yield from super().deltas(step)

    def with_state(self, turn: Json, step: Step) -> Json:
        return turn | {"reasoning_content": self._thoughts(step) or " "}

    def received(self, body: Json, steps: Sequence[Step]) -> list[Json]:
        """Return the conversation without the thoughts of steps of other servers, which only have to be there."""
        foreign = iter([step.family is not self for step in steps])
        return [
            {name: value for name, value in turn.items() if name != "reasoning_content" or not value}
            if turn["role"] == "assistant" and next(foreign, False)
            else turn
            for turn in body["messages"]
        ]

    def fault_in(self, body: Json, name: str, steps: Sequence[Step]) -> str | None:
        turns = [turn for turn in body["messages"] if turn["role"] == "assistant"]
        lacking = [turn for turn in turns if not turn.get("reasoning_content")]
        return f"no reasoning_content: {lacking[0]}" if lacking else super().fault_in(body, name, steps)

    def _thoughts(self, step: Step) -> str:
        return "" if step.number == 4 else step.thoughts


class OpenRouter(ChatFamily):
    """A server that requires its reasoning_details: text in pieces with a signature, and encrypted data."""

    name = "openrouter"
    _HEAD: Final = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}

    def deltas(self, step: Step) -> Iterator[Json]:
        for piece in api.pieces(step.thoughts):
            yield {"content": "", "reasoning": piece, "reasoning_details": [self._HEAD | {"text": piece}]}
        yield {"content": "", "reasoning_details": [self._HEAD | {"signature": step.token(0)}]}
        yield {"content": "", "reasoning_details": self._details(step)[1:]}
        yield from super().deltas(step)

    def with_state(self, turn: Json, step: Step) -> Json:
        return turn | {"reasoning_details": self._details(step)}

    def _details(self, step: Step) -> list[Json]:
        hidden = {"type": "reasoning.encrypted", "data": step.token(1), "format": "google-gemini-v1", "index": 1}
        text = self._HEAD | {"text": step.thoughts, "signature": step.token(0)}
        return [text, hidden | {"id": f"rs_{step.number}"}]


class LiteLLM(ChatFamily):
    """A gateway that requires its thinking_blocks, whose entries have no number, and the state of a call."""

    name = "litellm"

    def deltas(self, step: Step) -> Iterator[Json]:
        for piece in api.pieces(step.thoughts):
            yield {"content": "", "reasoning_content": piece, "thinking_blocks": [_thinking(piece)]}
        yield {"content": "", "thinking_blocks": [_thinking("") | {"signature": step.token(0)}]}
        yield {"content": "", "thinking_blocks": self._blocks(step)[1:]}
        yield from super().deltas(step)

    def with_state(self, turn: Json, step: Step) -> Json:
        return turn | {"thinking_blocks": self._blocks(step)}

    def _blocks(self, step: Step) -> list[Json]:
        redacted = {"type": "redacted_thinking", "data": step.token(1)}
        return [_thinking(step.thoughts) | {"signature": step.token(0)}, redacted]


def _thinking(text: str) -> Json:
    return {"type": "thinking", "thinking": text}


class Responses(Custom):
    """A server with the Responses API, which requires the encrypted items before a call."""

    name = "responses"

    def stream(self, step: Step) -> bytes:
        return api.encode(api.stream(*self._output(step)))

    def received(self, body: Json, steps: Sequence[Step]) -> list[Json]:
        items: list[Json] = body["input"]
        return items

    def fault_in(self, body: Json, name: str, steps: Sequence[Step]) -> str | None:
        return api.fault_in_body(body) or super().fault_in(body, name, steps)

    def step_items(self, step: Step) -> list[Json]:
        text = [{"role": "assistant", "content": step.text}] if step.text else []
        if step.family is not self:
            return text + [_item_of(call) for call in step.calls]
        # The item before a text goes back only if a call follows.
        first = [self._thought(step, "text")] if step.calls else []
        return first + text + [item for call in step.calls for item in (self._thought(step, call.id), _item_of(call))]

    def result_item(self, call: Call) -> Json:
        kind = "custom_tool_call_output" if call.is_custom else "function_call_output"
        return {"type": kind, "call_id": call.id, "output": call.result}

    def _output(self, step: Step) -> list[Json]:
        calls = [item for call in step.calls for item in (self._thought(step, call.id), _item_of(call))]
        text = [api.message(step.text, id=f"msg_{step.number}")] if step.text else []
        items = [self._thought(step, "text"), *text, *calls]
        return [{"id": f"item_{place}", "status": "completed"} | item for place, item in enumerate(items)]

    def _thought(self, step: Step, place: str) -> Json:
        item = api.thinking(step.thoughts, id=f"rs_{step.number}_{place}")
        return item | {"status": "completed", "encrypted_content": step.token(place)}


def _item_of(call: Call) -> Json:
    if call.is_custom:
        return {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.text}
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.text}


FAMILIES: Final[Mapping[str, Family]] = {
    each.name: each for each in (Gemini(), DeepSeek(), OpenRouter(), LiteLLM(), Custom(), Responses())
}


def difference(expected: Any, received: Any, path: str = "") -> str | None:
    """Return the first place at which two documents differ, with both values."""
    if isinstance(expected, dict) and isinstance(received, dict):
        pairs = [(name, expected.get(name, _NONE), received.get(name, _NONE)) for name in {**expected, **received}]
    elif isinstance(expected, list) and isinstance(received, list):
        length = max(len(expected), len(received))
        padded = [each + [_NONE] * (length - len(each)) for each in (expected, received)]
        pairs = [(str(place), *pair) for place, pair in enumerate(zip(*padded, strict=True))]
    else:
        return None if expected == received else f"{path}: expected {expected!r}, received {received!r}"
    found = (difference(wanted, given, f"{path}.{name}") for name, wanted, given in pairs)
    return next(filter(None, found), None)


_NONE: Final = "(nothing)"


def _with_objects(items: list[Json]) -> list[Json]:
    """Return the items with decoded arguments, because the AI SDK encodes them again."""
    return json.loads(json.dumps(items), object_hook=_decoded)  # type: ignore[no-any-return]


def _decoded(document: Json) -> Json:
    return document | {"arguments": json.loads(document["arguments"])} if "arguments" in document else document
