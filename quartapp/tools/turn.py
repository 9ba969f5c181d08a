"""One turn of a model with tools in Python: its events for the client, and its complete calls."""

from __future__ import annotations

import asyncio
import secrets
from functools import cached_property
from typing import Final

from msgspec.structs import replace

from quartapp.core.errors import ChatError
from quartapp.core.events import BLANK_LINE, Batch, Batches, Delta, Piece, ToolCall, ToolResult
from quartapp.core.request import JsonObject
from quartapp.protocols.native.whole import WholeAnswer, merge
from quartapp.tools.calls import CompleteCall, ToolRunner

#: The value of `executor` in calls of tools in Python.
SERVER: Final = "server"

#: Seconds for usage and the end of the stream after the finish reason of a turn with calls, as in answer.run.
TAIL_S: Final = 2.0

#: Seconds for the end of the response after its end marker. A complete response keeps its connection usable.
END_S: Final = 0.2


class Turn:
    """One turn of the model: its events as the client gets them, and its complete calls of tools in Python.

    Calls are numbered from `first` on, and no id is in `ids` already, so that a client can tell the calls of all turns
    apart. `end` is the number after the last one. `results` are texts by the ids of their calls. If it `is_later`, a
    blank line precedes its text.
    """

    def __init__(self, tools: ToolRunner, ids: set[str], first: int, *, is_later: bool) -> None:
        self._tools = tools
        self._ids = ids
        self._first = first
        self._needs_line = is_later
        self.end = first
        self._own: set[int] = set()
        self._new_ids: dict[int, str] = {}
        self._events: list[Piece] = []
        self.has_server_calls = self.has_client_calls = self.ends_answer = False
        self.finish_reason: str | None = None
        self.extra: JsonObject | None = None
        self.results: dict[str, str] = {}

    async def read(self, batches: Batches) -> Batches:
        """Yield the batches of the turn.

        If it has own calls, the rest after its finish reason may take TAIL_S, and END_S after its end marker.
        """
        loop = asyncio.get_running_loop()
        tail_until: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(tail_until):
                    batch = await anext(batches)
            except StopAsyncIteration:
                return
            except (ChatError, TimeoutError):
                if self.has_server_calls and self.finish_reason is not None:
                    return
                raise
            has_ended = batch.ended
            yield self._take(batch)
            if self.has_server_calls and self.finish_reason is not None:
                tail_until = tail_until or loop.time() + TAIL_S
                tail_until = min(tail_until, loop.time() + END_S) if has_ended else tail_until

    @cached_property
    def answer(self) -> WholeAnswer:
        """Return the complete turn."""
        answer = merge(self._events)
        answer.extra = self.extra
        return answer

    @property
    def calls(self) -> list[CompleteCall]:
        """Return the complete calls of tools in Python."""
        own = {self._new_ids[index] for index in self._own}
        calls = [call for call in self.answer.tool_calls if call.id in own]
        return [CompleteCall(call.id or "", call.name or "", call.arguments) for call in calls]

    def _take(self, batch: Batch) -> Batch:
        """Return the batch for the client. The end of a turn with own calls is not the end of the answer.

        It is a copy, because a model in Python may yield the same object for several clients.
        """
        batch = replace(batch, pieces=[self._piece(each) for each in batch.pieces])
        if batch.resumes:
            self.finish_reason = None
        self.extra = self.extra if batch.extra is None else batch.extra
        self.finish_reason = batch.finish_reason or self.finish_reason
        batch.extra = None
        if self.has_server_calls:
            batch.finish_reason, batch.ended = None, False
        elif self.finish_reason is not None:
            batch.extra = self.extra
        return batch

    def _piece(self, piece: Piece) -> Piece:
        if isinstance(piece, ToolCall):
            piece = self._call(piece)
        if isinstance(piece, ToolResult):
            self.results[piece.id] = piece.content
        self._events.append(piece)
        if isinstance(piece, Delta) and self._needs_line:
            self._needs_line = False
            return Delta(BLANK_LINE + piece.text)
        return piece

    def _call(self, call: ToolCall) -> ToolCall:
        """Return the fragment with the number and the id of its call in the answer."""
        id, executor = call.id, call.executor
        if call.index not in self._new_ids:
            has_result = call.executor is not None  # it is a call of a model in Python, and names its id
            id = self._new_ids[call.index] = call.id if call.id and has_result else self._unused(call.id)
            self.end = max(self.end, self._first + call.index + 1)
            if call.name is not None and call.kind is None and not has_result and self._tools.runs(call.name):
                self._own.add(call.index)
                self.has_server_calls = True
            elif not has_result:
                self.has_client_calls = True
            executor = SERVER if call.index in self._own else executor
        return replace(call, index=self._first + call.index, id=id, executor=executor)

    def _unused(self, id: str | None) -> str:
        """Return the id of a call, or another one if it is missing or belongs to an earlier call."""
        if not id or id in self._ids:
            id = f"call_{secrets.token_hex(12)}"
        self._ids.add(id)
        return id
