"""Chunks of an upstream on their way through a filter: decoded, filtered for each choice, and encoded again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from quartapp.answer.filter.choice import FilteredChoice
from quartapp.answer.filter.held_text import TextFunction
from quartapp.answer.filter.values import filtered_value, passed_state
from quartapp.core.events import CALL_STATE, TURN_STATE, Delta, Piece, Raw, Reasoning, Refusal, ToolCall
from quartapp.core.request import JsonObject
from quartapp.protocols.chat_completions.chunk import ChunkDelta, CompletionChunk, text_in
from quartapp.protocols.chat_completions.encode import Content, delta_object
from quartapp.protocols.common.encoding import to_json
from quartapp.protocols.common.states import add_state, joined, without_thought_mark
from quartapp.upstreams.chat_completions.attached import AttachmentParser, cited_by
from quartapp.upstreams.common.lenient_json import parsed

_HEAD: Final = ("id", "object", "created", "model")
_PLAIN: Final = frozenset({"content", "role"})
_THOUGHTS: Final = ("reasoning_content", "reasoning")

# The index of the older `function_call`, of which a message has at most one.
_OLD_CALL: Final = -1


class ChunkFilter:
    """The filter of an answer in chunks, with any number of choices.

    The new chunks have the head of the last chunk, texts, reasoning, refusals, calls, sources, images, state and usage,
    each with the names that the upstream uses. Log probabilities, sound and unknown fields are left out, because they
    may contain the text too.
    """

    def __init__(self, function: TextFunction, window: int) -> None:
        self._function = function
        self._window = window
        self._choices: dict[int, _RawChoice] = {}
        self._head: JsonObject = {}
        self._usage: Any = None

    def add(self, chunks: Iterable[Raw]) -> list[Piece]:
        """Return the chunks that can be sent after `chunks` have arrived."""
        sent: list[Piece] = []
        for chunk in chunks:
            document = parsed(chunk.payload)
            self._head = {name: document[name] for name in _HEAD if name in document}
            self._usage = document.get("usage") or self._usage
            for choice in document.get("choices") or ():
                sent += self._add_choice(choice)
            if self._usage and not document.get("choices"):
                sent.append(self._chunk([]))
            if document.get("citations") or document.get("search_results"):
                self._choice(0).add_sources(document)
        for index, choice in self._choices.items():
            sent += self._chunks(index, choice.take())
        return sent

    def flush(self) -> list[Piece]:
        """Return all that waits."""
        sent: list[Piece] = [
            chunk for index, choice in self._choices.items() for chunk in self._chunks(index, choice.flush())
        ]
        return [*sent, self._chunk([])] if self._usage else sent

    def _add_choice(self, document: JsonObject) -> Iterator[Piece]:
        index, reason = document.get("index") or 0, document.get("finish_reason")
        choice = self._choice(index)
        choice.add(document.get("delta") or {})
        if reason:
            yield from self._chunks(index, choice.flush())
            yield self._chunk([{"index": index, "delta": choice.take_state(), "finish_reason": reason}])

    def _choice(self, index: int) -> _RawChoice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _RawChoice(self._function, self._window)
        return choice

    def _chunks(self, index: int, deltas: Iterable[JsonObject]) -> Iterator[Raw]:
        for delta in deltas:
            yield self._chunk([{"index": index, "delta": delta, "finish_reason": None}])

    def _chunk(self, choices: Sequence[JsonObject]) -> Raw:
        usage = {"usage": filtered_value(self._usage, self._function)} if self._usage else {}
        self._usage = None
        return Raw(to_json({**self._head, "choices": choices, **usage}))


class _RawChoice:
    """One choice of an answer in chunks: its deltas become events, and the filtered events become deltas."""

    def __init__(self, function: TextFunction, window: int) -> None:
        self._function = function
        self._filtered = FilteredChoice(function, window)
        self._arrived: list[Piece] = []
        self._attached = AttachmentParser()
        self._state: JsonObject = {}
        self._thought_names: dict[str, None] = {}
        self._has_thought_tag = False
        self._role: JsonObject = {"role": "assistant"}

    def add(self, delta: JsonObject) -> None:
        """Take a delta as the upstream sent it."""
        if delta.keys() <= _PLAIN and isinstance(delta.get("content"), str):  # most tokens
            self._arrived += [Delta(delta["content"])] if delta["content"] else []
            return
        state, is_thought = without_thought_mark({name: delta[name] for name in TURN_STATE if delta.get(name)})
        add_state(self._state, state)
        self._thought_names |= {name: None for name in _THOUGHTS if delta.get(name)}
        text = text_in(delta.get("content"))
        self._has_thought_tag = self._has_thought_tag or (is_thought and text.startswith("<thought>"))
        texts = (
            (Reasoning, _thought_in(delta)),
            (Reasoning if is_thought and not self._has_thought_tag else Delta, text),
            (Delta, ChunkDelta(audio=delta.get("audio")).transcript),
            (Refusal, text_in(delta.get("refusal"))),
        )
        self._arrived += [kind(text) for kind, text in texts if text]
        self._arrived += map(_call, delta.get("tool_calls") or ())
        if old := delta.get("function_call"):
            self._arrived.append(ToolCall(_OLD_CALL, None, old.get("name"), old.get("arguments")))
        self._arrived += self._attached.read(delta.get("annotations"), delta.get("images"))

    def add_sources(self, document: JsonObject) -> None:
        """Take the pages next to the choices of a chunk. They become annotations."""
        pages = cited_by(
            CompletionChunk([], citations=document.get("citations"), search_results=document.get("search_results"))
        )
        self._arrived += self._attached.read(pages.annotations, None)

    def take(self) -> Iterator[JsonObject]:
        """Yield the deltas that can be sent."""
        arrived, self._arrived = self._arrived, []
        yield from map(self._delta, self._filtered.add(arrived))

    def flush(self) -> Iterator[JsonObject]:
        """Yield all deltas that wait."""
        yield from self.take()
        yield from map(self._delta, self._filtered.flush())

    def take_state(self) -> JsonObject:
        """Return the last delta, with the state of the server, unless the filter would change it."""
        state, self._state = joined(self._state), {}
        return self._with_role(passed_state(state, self._function) or {})

    def _delta(self, event: Any) -> JsonObject:
        return self._with_role(self._content(event))

    def _content(self, event: Content) -> JsonObject:
        match event:
            case Reasoning(text) if self._thought_names:
                return dict.fromkeys(self._thought_names, text)
            case ToolCall(index, _, name, arguments) if index == _OLD_CALL:
                return {"function_call": {"name": name, "arguments": arguments or ""}}
            case _:
                return delta_object(event)

    def _with_role(self, delta: JsonObject) -> JsonObject:
        role, self._role = self._role, {}
        return role | delta


def _thought_in(delta: JsonObject) -> str:
    names = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
    return text_in(next((delta[name] for name in names if delta.get(name)), None))


def _call(document: JsonObject) -> ToolCall:
    custom = document.get("custom")
    named = custom or document.get("function") or {}
    return ToolCall(
        document.get("index") or 0,
        document.get("id") or None,
        named.get("name") or None,
        named.get("input" if custom else "arguments"),
        "custom" if custom else None,
        {name: document[name] for name in CALL_STATE if document.get(name)} or None,
    )
