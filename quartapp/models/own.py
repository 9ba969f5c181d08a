"""Models in Python from the host app: their values become batches, and their errors are logged as the host's."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol

from quartapp.core.errors import ChatError, host_failure
from quartapp.core.events import (
    Annotation,
    Batch,
    Batches,
    Delta,
    Done,
    Image,
    Piece,
    Reasoning,
    Refusal,
    Step,
    ToolApproval,
    ToolCall,
    ToolResult,
)
from quartapp.core.request import ChatRequest
from quartapp.upstreams.chat_completions.output_limit import limited
from quartapp.upstreams.common.history import without_state
from quartapp.upstreams.model import OpenStream
from quartapp.upstreams.parameters import TOKEN_LIMITS

#: Values that a model of the host app yields. A str is a Delta. Done ends the answer. Without Done, the end of the
#: generator ends it with the finish_reason `stop`. After a Batch, only a batch with a `finish_reason` ends it.
Yielded = str | Piece | Done | Batch

#: A model as a function: `async def haiku(request): yield "An old silent pond"`.
ModelFunction = Callable[[ChatRequest], AsyncIterable[Yielded]]


class Model(Protocol):
    """A model as an object, for example one that holds a connection. It needs no base class."""

    def stream(self, request: ChatRequest, /) -> AsyncIterable[Yielded]:
        """Return the answer to `request`: texts, or events. Closing it closes the upstream.

        Raises ChatError to choose the code that the client gets.
        """
        ...


class OwnEntry(NamedTuple):
    """A model of the host app with its options.

    If it fails before its first event, it is retried `retries` times, then its `fallbacks` are called in their order:
    names of other models. Only a model that is `offered` can be requested by clients. `first_event_timeout_s` is the
    time limit for the first event of each attempt.
    """

    model: Model | ModelFunction
    fallbacks: tuple[str, ...] = ()
    retries: int = 0
    offered: bool = True
    first_event_timeout_s: float | None = None


#: Models of the host app by name.
OwnModels = Mapping[str, "Model | ModelFunction | OwnEntry"]

_PIECES = (Delta, Reasoning, Refusal, ToolCall, Step, ToolResult, ToolApproval, Annotation, Image)


class OwnModel:
    """A model of the host app under its name. It never receives the state of servers.

    An answer has at most `max_tokens` tokens, or the client's own limit if that is lower. If `shows_faults`, clients
    receive the text of its exceptions.
    """

    def __init__(self, name: str, model: Model | ModelFunction, *, max_tokens: int, shows_faults: bool = False) -> None:
        self._name = name
        self._open: Any = getattr(model, "stream", model)
        self._max_tokens = max_tokens
        self._shows_faults = shows_faults

    def build(self, request: ChatRequest, /) -> OpenStream:
        """Return the function that calls the model."""
        limits = [request.params[name] for name in TOKEN_LIMITS if name in request.params]
        return lambda: limited(self._stream(request), min([self._max_tokens, *limits]), request.choices)

    async def _stream(self, request: ChatRequest) -> Batches:
        """Yield a batch for each value that the model yields.

        Raises the model's own ChatError, and ChatError, internal_error, for any other exception.
        """
        try:
            answer = self._answer(request)
            is_batched = False
            try:
                async for item in answer:
                    is_batched = isinstance(item, Batch)
                    yield item if isinstance(item, Batch) else self._batch(item)
                    if isinstance(item, Done):
                        return
            finally:
                if isinstance(answer, AsyncGenerator):
                    await answer.aclose()
            if not is_batched:
                yield Batch(0, finish_reason="stop", ended=True)
        except ChatError:
            raise
        except Exception as error:
            raise host_failure(error, is_shown=self._shows_faults) from error

    def _answer(self, request: ChatRequest) -> AsyncIterable[Any]:
        answer = self._open(without_state(request))
        if isinstance(answer, AsyncIterable):
            return answer
        if isinstance(answer, Coroutine):
            answer.close()
        raise TypeError(f"model {self._name} returned {_kind(answer)}; it yields its answer, in `async def`")

    def _batch(self, item: Any) -> Batch:
        if isinstance(item, str):
            return Batch(len(item), [Delta(item)] if item else [])
        if isinstance(item, Done):
            return Batch(0, finish_reason=item.finish_reason, usage=item.usage, ended=True, extra=item.extra)
        if isinstance(item, _PIECES):
            return Batch(_size(item), [item])
        raise TypeError(f"model {self._name} yielded {_kind(item)}; it yields str, or events of quartapp")


def own_entries(models: OwnModels) -> dict[str, OwnEntry]:
    """Return the entries of `models`, with the default options for those without options."""
    return {name: model if isinstance(model, OwnEntry) else OwnEntry(model) for name, model in models.items()}


def check_models(models: OwnModels) -> None:
    """Raise TypeError for a model that can never answer.

    A model is an async generator function, or an object with such a method `stream`.
    """
    for name, entry in own_entries(models).items():
        function: Any = getattr(entry.model, "stream", entry.model)
        is_sync = inspect.isgeneratorfunction(function)
        if is_sync or not callable(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"models: {name} is not an async generator function, nor an object whose method stream is; for example "
                'async def haiku(request): yield "An old silent pond"'
            )


def _size(piece: Piece) -> int:
    match piece:
        case Delta(text) | Reasoning(text) | Refusal(text):
            return len(text)
        case ToolCall(arguments=text) | Annotation(title=text):
            return len(text or "")
        case ToolResult(content=text) | Image(text):
            return len(text)
        case _:
            return 0


def _kind(value: object) -> str:
    return type(value).__qualname__
