"""The output filter around the stream of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from quartapp.answer.filter.choice import FilteredChoice
from quartapp.answer.filter.chunks import ChunkFilter
from quartapp.answer.filter.held_text import TextFunction
from quartapp.answer.filter.values import passed_state
from quartapp.core.errors import ChatError, host_failure
from quartapp.core.events import Batch, Batches, Piece, Raw
from quartapp.core.principal import Principal
from quartapp.upstreams.model import OpenStream

#: Takes a text of the answer and the principal of the request, or None, and returns the text to send.
FilterFunction = Callable[[str, Any], str]

MAX_WINDOW: Final = 4096


class OutputFilter(NamedTuple):
    """A function that replaces text, and the largest number of characters of a match that it has to see complete."""

    function: FilterFunction
    window: int


def filtered(
    open_stream: OpenStream,
    filters: Sequence[OutputFilter],
    principal: Principal | None,
    *,
    shows_faults: bool = False,
) -> OpenStream:
    """Return the stream of a model with its content filtered, or `open_stream` itself if there are no `filters`.

    The filters run in order, each with the result of the one before it. Their window is the largest one. The stream
    raises the ChatError of a filter, and ChatError, internal_error, for any other exception; if `shows_faults`, clients
    receive its text.
    """
    if not filters:
        return open_stream
    function = _composed([each.function for each in filters], principal, shows_faults=shows_faults)
    window = max(each.window for each in filters)
    return lambda: _stream(open_stream, _AnswerFilter(function, window))


async def _stream(open_stream: OpenStream, content: _AnswerFilter) -> Batches:
    """Yield the batches of the model, filtered. If its server fails, all that waits is sent before the error."""
    async with aclosing(open_stream()) as batches:
        while True:
            try:
                batch = await anext(batches)
            except StopAsyncIteration:
                break
            except ChatError:
                if rest := content.flush():
                    yield Batch(0, rest)
                raise
            yield content.applied(batch)
    if rest := content.flush():
        yield Batch(0, rest)


class _AnswerFilter:
    """The filter of one answer, in events or in chunks of the upstream."""

    def __init__(self, function: TextFunction, window: int) -> None:
        self._function = function
        self._events = FilteredChoice(function, window)
        self._chunks = ChunkFilter(function, window)

    def applied(self, batch: Batch) -> Batch:
        """Return `batch` with the content that can be sent now. Nothing waits after a finish reason.

        It is a copy, because a model in Python may yield one batch to several answers.
        """
        pieces = self._sent(batch.pieces)
        is_held = bool(batch.pieces) and not pieces
        if batch.finish_reason is not None or batch.ended:
            pieces += self.flush()
        extra = (passed_state(batch.extra, self._function) or {}) if batch.extra else batch.extra
        return replace(batch, pieces=pieces, is_held=is_held, extra=extra)

    def flush(self) -> list[Piece]:
        """Return all that waits."""
        return [*self._events.flush(), *self._chunks.flush()]

    def _sent(self, pieces: Iterable[Piece]) -> list[Piece]:
        sent: list[Piece] = []
        for is_raw, group in groupby(pieces, lambda piece: type(piece) is Raw):
            run: list[Any] = list(group)
            if is_raw:
                sent += [*self._events.flush(), *self._chunks.add(run)]
            else:
                sent += [*self._chunks.flush(), *self._events.add(run)]
        return sent


def _composed(functions: Sequence[FilterFunction], principal: Principal | None, *, shows_faults: bool) -> TextFunction:
    def replaced(text: str) -> str:
        for function in functions:
            if not text:
                break
            try:
                text = _checked(function(text, principal))
            except ChatError:
                raise
            except Exception as error:
                raise host_failure(error, is_shown=shows_faults) from error
            except BaseException as error:  # for example SystemExit, which would end the process
                failure = RuntimeError("an output filter raised a BaseException")
                failure.__cause__ = error
                raise host_failure(failure, is_shown=shows_faults) from error
        return text

    return replaced


def _checked(result: Any) -> str:
    """Return `result` as a str of no subclass, because Markup escapes what is joined to it."""
    if not isinstance(result, str):
        raise TypeError(f"the output filter returned {type(result).__qualname__}, not a str")
    return str.__str__(result)
