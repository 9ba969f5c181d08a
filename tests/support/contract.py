"""What each wire format tells of an answer, by the contract and not by the encoders."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.events import (
    Annotation,
    Delta,
    Done,
    Event,
    Failed,
    Image,
    Reasoning,
    Refusal,
    Start,
    ToolCall,
    Usage,
)
from quartapp.protocols.chat_completions.encode import OPENAI_CODES
from tests.support.parsers import Json
from tests.support.ui_parser import refuse_prototypes

T = TypeVar("T")


def well_formed(text: str) -> str:
    """As JavaScript's `toWellFormed`: halves that belong together make a character, any other half is U+FFFD."""
    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", lambda pair: _character(*map(ord, pair[0])), text)
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def _character(high: int, low: int) -> str:
    return chr(0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00)


def well_formed_value(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(name): well_formed_value(each) for name, each in value.items()}
    return [well_formed_value(each) for each in value] if isinstance(value, list) else value


def the(kind: type[T], events: Iterable[Event]) -> T | None:
    """The first event of a kind."""
    return next((event for event in events if isinstance(event, kind)), None)


def _present(**fields: Any) -> Json:
    return {name: well_formed_value(value) for name, value in fields.items() if value}


# -- text, NDJSON and SSE


def body(batches: Iterable[Sequence[Event]]) -> str:
    """text/plain: what comes in one batch is joined, so that halves of characters may find each other."""
    return "".join(well_formed(_joined(batch, Delta, Refusal)) for batch in batches)


def _joined(events: Iterable[Event], *kinds: type) -> str:
    texts = [event for event in events if isinstance(event, Delta | Reasoning | Refusal)]
    return "".join([event.text for event in texts if isinstance(event, kinds)])


def record(event: Event) -> Json:
    """The fields of an event by its declaration, without those that do not apply."""
    fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}
    if isinstance(event, Done) and event.usage is not None:
        fields["usage"] = usage(event.usage)
    return {"type": event.__struct_config__.tag, **well_formed_value(fields)}


def usage(counts: Usage) -> Json:
    return {name: count for name, count in msgspec.structs.asdict(counts).items() if count is not None}


# -- one JSON object


def calls(events: Iterable[Event]) -> dict[int, list[ToolCall]]:
    """The fragments of each tool call, in the order in which the calls began."""
    found: dict[int, list[ToolCall]] = {}
    for event in events:
        if isinstance(event, ToolCall):
            found.setdefault(event.index, []).append(event)
    return found


def arguments(fragments: list[ToolCall]) -> str:
    return "".join([fragment.arguments or "" for fragment in fragments])


def extra(fragments: Iterable[ToolCall]) -> Json:
    return {name: value for fragment in fragments for name, value in (fragment.extra or {}).items()}


def attached(events: Iterable[Event], kind: type) -> list[Json]:
    """The fields of the records of a kind, without those that do not apply."""
    found = [record(event) for event in events if isinstance(event, kind)]
    return [{name: value for name, value in fields.items() if name != "type"} for fields in found]


def whole_answer(events: Sequence[Event]) -> Json:
    start, done = the(Start, events), the(Done, events)
    assert start is not None
    assert done is not None
    tool_calls = [
        _present(id=each[0].id, name=each[0].name, arguments=arguments(each), kind=each[0].kind, extra=extra(each))
        for each in calls(events).values()
    ]
    answer = _present(reasoning=_joined(events, Reasoning), refusal=_joined(events, Refusal), tool_calls=tool_calls)
    answer |= _present(annotations=attached(events, Annotation), images=attached(events, Image), extra=done.extra)
    if done.usage is not None:
        answer["usage"] = usage(done.usage)
    always = {"id": start.id, "model": start.model, "finish_reason": done.finish_reason, "text": _joined(events, Delta)}
    return answer | dict(well_formed_value(always))


# -- OpenAI

_TEXTS: Final[dict[type, str]] = {Delta: "content", Reasoning: "reasoning_content", Refusal: "refusal"}


def deltas(events: Iterable[Event]) -> list[Json]:
    """What the chunks add to the answer, one each; the last, with the finish_reason, adds nothing."""
    found: list[Json] = []
    for event in events:
        if isinstance(event, Delta | Reasoning | Refusal):
            found.append({_TEXTS[type(event)]: well_formed(event.text)})
        elif isinstance(event, ToolCall):
            found.append({"tool_calls": [_openai_call(event)]})
        elif isinstance(event, Annotation | Image):
            found.append(_openai_attached(event))
        elif isinstance(event, Done):
            found.append({})
    return found


def _openai_attached(event: Annotation | Image) -> Json:
    fields = record(event)
    del fields["type"]
    if isinstance(event, Image):
        return {"images": [{"type": "image_url", "image_url": fields}]}
    kind = fields.pop("kind")
    return {"annotations": [{"type": kind, kind: fields}]}


def _openai_call(event: ToolCall) -> Json:
    function = {"name": event.name, "arguments": event.arguments}
    if event.name is not None:
        function["arguments"] = event.arguments or ""
    call: Json = {"index": event.index, "function": {name: text for name, text in function.items() if text is not None}}
    if event.id is not None:
        call |= {"id": event.id, "type": "function"}
    return dict(well_formed_value(call))


