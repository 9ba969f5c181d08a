"""The encoder of OpenAI's chat completions: chunks in an event stream.

Chunks of an upstream are sent unchanged (events.Raw). Events of other models are encoded as chunks here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import asdict as to_fields
from msgspec.structs import replace

from quartapp.core.errors import ERROR_KINDS
from quartapp.core.events import (
    Annotation,
    Delta,
    Done,
    Event,
    Failed,
    Image,
    Ping,
    Raw,
    Reasoning,
    Refusal,
    Start,
    ToolCall,
    Usage,
)
from quartapp.core.request import JsonObject
from quartapp.protocols.chat_completions.types import ErrorType, OpenAIError, OpenAIErrorDetail
from quartapp.protocols.common.encoding import from_json, to_json

_DONE = b"data: [DONE]\n\n"
#: Events whose content a delta has a field for.
Content = Delta | Reasoning | Refusal | ToolCall | Annotation | Image

_TEXTS: Final[Mapping[type, str]] = {Delta: "content", Reasoning: "reasoning_content", Refusal: "refusal"}

#: OpenAI's codes for our codes. Clients act on them: they shorten a conversation, choose another model, or stop.
OPENAI_CODES: Final[Mapping[str, str]] = {
    "context_too_long": "context_length_exceeded",
    "content_filtered": "content_filter",
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "upstream_busy": "rate_limit_exceeded",
    "budget_exceeded": "insufficient_quota",
    "upstream_unpaid": "insufficient_quota",
}

_ERROR_TYPES: Final[Mapping[int, ErrorType]] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def openai_error(code: str, message: str, param: str | None = None, *, status: int = 400) -> OpenAIError:
    """Return an error in OpenAI's form, for the body of a refusal or the last event of a failed stream.

    `status` is that of a code of the host app.
    """
    status = ERROR_KINDS[code].status if code in ERROR_KINDS else status
    kind = "server_error" if status >= 500 else _ERROR_TYPES.get(status, "invalid_request_error")
    return OpenAIError(OpenAIErrorDetail(message, kind, OPENAI_CODES.get(code, code), param))


class ChunkEncoder:
    """The chunks of one answer. `created` is in seconds since 1970. Usage is sent only with `include_usage`."""

    def __init__(self, created: int, *, include_usage: bool) -> None:
        self._created = created
        self._include_usage = include_usage
        self._head: JsonObject = {}
        self._is_raw = False
        self._has_role = False
        self._hidden_calls: set[int] = set()
        self._numbers: dict[int, int] = {}

    def encode(self, events: Sequence[Event]) -> bytes:
        """Return the server-sent events for `events`. `[DONE]` follows Done, and never a failure."""
        return b"".join([self._event(event) for event in events])

    def _event(self, event: Event) -> bytes:
        if isinstance(event, Raw):  # first, because there is one for each token
            self._is_raw = True
            # JSON has line ends only between tokens, and the parser of a stream would end its line there.
            return b"data: " + event.payload.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n"
        if isinstance(event, Ping):
            return _data(self._ping())
        if isinstance(event, Failed):
            return _data(openai_error(event.code, event.message))
        chunks = b"".join(map(_data, self.of(event)))
        return chunks + _DONE if isinstance(event, Done) else chunks

    def of(self, event: Event) -> Iterator[JsonObject]:
        """Yield the chunks for `event`, decoded."""
        match event:
            case Start(id, model):
                self._head = {
                    "id": f"chatcmpl-{id}",
                    "object": "chat.completion.chunk",
                    "created": self._created,
                    "model": model,
                }
            case Raw(payload):
                self._is_raw = True
                yield from_json(payload)
            case ToolCall():
                yield from self._tool_call(event)
            case Delta() | Reasoning() | Refusal() | Annotation() | Image():
                yield self._chunk(delta_object(event))
            case Done(reason, usage, extra) if not self._is_raw:
                yield self._chunk(extra or {}, reason)
                if self._include_usage and usage is not None:
                    yield {**self._head, "choices": [], "usage": usage_object(usage)}

    def _tool_call(self, event: ToolCall) -> Iterator[JsonObject]:
        """Yield a fragment of a call of the client. Calls that this server runs are left out, and not numbered."""
        if event.executor is not None:
            self._hidden_calls.add(event.index)
        if event.index in self._hidden_calls:
            return
        hidden = sum(each < event.index for each in self._hidden_calls)
        number = self._numbers.setdefault(event.index, event.index - hidden)
        yield self._chunk(delta_object(replace(event, index=number)))

    def _ping(self) -> JsonObject:
        """Return a chunk with an empty delta, as in chunks with a finish_reason, because every client accepts it.

        Some parsers read a comment as an event without data, and clients fail on data that is no JSON.
        """
        return {**self._head, "choices": [{"index": 0, "delta": {}, "finish_reason": None}]}

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        if not self._has_role:
            self._has_role = True
            delta = {"role": "assistant", **delta}
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def delta_object(event: Content) -> JsonObject:
    """Return the delta of a chunk with the content of `event`."""
    match event:
        case ToolCall():
            return {"tool_calls": [call_object(event)]}
        case Annotation():
            return {"annotations": [annotation_object(event)]}
        case Image(url):
            return {"images": [{"type": "image_url", "image_url": {"url": url}}]}
        case _:
            return {_TEXTS[type(event)]: event.text}


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return usage under OpenAI's names."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.cached_input_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_input_tokens}
    if usage.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


def call_object(event: ToolCall) -> dict[str, Any]:
    """Return a fragment of a tool call as a delta has it."""
    call: dict[str, Any] = {"index": event.index}
    kind, text = ("custom", "input") if event.kind == "custom" else ("function", "arguments")
    if event.id is not None:
        call |= {"id": event.id, "type": kind}
    fields = {"name": event.name, text: event.arguments if event.name is None else event.arguments or ""}
    return call | {kind: {name: value for name, value in fields.items() if value is not None}} | (event.extra or {})


def annotation_object(event: Annotation) -> dict[str, Any]:
    """Return an annotation as a message has it: its fields in an object named after its type."""
    fields = {name: value for name, value in to_fields(event).items() if name != "kind" and value is not None}
    return {"type": event.kind, event.kind: fields}


def _data(chunk: JsonObject | OpenAIError) -> bytes:
    return b"data: " + to_json(chunk) + b"\n\n"
