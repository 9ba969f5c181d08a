"""A copy of what a model sends, for the hooks and signals at the end of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from quartapp.answer.report import AnswerReport
from quartapp.core.events import Batches, Delta, Event, Raw, Reasoning, Refusal, ToolCall
from quartapp.core.request import ChatRequest
from quartapp.protocols.chat_completions.chunk import ChunkCall, text_in
from quartapp.protocols.native.whole import merge
from quartapp.upstreams.common.lenient_json import REFUSALS, parse
from quartapp.upstreams.model import OpenStream


class _Delta(msgspec.Struct):
    """The fields of a transcript. Reasoning may have any type, because chunks are passed on unchanged."""

    content: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[ChunkCall] | None = None

    @property
    def thought(self) -> str:
        return text_in(self.reasoning_content or self.reasoning or self.thinking or self.reasoning_details)


class _Choice(msgspec.Struct):
    delta: _Delta
    index: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


_CHUNKS: Final = msgspec.json.Decoder(_Chunk)


class Transcript:
    """The events of one answer, which pass through `stream` on their way from the model."""

    def __init__(self, open_stream: OpenStream, request: ChatRequest) -> None:
        self._open_stream = open_stream
        self._request = request
        self._events: list[Event] = []
        self._extra: dict[str, Any] | None = None

    async def stream(self) -> Batches:
        """Yield the batches of the model unchanged, and keep their events."""
        async with aclosing(self._open_stream()) as batches:
            async for batch in batches:
                self._events.extend(batch.pieces)
                self._extra = batch.extra or self._extra
                yield batch

    def complete(self, report: AnswerReport) -> AnswerReport:
        """Return `report` with the request, its principal, and the answer as far as the model sent it."""
        answer = merge(event for piece in self._events for event in _read(piece))
        answer.id, answer.model, answer.extra = report.id, report.model, self._extra
        answer.finish_reason, answer.usage = report.finish_reason or "", report.usage
        return replace(report, request=self._request, principal=self._request.principal, answer=answer)


def _read(event: Event) -> Iterator[Event]:
    """Yield the events in a chunk of the upstream, of its first choice, and any other event unchanged."""
    if not isinstance(event, Raw):
        yield event
        return
    try:
        chunk = _decode(event.payload)
    except (*REFUSALS, ValueError):
        yield Delta(event.text or "")
        return
    for delta in (choice.delta for choice in chunk.choices or () if choice.index == 0):
        yield Reasoning(delta.thought)
        yield Delta(delta.content or "")
        yield Refusal(delta.refusal or "")
        for call in delta.tool_calls or ():
            named = call.custom or call.function
            name = None if named is None else named.name
            yield ToolCall(call.index or 0, call.id, name, call.arguments)


def _decode(payload: bytes) -> _Chunk:
    """Return the chunk. Raises one of REFUSALS or ValueError."""
    try:
        return _CHUNKS.decode(payload)
    except msgspec.DecodeError:  # for example because of NaN
        return msgspec.convert(parse(payload), _Chunk)
