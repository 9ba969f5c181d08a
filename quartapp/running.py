"""One blueprint's running chat in one app: its settings, its models, its hooks and its open answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from msgspec.structs import replace

from quartapp.answer.client import Answer
from quartapp.answer.filter.stream import filtered
from quartapp.answer.limits import Limits
from quartapp.answer.report import AnswerReport
from quartapp.answer.transcript import Transcript
from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.guards.guard import Guard, GuardContext, Guards, Leases
from quartapp.guards.slots import RETRY_AFTER_S, Slots
from quartapp.hooks import Hooks, HookThreads, Host, called
from quartapp.models.own import OwnModels
from quartapp.models.registry import ListedModel, open_models
from quartapp.settings.settings import Settings
from quartapp.tools.calls import STOP_S, ToolLimits
from quartapp.tools.model import ToolModel
from quartapp.tools.tool import PythonTool
from quartapp.upstreams.model import OpenStream

#: Seconds for the last bytes of an answer when its server stops.
LAST_BYTES_S = 1.0

#: Seconds for the hooks `on_answer` of the last answers when the app stops.
HOOKS_S = 5.0

#: Open answers by their clients' tasks.
ClientTasks = dict[asyncio.Task[Any], Answer]

#: The answers of the current connection. The server ends them with the connection.
CONNECTION_TASKS: ContextVar[ClientTasks | None] = ContextVar("quartapp_connection_tasks", default=None)


class RunningChat:
    """The state of a blueprint in one app, from the start of the app to its stop."""

    def __init__(
        self,
        settings: Settings,
        models: OwnModels | None = None,
        *,
        host: Host,
        hooks: Hooks | None = None,
        shows_faults: bool = False,
    ) -> None:
        self.settings = settings
        self.host = host
        self.loop = asyncio.get_running_loop()
        self._hooks = hooks or Hooks()
        self._shows_faults = shows_faults
        self.models = open_models(settings, models, shows_faults=shows_faults)
        self._limits = Limits(**{name: getattr(settings, name) for name in Limits.__struct_fields__})
        self.guards = Guards(before_model=(Slots(settings.max_open_streams),))
        self._tool_threads = HookThreads()
        self._tool_tasks: set[asyncio.Task[Any]] = set()
        self._open: set[Answer] = set()
        self._client_tasks: set[asyncio.Task[Any]] = set()
        self._hook_tasks: set[asyncio.Task[None]] = set()
        self._shutting_down = False

    @property
    def is_open(self) -> bool:
        """Return whether the chat takes new answers."""
        return not self._shutting_down

    def add_guard(self, guard: Guard) -> None:
        """Add a guard that runs before the model is called."""
        self.guards = self.guards._replace(before_model=(*self.guards.before_model, guard))

    async def answer(
        self, request: ChatRequest, context: GuardContext, leases: Leases, *, id: str, labels: Mapping[str, Any]
    ) -> Answer:
        """Return an answer to `request`, which settles `leases` when it has ended.

        The current task is its client's task and has to call `begin`. If the request comes from a client, the hooks
        `prepare` may change it.

        Raises ChatError: model_not_found, invalid_request, too_large, shutting_down, and the refusal of a guard or of
        a hook. Then the caller settles `leases`.
        """
        if context.principal is not None:
            request = replace(request, principal=context.principal)
        request, listed, open_stream = await self._prepare(request, context, leases)
        if self._shutting_down:
            raise ChatError("shutting_down", retry_after_s=RETRY_AFTER_S)
        open_stream = filtered(open_stream, self._hooks.filters, request.principal, shows_faults=self._shows_faults)
        transcript = Transcript(open_stream, request) if self._hooks.need_text else None

        def ended(report: AnswerReport) -> None:
            self._open.discard(answer)
            if transcript is not None:
                self._call_hooks(transcript, report)

        answer = Answer(
            open_stream if transcript is None else transcript.stream,
            id=id,
            model=listed.name,
            limits=replace(self._limits, **listed.timeouts) if listed.timeouts else self._limits,
            labels=labels,
            observers=(leases.settle, ended),
        )
        self._open.add(answer)
        self._add_client_task(answer)
        return answer

    async def _prepare(
        self, request: ChatRequest, context: GuardContext, leases: Leases
    ) -> tuple[ChatRequest, ListedModel, OpenStream]:
        """Run the guards and the hooks. Return the request, its model, and the built request to the model's server."""
        listed = self.models.get(request.model, is_trusted=context.request is None)
        open_stream = listed.build(request)
        await leases.acquire(self.guards.before_model, context._replace(chat_request=request))
        if context.request is not None:
            prepared = await self._hooks.prepared(self.host, request, context.principal)
            if prepared is not request:
                request = replace(prepared, principal=context.principal)  # a hook may have made a new one
                listed = self.models.get(request.model, is_trusted=True)
                open_stream = listed.build(request)
        tools = await self._offered(context, request) if self._hooks.tools else ()
        if tools:
            open_stream = self._with_tools(listed, tools).build(request)
        if context.request is not None:
            await self.host.release()
        return request, listed, open_stream

    async def _offered(self, context: GuardContext, request: ChatRequest) -> Sequence[PythonTool]:
        """Return the tools that are offered to the principal of a request."""
        call = partial(called, self.host) if context.request is not None else self.host.call_later
        return await self._hooks.offered(call, request.principal)

    def _with_tools(self, listed: ListedModel, tools: Sequence[PythonTool]) -> ToolModel:
        return ToolModel(
            listed,
            tools,
            self._run_tool,
            ToolLimits(**{name: getattr(self.settings, name) for name in ToolLimits.__struct_fields__}),
            first_event_timeout_s=self.settings.first_event_timeout_s,
            knows_all_tools=listed.knows_all_tools,
        )

    async def _run_tool(self, function: Callable[[], Any]) -> Any:
        task = asyncio.current_task()
        if task is not None:
            self._tool_tasks.add(task)
            task.add_done_callback(self._tool_tasks.discard)
        return await self.host.call_later(function, threads=self._tool_threads)

    def _add_client_task(self, answer: Answer) -> None:
        task, connection_tasks = asyncio.current_task(), CONNECTION_TASKS.get()
        if task is None:
            return
        self._client_tasks.add(task)
        task.add_done_callback(self._client_tasks.discard)
        if connection_tasks is not None:
            connection_tasks[task] = answer

    def _call_hooks(self, transcript: Transcript, report: AnswerReport) -> None:
        """Call the hooks in a task of their own, because a fault in them must not keep an answer open."""

        async def call() -> None:
            await self._hooks.ended(self.host, transcript.complete(report))

        task = self.loop.create_task(call())
        self._hook_tasks.add(task)
        task.add_done_callback(self._hook_tasks.discard)

    async def hooks_done(self) -> None:
        """Wait up to HOOKS_S for the hooks `on_answer` of the answers that have ended."""
        if self._hook_tasks:
            await asyncio.wait(self._hook_tasks, timeout=HOOKS_S)

    async def shut_down(self) -> None:
        """Refuse new answers, end the open ones with `shutting_down`, and wait until their upstreams are closed."""
        self._shutting_down = True
        answers = list(self._open)
        for answer in answers:
            answer.shut_down()
        await asyncio.gather(*(answer.wait_closed() for answer in answers))

    async def close(self) -> None:
        """End all answers, wait for their last bytes, tools and hooks, and close the connections of the models.

        The waits end after LAST_BYTES_S, STOP_S and HOOKS_S. Hooks that are not done then are cancelled.
        """
        await self.shut_down()
        tasks = self._client_tasks - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_BYTES_S)
        if self._tool_tasks:  # of answers that have ended, because the others have waited for theirs
            await asyncio.wait(self._tool_tasks, timeout=STOP_S)
        if self._hook_tasks:
            _, late = await asyncio.wait(self._hook_tasks, timeout=HOOKS_S)
            for task in late:
                task.cancel()
        await self.models.close()
