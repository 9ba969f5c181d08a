"""The calls of tools in one answer, run concurrently within their limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from quartapp.core.events import ToolCall, ToolResult
from quartapp.core.outcome import Outcome, is_cancelled
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest
from quartapp.protocols.common.encoding import to_utf8
from quartapp.tools.tool import Context, PythonTool, ToolError, to_text

log = logging.getLogger("quartapp.tools")

#: Runs a function of the host app in a new app context, a sync one in a thread.
Run = Callable[[Callable[[], Any]], Awaitable[Any]]

#: Seconds for tools to end after their answer was cancelled. Later ones are left alone.
STOP_S: Final = 1.0

TOO_MANY: Final = "Not called, because this answer has called as many tools as it may. Answer with what you know."


class ToolLimits(msgspec.Struct, frozen=True):
    """The limits of the tools of one answer, with the values of the settings of the same names."""

    tool_timeout_s: float
    max_tool_steps: int
    max_tool_calls: int
    max_tool_result_chars: int


class CompleteCall(msgspec.Struct, frozen=True):
    """A complete call of a model, with the arguments as it wrote them."""

    id: str
    name: str
    arguments: str


class ToolRunner:
    """The calls of the `tools` offered in one answer. Their number is limited for all steps together.

    If it `knows_all_tools`, those of `tools` and of the request are all that the model knows.
    """

    def __init__(
        self,
        tools: Mapping[str, PythonTool],
        run: Run,
        request: ChatRequest,
        limits: ToolLimits,
        *,
        knows_all_tools: bool = False,
    ) -> None:
        self._tools = tools
        self._run = run
        self._request = request
        self._limits = limits
        self._left = limits.max_tool_calls
        self._knows_all_tools = knows_all_tools
        self._client_tools = {tool.get(tool["type"], {}).get("name") for tool in request.params.get("tools", ())}

    def has(self, name: str) -> bool:
        """Return whether a tool of that name is offered."""
        return name in self._tools

    def runs(self, name: str) -> bool:
        """Return whether a call is answered here: of an offered tool, or of a name that the model has invented."""
        return name in self._tools or (self._knows_all_tools and name not in self._client_tools)

    def timeout_s(self, calls: Sequence[CompleteCall]) -> float:
        """Return the longest time limit of these calls."""
        tools = [self._tools[call.name] for call in calls if call.name in self._tools]
        return max(map(self._timeout_s, tools), default=0)

    def waits_for_approval(self, call: CompleteCall) -> bool:
        """Return whether a call needs the approval of the user. A call with invalid arguments does not.

        If the function that decides raises an exception, SystemExit too, the call needs the approval.
        """
        tool = self._tools.get(call.name)
        if tool is None or tool.needs_approval is False:
            return False
        try:
            return tool.waits_for_approval(tool.arguments(call.arguments), self._context(call))
        except ToolError:
            return False
        except BaseException:  # for example SystemExit, which would end the process
            log.exception("needs_approval of the tool %s failed, so the user is asked", tool.name)
            return True

    async def results(self, calls: Sequence[CompleteCall]) -> AsyncGenerator[ToolResult, None]:
        """Yield the result of each call as soon as it is there. Closing the generator cancels the rest."""
        late = calls[max(self._left, 0) :]
        self._left -= len(calls)
        tasks = {asyncio.create_task(self._result(call, is_late=call in late)) for call in calls}
        try:
            while tasks:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=STOP_S)

    async def _result(self, call: CompleteCall, *, is_late: bool) -> ToolResult:
        try:
            if is_late:
                raise ToolError(TOO_MANY)
            return ToolResult(call.id, call.name, await self._text(call))
        except ToolError as error:
            return ToolResult(call.id, call.name, self._bounded(str(error)), is_error=True)

    async def _text(self, call: CompleteCall) -> str:
        """Return the text of a result. Raises ToolError for each fault, with text for the model."""
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolError(f"There is no tool of that name. There are: {', '.join(self._tools)}.")
        function = tool.bound(tool.arguments(call.arguments), self._context(call))
        try:
            return self._bounded(to_text((await self._outcome(tool, function)).get()))
        except ToolError:
            raise
        except BaseException as error:
            if is_cancelled(error):
                raise
            log.exception("the tool %s failed", tool.name)
            raise ToolError(f"The tool failed with {type(error).__qualname__}.") from error

    async def _outcome(self, tool: PythonTool, function: Callable[[], Any]) -> Outcome:
        """Return the outcome of a function within the time limit of its tool. Raises ToolError after that."""
        timeout_s = self._timeout_s(tool)
        task = asyncio.create_task(Outcome.of_async(self._run(function)))
        try:
            done, _ = await asyncio.wait([task], timeout=timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])  # so that its `finally` can end, while `results` waits STOP_S
            raise
        if not done:
            task.cancel()
            log.warning("the tool %s has not ended after %g s", tool.name, timeout_s)
            raise ToolError(f"The tool was stopped, because it took longer than {timeout_s:g} seconds.")
        return task.result()

    def _context(self, call: CompleteCall) -> Context:
        named = ToolCall(0, call.id, call.name, call.arguments)
        return {Principal: self._request.principal, ChatRequest: self._request, ToolCall: named}

    def _timeout_s(self, tool: PythonTool) -> float:
        return tool.timeout_s or self._limits.tool_timeout_s

    def _bounded(self, text: str) -> str:
        """Return a text in UTF-8 that is not longer than allowed, with a note for the model if it was."""
        most = self._limits.max_tool_result_chars
        start = to_utf8(text[:most]).decode()
        if len(text) <= most:
            return start
        return f"{start}\n[truncated: the first {most} of {len(text)} characters]"
