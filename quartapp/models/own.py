"""Models in Python from the host app: their values become batches, and their errors are logged as the host's."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from quartapp.core.errors import ChatError, host_failure
from quartapp.core.events import Annotation, Batch, Batches, Delta, Done, Image, Piece, Reasoning, Refusal, ToolCall
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


_PIECES = (Delta, Reasoning, Refusal, ToolCall, Annotation, Image)


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


def check_models(models: Mapping[str, Any]) -> None:
    """Raise TypeError for a model that can never answer.

    A model is an async generator function, or an object with such a method `stream`.
    """
    for name, model in models.items():
        function = getattr(model, "stream", model)
        is_sync = inspect.isgeneratorfunction(function)
        if is_sync or not callable(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"models: {name} is not an async generator function, nor an object whose method stream is; for example "
                'async def haiku(request): yield "An old silent pond"'
            )


def _size(piece: Delta | Reasoning | Refusal | ToolCall | Annotation | Image) -> int:
    match piece:
        case ToolCall(arguments=text) | Annotation(title=text):
            return len(text or "")
        case Image(url):
            return len(url)
        case _:
            return len(piece.text)


def _kind(value: object) -> str:
    return type(value).__qualname__
