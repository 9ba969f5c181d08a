"""One blueprint's running chat in one app: its settings, its models and its open answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from msgspec.structs import replace

from quartapp.answer.client import Answer
from quartapp.answer.limits import Limits
from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.guards.guard import GuardContext, Guards, Leases
from quartapp.guards.slots import RETRY_AFTER_S, Slots
from quartapp.models.own import Model, ModelFunction
from quartapp.models.registry import open_models
from quartapp.settings.settings import Settings

#: Seconds for the last bytes of an answer when its server stops.
LAST_BYTES_S = 1.0

#: Open answers by their clients' tasks.
ClientTasks = dict[asyncio.Task[Any], Answer]

#: The answers of the current connection. The server ends them with the connection.
CONNECTION_TASKS: ContextVar[ClientTasks | None] = ContextVar("quartapp_connection_tasks", default=None)


class RunningChat:
    """The state of a blueprint in one app, from the start of the app to its stop."""

    def __init__(
        self,
        settings: Settings,
        models: Mapping[str, Model | ModelFunction] | None = None,
        *,
        shows_faults: bool = False,
    ) -> None:
        self.settings = settings
        self.models = open_models(settings, models, shows_faults=shows_faults)
        self._limits = Limits(**{name: getattr(settings, name) for name in Limits.__struct_fields__})
        self.guards = Guards(before_model=(Slots(settings.max_open_streams),))
        self._open: set[Answer] = set()
        self._client_tasks: set[asyncio.Task[Any]] = set()
        self._shutting_down = False

    async def answer(
        self, request: ChatRequest, context: GuardContext, leases: Leases, *, id: str, labels: Mapping[str, Any]
    ) -> Answer:
        """Return an answer to `request`, which settles `leases` when it has ended.

        The current task is its client's task and has to call `begin`.

        Raises ChatError: model_not_found, invalid_request, too_large, shutting_down, and the refusal of a guard. Then
        the caller settles `leases`.
        """
        listed = self.models.get(request.model)
        open_stream = listed.build(request)
        await leases.acquire(self.guards.before_model, context._replace(chat_request=request))
        if self._shutting_down:
            raise ChatError("shutting_down", retry_after_s=RETRY_AFTER_S)
        answer = Answer(
            open_stream,
            id=id,
            model=listed.name,
            limits=replace(self._limits, **listed.timeouts) if listed.timeouts else self._limits,
            labels=labels,
            observers=(leases.settle, lambda _: self._open.discard(answer)),
        )
        self._open.add(answer)
        self._add_client_task(answer)
        return answer

    def _add_client_task(self, answer: Answer) -> None:
        task, connection_tasks = asyncio.current_task(), CONNECTION_TASKS.get()
        if task is None:
            return
        self._client_tasks.add(task)
        task.add_done_callback(self._client_tasks.discard)
        if connection_tasks is not None:
            connection_tasks[task] = answer

    async def shut_down(self) -> None:
        """Refuse new answers, end the open ones with `shutting_down`, and wait until their upstreams are closed."""
        self._shutting_down = True
        answers = list(self._open)
        for answer in answers:
            answer.shut_down()
        await asyncio.gather(*(answer.wait_closed() for answer in answers))

    async def close(self) -> None:
        """End all answers, wait up to LAST_BYTES_S for their last bytes, and close the connections of the models."""
        await self.shut_down()
        tasks = self._client_tasks - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_BYTES_S)
        await self.models.close()
