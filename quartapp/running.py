"""One blueprint's running chat in one app: its settings, its models and its open answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

from msgspec.structs import replace

from quartapp.answer.client import Answer
from quartapp.answer.limits import Limits
from quartapp.core.errors import ChatError
from quartapp.models.own import Model, ModelFunction
from quartapp.models.registry import open_models
from quartapp.protocols.common.messages import ChatRequest
from quartapp.settings.settings import Settings

RETRY_AFTER_S = 1

#: How long the last bytes of an answer may take, in seconds, when its server stops.
LAST_BYTES_S = 1.0

#: The open answers of one connection, by the task that reads each.
Readers = dict[asyncio.Task[Any], Answer]

#: Those of the current connection, for whoever ends it.
READERS: ContextVar[Readers | None] = ContextVar("quartapp_readers", default=None)


class RunningChat:
    """Opened when its app starts serving, closed when it stops; whatever a request needs of its blueprint is here."""

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
        self._open: set[Answer] = set()
        self._readers: set[asyncio.Task[Any]] = set()
        self._shutting_down = False

    def answer(self, request: ChatRequest, *, id: str, labels: Mapping[str, Any]) -> Answer:
        """An answer to `request`, still to begin, which the current task is to read.

        Raises ChatError: model_not_found, invalid_request, overloaded, shutting_down.
        """
        offered = self.models.get(request.model)
        offered.check(request)
        if self._shutting_down:
            raise ChatError("shutting_down", retry_after_s=RETRY_AFTER_S)
        if len(self._open) >= self.settings.max_open_streams:
            raise ChatError("overloaded", retry_after_s=RETRY_AFTER_S)
        answer = Answer(
            partial(offered.model.stream, replace(request, model=offered.name)),
            id=id,
            model=offered.name,
            limits=replace(self._limits, **offered.timeouts) if offered.timeouts else self._limits,
            labels=labels,
            on_close=self._open.discard,
        )
        self._open.add(answer)
        self._add_reader(answer)
        return answer

    def _add_reader(self, answer: Answer) -> None:
        reader, readers = asyncio.current_task(), READERS.get()
        if reader is None:
            return
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        if readers is not None:
            readers[reader] = answer

    async def shut_down(self) -> None:
        """Refuses new answers and ends the open ones, whose readers are told so; waits for their upstreams to close."""
        self._shutting_down = True
        answers = list(self._open)
        for answer in answers:
            answer.shut_down()
        await asyncio.gather(*(answer.wait_closed() for answer in answers))

    async def close(self) -> None:
        """Lets go of everything; no answer can be asked for any more. The last bytes of open ones have a moment."""
        await self.shut_down()
        readers = self._readers - {asyncio.current_task()}
        if readers:
            await asyncio.wait(readers, timeout=LAST_BYTES_S)
        await self.models.close()
