"""A parser of the server-sent events of OpenAI's Responses API, with as little decoding as possible.

It has no I/O, and its code runs for each token, as that of chat completions. The API has about sixty kinds of events,
and new ones come. Only those with a part of the answer are decoded, and the rest are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch
from quartapp.upstreams.common.bodies import CompleteBodyParser, EventStreamParser
from quartapp.upstreams.common.failures import from_error_object
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.usages import read_usage
from quartapp.upstreams.responses.output import ResponseOutput
from quartapp.upstreams.responses.shapes import (
    DELTAS,
    PARTS,
    EndedResponse,
    ResponseEvent,
    read_event,
    read_item,
    read_response,
)

_HANDLERS: Final[Mapping[str, Callable[[ResponseOutput, ResponseEvent], None]]] = {
    **dict.fromkeys(DELTAS, ResponseOutput.add),
    **dict.fromkeys(PARTS, ResponseOutput.end_part),
    "response.output_item.added": ResponseOutput.begin_item,
    "response.output_item.done": ResponseOutput.end_item,
    "response.function_call_arguments.delta": ResponseOutput.add_arguments,
    "response.function_call_arguments.done": ResponseOutput.end_arguments,
    "response.custom_tool_call_input.delta": ResponseOutput.add_arguments,
    "response.custom_tool_call_input.done": ResponseOutput.end_arguments,
    "response.output_text.annotation.added": ResponseOutput.annotate,
}
# Events at the end of a response, and its status if the response has none.
_ENDS: Final[Mapping[str, str]] = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
    "response.done": "completed",
}
_ERROR: Final = "error"
# Events of other types may have any shape, and so may annotations, which are dropped then.
_STRICT: Final = {*_HANDLERS, *_ENDS, _ERROR} - {"response.output_text.annotation.added"}

# Lines outside the event stream format, which servers and proxies write for errors.
_BARE: Final = (b"{", b"error:")


class ResponseParser(EventStreamParser):
    """A parser of one response's body; each read becomes a batch.

    An event's kind is the `type` in its data. Data after the end of the response is ignored. `error` is final once set.
    It is the error that the stream contains, or upstream_error. That stands for malformed data, for a known type in
    another shape, and for a line over the limit.
    """

    def __init__(self, max_line_bytes: int, origin: Origin | None = None) -> None:
        super().__init__(max_line_bytes)
        self._output = ResponseOutput(origin)
        self._has_ended = False
        self._failure: ChatError | None = None

    def end(self) -> Batch:
        """Return the events of a complete last line without a line feed, and set a failure whose reason never came."""
        batch = super().end()
        self.error = self.error or self._failure
        return batch

    def _read(self, payload: bytes, batch: Batch) -> None:
        """Add the content of an event to the output or to `batch`, or keep a line that more lines may complete."""
        if self._has_ended:
            return
        try:
            event = read_event(payload, _STRICT)
        except ChatError:
            if not self._data.begin(payload):
                raise
            return
        if self._failure is not None and (event is None or event.type != _ERROR):
            raise self._failure
        if event is None:
            batch.ended = True
        elif (handle := _HANDLERS.get(event.type)) is not None:
            handle(self._output, event)
        elif event.type in _ENDS:
            self._end(event, batch)
        elif not event.type.startswith("response."):
            _check_harmless(event)

    def _read_field(self, line: bytes, batch: Batch) -> None:
        if self._data.lines:
            super()._read_field(line, batch)
        elif line.startswith(_BARE):
            self._read(line.removeprefix(b"error:"), batch)

    def _complete(self, batch: Batch) -> None:
        batch.pieces = self._output.take()

    def _end(self, event: ResponseEvent, batch: Batch) -> None:
        response = read_response(event.response)
        if event.type == "response.failed" and not response.error:
            self._failure = ChatError("upstream_error")  # Azure sends the reason in the next event
            return
        self._has_ended = True
        _conclude(response, _status(event, response), self._output, batch)


class CompleteResponseParser(CompleteBodyParser):
    """A parser of the response of a server that does not stream."""

    def __init__(self, *, max_line_bytes: int, origin: Origin | None = None) -> None:
        super().__init__(partial(ResponseParser, origin=origin), max_line_bytes=max_line_bytes)
        self._origin = origin

    def _read(self, body: bytes) -> Batch:
        response = read_response(body)
        if response.output is None and not response.error:
            raise ChatError("upstream_error")
        batch, output = Batch(0, []), ResponseOutput(self._origin)
        try:
            _conclude(response, response.status or "completed", output, batch)
        except ChatError as error:
            self._error = error
        batch.pieces = output.take()
        return batch


def open_response_parser(
    content_type: str, *, max_line_bytes: int, origin: Origin | None = None
) -> ResponseParser | CompleteResponseParser:
    """Return the parser for a content type. A complete response is one line, so it has the same size limit."""
    if "json" in content_type.lower():
        return CompleteResponseParser(max_line_bytes=max_line_bytes, origin=origin)
    return ResponseParser(max_line_bytes, origin)


def _status(event: ResponseEvent, response: EndedResponse) -> str:
    """Return the status of the response; some servers send `response.completed` for an incomplete one."""
    status = _ENDS[event.type]
    own = response.status or status
    return own if status == "completed" and own in _ENDS.values() else status


def _conclude(response: EndedResponse, status: str, output: ResponseOutput, batch: Batch) -> None:
    """End a response with `status`. Raises ChatError for a failed one."""
    batch.usage = read_usage(response.usage)
    if response.error or status == "failed":
        raise from_error_object(response.error)
    if status not in ("completed", "incomplete"):
        raise ChatError("upstream_truncated")
    items = map(read_item, response.output or ())
    output.end([item for item in items if item is not None], is_complete=status == "completed")
    batch.finish_reason = _finish_reason(response, status, output)
    batch.ended = True


def _finish_reason(response: EndedResponse, status: str, output: ResponseOutput) -> str:
    """Return the finish reason of chat completions; `length` stands for all other reasons to stop early."""
    if status == "completed":
        return "tool_calls" if output.calls else "stop"
    details = response.incomplete_details
    return "content_filter" if details is not None and details.reason == "content_filter" else "length"


def _check_harmless(event: ResponseEvent) -> None:
    """Raise ChatError for an error in an event of any name, and for an object that is no event."""
    is_error = bool(event.error or event.message) or event.type == _ERROR
    if is_error or not event.type:
        kind = None if event.type == _ERROR else event.type
        raise from_error_object({"error": event.error, "code": event.code, "type": kind, "message": event.message})