def completion(events: Sequence[Event], created: int) -> Json:
    """The chunks of a whole answer as one; a text that no chunk spoke of is left out, but for `content`."""
    start, done = the(Start, events), the(Done, events)
    assert start is not None
    assert done is not None
    message: Json = {"role": "assistant", "content": None}
    for kind, name in _TEXTS.items():
        if the(kind, events) is not None:
            message[name] = _joined(events, kind)
    if calls(events):
        message["tool_calls"] = [_whole_openai_call(fragments) for _, fragments in sorted(calls(events).items())]
    for event in events:
        if isinstance(event, Annotation | Image):
            for name, entries in _openai_attached(event).items():
                message[name] = [*message.get(name, []), *entries]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish_reason}
    head = {"id": f"chatcmpl-{start.id}", "object": "chat.completion", "created": created, "model": start.model}
    usage = openai_usage(done.usage)
    return dict(well_formed_value(head | {"choices": [choice]} | ({} if usage is None else {"usage": usage})))


def _whole_openai_call(fragments: list[ToolCall]) -> Json:
    first = fragments[0]
    joined = first.name is not None or any(fragment.arguments is not None for fragment in fragments)
    function = {"name": first.name, "arguments": arguments(fragments) if joined else None}
    call: Json = {"function": {name: text for name, text in function.items() if text is not None}}
    return call if first.id is None else call | {"id": first.id, "type": "function"}


_OPENAI_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


def openai_usage(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    counts: Json = dict(zip(_OPENAI_COUNTS, msgspec.structs.astuple(usage)[:3], strict=True))
    if usage.cached_input_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_input_tokens}
    if usage.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


def openai_error(failed: Failed | None) -> Json | None:
    if failed is None:
        return None
    code = OPENAI_CODES.get(failed.code, failed.code)
    types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    status = KINDS[failed.code].status
    type = "server_error" if status >= 500 else types.get(status, "invalid_request_error")
    return {"message": well_formed(failed.message), "type": type, "code": code, "param": None}


# -- the AI SDK

_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


def ui_finish_reason(end: Event) -> str:
    return _FINISH_REASONS.get(end.finish_reason, "other") if isinstance(end, Done) else "error"


def ui_metadata(events: Sequence[Event]) -> Json:
    start, done = the(Start, events), the(Done, events)
    metadata: Json = {"model": well_formed(start.model)} if start else {}
    if done is not None and done.usage is not None:
        names = ("inputTokens", "outputTokens", "totalTokens", "cachedInputTokens", "reasoningTokens")
        counts = zip(names, msgspec.structs.astuple(done.usage), strict=True)
        metadata["usage"] = {name: count for name, count in counts if count is not None}
    return metadata


def ui_parts(events: Sequence[Event]) -> list[Json]:
    """The parts of the message: a run of text or of reasoning each, and each tool call where it begins."""
    parts: list[Json] = []
    fragments = calls(events)
    is_whole = isinstance(events[-1], Done)
    open_kind = ""
    open_part: Json = {}
    end = events[-1]
    turn = {"turn": end.extra} if isinstance(end, Done) and end.extra else {}
    for event in events:
        if isinstance(event, Delta | Refusal | Reasoning):
            kind = "reasoning" if isinstance(event, Reasoning) else "text"
            if kind != open_kind:
                open_part = {"type": kind, "text": "", "state": "done"}
                parts.append(open_part)
            open_part["text"] += well_formed(event.text)
            open_kind = kind
        elif isinstance(event, Annotation | Image):
            parts += _ui_attached(event, parts)
        elif isinstance(event, ToolCall):
            open_kind = ""
            if event is fragments[event.index][0]:
                ours = _present(kind=event.kind, extra=extra(fragments[event.index]))
                ours |= {} if open_calls(parts) else turn
                attached = {"callProviderMetadata": {"quartapp": ours}} if ours and is_whole else {}
                parts.append(_ui_call(fragments[event.index], is_whole=is_whole) | attached)
    if open_kind and turn:
        open_part["providerMetadata"] = {"quartapp": turn}
    return parts


def _ui_attached(event: Annotation | Image, parts: list[Json]) -> list[Json]:
    if isinstance(event, Image):
        is_data = event.url.startswith("data:")
        return [
            {"type": "file", "mediaType": re.split("[:;,]", event.url)[1] if is_data else "image/*", "url": event.url}
        ]
    known = [part["url"] for part in parts if part["type"] == "source-url"]
    if event.url is None or event.url in known:
        return []
    return [
        {"type": "source-url", "sourceId": f"source-{len(known) + 1}", "url": event.url, **_present(title=event.title)}
    ]


def open_calls(parts: list[Json]) -> list[Json]:
    return [part for part in parts if part["type"].startswith("tool-")]


def _ui_call(fragments: list[ToolCall], *, is_whole: bool) -> Json:
    first, text = fragments[0], arguments(fragments)
    call = {
        "type": "tool-" + well_formed(first.name or "unknown"),
        "toolCallId": well_formed(first.id or f"call-{first.index}"),
        "state": "input-streaming",
        "raw": "".join([well_formed(fragment.arguments or "") for fragment in fragments]),
    }
    if not is_whole:
        return call
    if first.kind == "custom":
        return call | {"state": "input-available", "input": well_formed(text)}
    try:
        return call | {"state": "input-available", "input": _parsed(well_formed(text) or "{}")}
    except ValueError:
        return call | {"state": "output-error", "input": well_formed(text)}


def _parsed(text: str) -> Any:
    value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    refuse_prototypes(value)
    return well_formed_value(value)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value
