"""A parser of the server-sent events of OpenAI's Responses API, with as little decoding as possible.

It has no I/O, and its code runs for each token, as that of chat completions. The API has about sixty kinds of events,
and new ones come. Only those with a part of the answer are decoded, and the rest are ignored.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch
from quartapp.upstreams.chat_completions.bodies import CompleteBodyParser
from quartapp.upstreams.common.event_stream import EventStreamParser
from quartapp.upstreams.common.failures import from_error_object
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.usages import read_usage
from quartapp.upstreams.responses import shapes
from quartapp.upstreams.responses.output import ResponseOutput

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
            event = shapes.read_event(payload)
        except ChatError:
            if not self._data.begin(payload):
                raise
            return
        if self._failure is not None and (event is None or event.type != shapes.ERROR):
            raise self._failure
        if event is None:
            batch.ended = True
        elif (kind := shapes.DELTAS.get(event.type)) is not None:
            self._output.add(kind, event)
        else:
            self._handle(event, batch)

    def _read_field(self, line: bytes, batch: Batch) -> None:
        if not self._data.lines and line.startswith(_BARE):
            self._read(line.removeprefix(b"error:"), batch)
        else:
            super()._read_field(line, batch)

    def _complete(self, batch: Batch) -> None:
        batch.pieces = self._output.take()

    def _handle(self, event: shapes.ResponseEvent, batch: Batch) -> None:
        match event.type:
            case shapes.ITEM_ADDED:
                self._begin_item(event)
            case shapes.ITEM_DONE:
                self._end_item(event)
            case shapes.ARGUMENTS_DELTA | shapes.INPUT_DELTA:
                self._output.calls.add_arguments(event.place, _given(event.delta))
            case shapes.ARGUMENTS_DONE | shapes.INPUT_DONE:
                self._output.calls.end_arguments(event.place, event.arguments or event.input or "")
            case kind if kind in shapes.PARTS:
                self._output.end_part(shapes.PARTS[kind], event.place, event.part, event.text or event.refusal)
            case shapes.ANNOTATION:
                self._output.annotate(event.annotation)
            case kind if kind in shapes.ENDS:
                self._end(event, batch)
            case kind if not kind.startswith("response."):
                _check_harmless(event)

    def _begin_item(self, event: shapes.ResponseEvent) -> None:
        item = shapes.read_item(event.item)
        if isinstance(item, shapes.CallItem):
            self._output.calls.begin(shapes.Place(event.output_index, item.id), item)

    def _end_item(self, event: shapes.ResponseEvent) -> None:
        item = shapes.read_item(event.item)
        if item is not None:
            self._output.end_item(shapes.Place(event.output_index, item.id), item)

    def _end(self, event: shapes.ResponseEvent, batch: Batch) -> None:
        response = shapes.read_response(event.response)
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
        response = shapes.read_response(body)
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


def _status(event: shapes.ResponseEvent, response: shapes.EndedResponse) -> str:
    """Return the status of the response; some servers send `response.completed` for an incomplete one."""
    status = shapes.ENDS[event.type]
    own = response.status or status
    return own if status == "completed" and own in shapes.ENDS.values() else status


def _conclude(response: shapes.EndedResponse, status: str, output: ResponseOutput, batch: Batch) -> None:
    """End a response with `status`. Raises ChatError for a failed one."""
    batch.usage = read_usage(response.usage)
    if response.error or status == "failed":
        raise from_error_object(response.error)
    if status not in ("completed", "incomplete"):
        raise ChatError("upstream_truncated")
    items = map(shapes.read_item, response.output or ())
    output.end(filter(None, items), is_complete=status == "completed")
    batch.finish_reason = _finish_reason(response, status, output)
    batch.ended = True


def _finish_reason(response: shapes.EndedResponse, status: str, output: ResponseOutput) -> str:
    """Return the finish reason of chat completions; `length` stands for all other reasons to stop early."""
    if status == "completed":
        return "tool_calls" if output.calls else "stop"
    details = response.incomplete_details
    return "content_filter" if details is not None and details.reason == "content_filter" else "length"


def _check_harmless(event: shapes.ResponseEvent) -> None:
    """Raise ChatError for an error in an event of any name, and for an object that is no event."""
    is_error = bool(event.error or event.message) or event.type == shapes.ERROR
    if is_error or not event.type:
        kind = None if event.type == shapes.ERROR else event.type
        raise from_error_object({"error": event.error, "code": event.code, "type": kind, "message": event.message})


def _given(delta: str | None) -> str:
    if delta is None:
        raise ChatError("upstream_error")
    return delta
