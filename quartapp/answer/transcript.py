"""A copy of what a model sends, for the hooks and signals at the end of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec.structs import replace

from quartapp.answer.report import AnswerReport
from quartapp.core.events import Batches, Delta, Event, Raw, Reasoning, Refusal, ToolCall
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest
from quartapp.protocols.chat_completions.chunk import CompletionChunk
from quartapp.protocols.native.whole import merge
from quartapp.upstreams.model import OpenStream

_CHUNKS: Final = msgspec.json.Decoder(CompletionChunk)


class Transcript:
    """The events of one answer, which pass through `stream` on their way from the model."""

    def __init__(self, open_stream: OpenStream) -> None:
        self._open_stream = open_stream
        self._events: list[Event] = []

    async def stream(self) -> Batches:
        """Yield the batches of the model unchanged, and keep their events."""
        async with aclosing(self._open_stream()) as batches:
            async for batch in batches:
                self._events.extend(batch.pieces)
                yield batch

    def complete(self, report: AnswerReport, request: ChatRequest, principal: Principal | None) -> AnswerReport:
        """Return `report` with the request, its principal, and the answer as far as the model sent it."""
        answer = merge(event for piece in self._events for event in _read(piece))
        answer.id, answer.model = report.id, report.model
        answer.finish_reason, answer.usage = report.finish_reason or "", report.usage
        return replace(report, request=request, principal=principal, answer=answer)


def _read(event: Event) -> Iterator[Event]:
    """Yield the events in a chunk of the upstream, of its first choice, and any other event unchanged."""
    if not isinstance(event, Raw):
        yield event
        return
    for delta in (choice.delta for choice in _CHUNKS.decode(event.payload).choices if choice.index == 0):
        yield Reasoning(delta.thought or "")
        yield Delta(delta.content or "")
        yield Refusal(delta.refusal or "")
        for call in delta.tool_calls or ():
            named = call.custom or call.function
            name = None if named is None else named.name
            yield ToolCall(call.index or 0, call.id, name, call.arguments)
