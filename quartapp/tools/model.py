"""A model with tools: it wraps a model, runs the tools that it calls, and calls it again with their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final

from msgspec.structs import replace

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch, Batches, Step, ToolApproval
from quartapp.core.request import ChatRequest, JsonObject, without
from quartapp.protocols.common.calls import NO_RESULT, with_valid_arguments
from quartapp.protocols.common.messages import Message
from quartapp.protocols.native.whole import turn_message
from quartapp.tools.calls import CompleteCall, Run, ToolLimits, ToolRunner
from quartapp.tools.tool import PythonTool
from quartapp.tools.turn import Turn
from quartapp.upstreams.model import OpenStream, UpstreamModel

#: Seconds more than the time limit of the tools, so that the tools end first.
MARGIN_S: Final = 10.0

#: Finish reasons of a complete turn with calls.
_CALLING: Final = frozenset({"tool_calls", "function_call", "stop"})


class ToolModel:
    """A model whose calls of `tools` are run here. Calls of other tools belong to the client, and end the answer.

    The results go back to `model` in another call, its next step, up to `limits.max_tool_steps`. The next step may take
    `first_event_timeout_s` to begin. If it `knows_all_tools`, the model has no tools but these and those of the client,
    and a call of another name gets an error as its result.
    """

    def __init__(
        self,
        model: UpstreamModel,
        tools: Sequence[PythonTool],
        run: Run,
        limits: ToolLimits,
        *,
        first_event_timeout_s: float,
        knows_all_tools: bool = False,
    ) -> None:
        self._model = model
        self._tools = {tool.name: tool for tool in tools}
        self._run = run
        self._limits = limits
        self._first_event_timeout_s = first_event_timeout_s
        self._knows_all_tools = knows_all_tools

    def build(self, request: ChatRequest, /) -> OpenStream:
        """Build the request of the first step, with the definitions of the tools.

        If the client approves calls, they run first, and nothing is built yet. Raises ChatError, invalid_request, for
        several answers at once, and for a tool of the client with the name of a tool in Python. Raises the ChatError
        with which the model refuses the request.
        """
        tools = {
            name: tool for name, tool in self._tools.items() if request.shows_tools or tool.needs_approval is False
        }
        if not tools or request.params.get("tool_choice") == "none":
            return self._model.build(request)
        if request.choices > 1:
            raise ChatError("invalid_request", path="n", reason="unsupported")
        calls = ToolRunner(tools, self._run, request, self._limits, knows_all_tools=self._knows_all_tools)
        answer = _ToolAnswer(
            self._model,
            _with_tools(request, tools),
            calls,
            self._limits.max_tool_steps,
            self._first_event_timeout_s,
        )
        open_stream = None if answer.approved else answer.build()
        return lambda: answer.stream(open_stream)


def _with_tools(request: ChatRequest, tools: Mapping[str, PythonTool]) -> ChatRequest:
    theirs = request.params.get("tools", [])
    for index, tool in enumerate(theirs):
        kind = tool["type"]
        if isinstance(tool.get(kind), dict) and tool[kind].get("name") in tools:
            raise ChatError("invalid_request", path=f"tools.{index}.{kind}.name")
    return replace(
        request, params={**request.params, "tools": [*(tool.definition for tool in tools.values()), *theirs]}, raw=False
    )


class _ToolAnswer:
    """One answer. `approved` are calls of the client's last turn that run before the first step."""

    def __init__(
        self,
        model: UpstreamModel,
        request: ChatRequest,
        calls: ToolRunner,
        max_steps: int,
        first_event_timeout_s: float,
    ) -> None:
        self._model = model
        self._request = request
        self._calls = calls
        self._max_steps = max_steps
        self._first_event_timeout_s = first_event_timeout_s
        self._ids = _ids_in(request)
        self._next_number = 0
        self._has_text = False
        self.approved = self._runnable_calls()

    def build(self) -> OpenStream:
        """Build the request of the next step."""
        return self._model.build(self._request)

    async def stream(self, open_stream: OpenStream | None) -> Batches:
        """Yield the batches of all steps.

        Raises ChatError, too_many_steps, if the model calls a tool in the last step too.
        """
        if open_stream is None:
            async with aclosing(self._run_approved()) as batches:
                async for batch in batches:
                    yield batch
            open_stream = self.build()
        for left in reversed(range(self._max_steps)):
            turn = Turn(self._calls, self._ids, self._next_number, is_later=self._has_text)
            async with aclosing(open_stream()) as upstream, aclosing(turn.read(upstream)) as batches:
                async for batch in batches:
                    yield batch
            if not turn.has_server_calls:
                return
            async with aclosing(self._end(turn, has_next=left > 0)) as batches:
                async for batch in batches:
                    yield batch
            if turn.ends_answer:
                return
            open_stream = self._next(turn, is_last=left == 1)
            yield Batch(0, begins_step=True, silence_s=self._first_event_timeout_s)

    async def _end(self, turn: Turn, *, has_next: bool) -> Batches:
        """Yield the end of a turn with own calls: their results, or the end of the answer."""
        if turn.finish_reason is None:
            turn.ends_answer = True  # it is truncated
            return
        if turn.finish_reason not in _CALLING or (turn.has_client_calls and not self._request.shows_tools):
            turn.ends_answer = True
            yield Batch(0, finish_reason=turn.finish_reason, extra=turn.extra, ended=True)
            return
        if not has_next:
            raise ChatError("too_many_steps")
        waiting = [call for call in turn.calls if self._calls.waits_for_approval(call)]
        calls = [call for call in turn.calls if call not in waiting]
        silence_s = self._calls.timeout_s(calls) + MARGIN_S
        yield Batch(0, [Step(turn.extra), *(ToolApproval(call.id, call.name) for call in waiting)], silence_s=silence_s)
        async with aclosing(self._results(calls, turn.results)) as batches:
            async for batch in batches:
                yield batch
        if turn.has_client_calls or waiting:
            turn.ends_answer = True
            yield Batch(0, finish_reason="tool_calls", ended=True)

    async def _results(self, calls: Sequence[CompleteCall], results: dict[str, str]) -> Batches:
        """Yield the results of `calls` as they come, and put their texts into `results`."""
        silence_s = self._calls.timeout_s(calls) + MARGIN_S
        async with aclosing(self._calls.results(calls)) as found:
            async for result in found:
                results[result.id] = result.content
                yield Batch(len(result.content), [result], silence_s=silence_s)

    def _next(self, turn: Turn, *, is_last: bool) -> OpenStream:
        """Build the request of the next step. If it `is_last`, the model has to answer without tools.

        A tool that the client has demanded is not demanded again, because the model would call it forever.
        """
        message = with_valid_arguments(Message.model_validate(turn_message(turn.answer)).as_sent())
        ids = [call.id or "" for call in turn.answer.tool_calls]  # with those that a model in Python has run
        results = [_result_message(id, turn.results.get(id, NO_RESULT)) for id in ids]
        params = without(self._request.params, {"tool_choice"})
        if is_last:
            params["tool_choice"] = "none"
        elif self._request.params.get("tool_choice") == "auto":
            params["tool_choice"] = "auto"
        messages = [*self._request.messages, message, *results]
        self._request = replace(self._request, messages=messages, params=params)
        self._next_number = turn.end
        self._has_text = self._has_text or bool(turn.answer.text)
        return self.build()

    # -- calls that the client has approved

    def _runnable_calls(self) -> list[CompleteCall]:
        """Return the calls at the end of the conversation that may run now: own ones, approved if they need it.

        Of several calls with the same id one runs, because they share their approval and their result.
        """
        opened = self._request.open_calls
        if opened is None or not opened.is_end_of(self._request.messages):
            return []
        calls = {
            call["id"]: CompleteCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in opened.calls
            if "function" in call and self._calls.has(call["function"]["name"])
        }
        return [
            call for call in calls.values() if call.id in opened.approved or not self._calls.waits_for_approval(call)
        ]

    async def _run_approved(self) -> Batches:
        """Yield the results of the approved calls, and put them into the conversation."""
        opened, results = self._request.open_calls, dict[str, str]()
        yield Batch(0, silence_s=self._calls.timeout_s(self.approved) + MARGIN_S)
        async with aclosing(self._results(self.approved, results)) as batches:
            async for batch in batches:
                yield batch
        if opened is not None:
            added = [_result_message(call["id"], results.get(call["id"], NO_RESULT)) for call in opened.calls]
            messages = opened.replaced_in(self._request.messages, added)
            self._request = replace(self._request, messages=messages, open_calls=None)
        yield Batch(0, silence_s=self._first_event_timeout_s)


def _ids_in(request: ChatRequest) -> set[str]:
    """Return the ids of all calls in the conversation. A client may add the answer to the message with them."""
    turns = [*request.messages, *([] if request.open_calls is None else [request.open_calls.turn])]
    return {call["id"] for turn in turns for call in turn.get("tool_calls") or ()}


def _result_message(id: str, content: str) -> JsonObject:
    return {"role": "tool", "content": content, "tool_call_id": id}
