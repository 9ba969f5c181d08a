"""The encoder of OpenAI's chat completions: chunks in an event stream, and one complete completion.

Chunks of an upstream are sent unchanged (events.Raw). Events of other models are encoded as chunks here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import asdict as to_fields
from msgspec.structs import replace

from quartapp.core.errors import ERROR_KINDS
from quartapp.core.events import (
    TURN_STATE,
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
from quartapp.core.request import JsonObject, without
from quartapp.protocols.chat_completions.types import ErrorType, OpenAIError, OpenAIErrorDetail
from quartapp.protocols.common.encoding import from_json, to_json
from quartapp.protocols.common.states import TextPieces, add_state, joined, without_thought_mark

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


def merge(chunks: Iterable[JsonObject]) -> JsonObject:
    """Merge the chunks of a complete answer into one completion.

    Texts and lists are joined, tool calls are merged by their index, and other fields keep their last value.
    """
    completion: JsonObject = {}
    choices: dict[int, _ChoiceMerger] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            choices.setdefault(choice.get("index", 0), _ChoiceMerger()).add(choice)
        completion |= {name: value for name, value in chunk.items() if name not in _OF_CHUNKS and value is not None}
    finished = [choices[index].merged(index) for index in sorted(choices)]
    return completion | {"object": "chat.completion", "choices": finished}


# A completion has no obfuscation, because its purpose is to hide the length of chunks.
_OF_CHUNKS = frozenset({"choices", "obfuscation"})
_ATOMS = frozenset({"role", "id", "type", "name"})


class _ChoiceMerger:
    """One choice of a completion, merged from its chunks."""

    def __init__(self) -> None:
        self._message: JsonObject = {"role": "assistant", "content": None}
        self._calls: dict[int, JsonObject] = {}
        self._rest: JsonObject = {"logprobs": None, "finish_reason": None}
        self._has_thought_tag = False

    def add(self, choice: JsonObject) -> None:
        delta = self._with_thought(choice.get("delta") or {})
        for call in delta.get("tool_calls") or ():
            _merge_into(self._calls.setdefault(call.get("index", 0), {}), without(call, {"index"}))
        _merge_into(self._message, without(delta, {"tool_calls"}))
        for name, value in choice.items():
            if name == "logprobs":
                _merge_into(self._rest, {name: value})
            elif name not in ("index", "delta") and value is not None:
                self._rest[name] = value

    def _with_thought(self, delta: JsonObject) -> JsonObject:
        """Return the delta with a text that Gemini marks as a thought in `reasoning_content`.

        If tags in the text mark the thought too, the text stays where it is.
        """
        rest, is_thought = without_thought_mark(delta)
        if not is_thought:
            return delta
        text = delta.get("content")
        self._has_thought_tag = self._has_thought_tag or str(text).startswith("<thought>")
        return rest if self._has_thought_tag else rest | {"content": None, "reasoning_content": text}

    def merged(self, index: int) -> JsonObject:
        calls = [self._calls[number] for number in sorted(self._calls)]
        message = self._message | ({"tool_calls": [_joined(call) for call in calls]} if calls else {})
        return {"index": index, "message": _joined(message), **_joined(self._rest)}


def _merge_into(merged: JsonObject, added: JsonObject) -> None:
    for name, value in added.items():
        known = merged.get(name)
        if name in TURN_STATE:
            add_state(merged, {name: value})
        elif value is None:
            merged.setdefault(name, None)
        elif isinstance(value, dict):
            merged[name] = inner = known if isinstance(known, dict) else {}
            _merge_into(inner, value)
        elif isinstance(value, str) and name not in _ATOMS:
            merged[name] = texts = known if isinstance(known, TextPieces) else TextPieces()
            texts.append(value)
        elif isinstance(value, list) and type(known) is list:
            known += value
        elif value != "" or known is None:  # many servers repeat an id or a name, as an empty string
            merged[name] = value


def _joined(merged: JsonObject) -> JsonObject:
    return {name: _joined_value(name, value) for name, value in merged.items()}


def _joined_value(name: str, value: Any) -> Any:
    if name in TURN_STATE or isinstance(value, TextPieces):
        return joined(value)
    return _joined(value) if isinstance(value, dict) else value
