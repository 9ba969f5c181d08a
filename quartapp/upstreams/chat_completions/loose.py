"""Chunks in any form other than OpenAI's, decoded into the same types. A chunk without a meaning is an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import CALL_STATE, TURN_STATE, ToolCall, Usage
from quartapp.core.request import JsonObject, without
from quartapp.protocols.chat_completions.chunk import (
    ChunkCall,
    ChunkDelta,
    CompletionChunk,
    Custom,
    Function,
    StreamedChoice,
    text_in,
)
from quartapp.protocols.chat_completions.encode import call_object, usage_object
from quartapp.upstreams.chat_completions.attached import images_of
from quartapp.upstreams.common.failures import from_error_object
from quartapp.upstreams.common.lenient_json import to_text
from quartapp.upstreams.common.usages import find_usage, read_timings

# An object with none of these is no chunk, unless `object` or `type` marks it as one.
_OF_CHUNKS: Final = frozenset(
    {"choices", "usage", "x_groq", "timings", "amazon-bedrock-invocationMetrics", "eval_count", "obfuscation"}
) | {"prompt_filter_results", "prompt_annotations", "content_filter_results"}
_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details")


class OddChunk(NamedTuple):
    """A chunk in an odd form: its object, and the decoded chunk; `estimate` is used if no usage comes.

    `messages` are the places of the choices with a message instead of a delta.
    """

    document: JsonObject
    chunk: CompletionChunk
    estimate: Usage | None
    messages: Sequence[int] = ()


def read(document: Any) -> OddChunk:
    """Return a chunk in any form. Raises ChatError: the error in an error object, or upstream_error."""
    if not isinstance(document, dict) or not _is_chunk(document):
        raise from_error_object(document)
    _check_error(document)
    _check_error(document.get("x_groq"))
    found = [_object(each) for each in _list(document.get("choices"))]
    usage = find_usage(document)
    sources = {name: document.get(name) for name in ("citations", "search_results")}
    chunk = CompletionChunk([_choice(each) for each in found], usage_object(usage) if usage else None, **sources)
    messages = [place for place, choice in enumerate(found) if _is_message(choice)]
    return OddChunk(document, chunk, read_timings(document.get("timings")), messages)


def _check_error(holder: Any) -> None:
    if isinstance(holder, dict) and not _is_nothing(holder.get("error")):
        raise from_error_object(holder)


def _is_chunk(document: JsonObject) -> bool:
    is_named = document.get("object") == "chat.completion.chunk" or document.get("type") == "ping"
    return is_named or not _OF_CHUNKS.isdisjoint(document)


def _choice(choice: JsonObject) -> StreamedChoice:
    _check_error(choice)
    index = _number(choice.get("index"))
    return StreamedChoice(_delta(_delta_of(choice)), index or 0, _finish_reason(choice.get("finish_reason")))


def _number(index: Any) -> int | None:
    """Return a whole number in any notation; None if the value is empty."""
    if _is_nothing(index):
        return None
    match index:
        case int() if not isinstance(index, bool):
            return index
        case float() if index.is_integer():
            return int(index)
        case str() if re.fullmatch(r"[0-9]{1,9}", index):
            return int(index)
        case _:
            raise ChatError("upstream_error")


def _delta_of(choice: JsonObject) -> JsonObject:
    """Return the delta of a choice: its delta, its message if it has no delta, or the text of a plain completion."""
    delta = choice.get("message") if _is_message(choice) else choice.get("delta")
    return {"content": choice["text"]} if delta is None and isinstance(choice.get("text"), str) else _object(delta)


def _is_message(choice: JsonObject) -> bool:
    return _is_nothing(choice.get("delta")) and not _is_nothing(choice.get("message"))


def _finish_reason(reason: Any) -> str | None:
    if _is_nothing(reason):
        return None
    if not isinstance(reason, str):
        raise ChatError("upstream_error")
    return reason


def _delta(fields: JsonObject) -> ChunkDelta:
    content, thought = _content(fields.get("content"))
    thoughts = [text_in(fields.get(name)) for name in _THOUGHTS]
    calls = _list(fields.get("tool_calls"))
    fragments = [_call(each) for each in calls if not _is_nothing(each)]
    if not fragments and not _is_nothing(fields.get("function_call")):  # llama-cpp-python sends a call in both fields
        fragments.append(_call({"function": fields["function_call"]}))
    return ChunkDelta(
        content=content,
        reasoning_content=next(filter(None, [*thoughts, thought]), None),
        refusal=text_in(fields.get("refusal")),
        tool_calls=fragments,
        **{name: fields.get(name) for name in TURN_STATE},
        audio=fields.get("audio"),
        images=images_of(fields),
        annotations=fields.get("annotations"),
    )


def _content(content: Any) -> tuple[str, str]:
    """Return the text and the reasoning of a content, which is text or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in _list(content):
        is_thought = isinstance(part, dict) and part.get("type") in _THOUGHTS
        (thoughts if is_thought else texts).append(text_in(part))
    return "".join(texts), "".join(thoughts)


def _call(call: Any) -> ChunkCall:
    fields = _object(call)
    index = _number(fields.get("index"))
    state = {field: fields.get(field) for field in CALL_STATE}
    fragment = ChunkCall(index=msgspec.UNSET if index is None else index, id=_name(fields.get("id")), **state)
    function, custom = _object(fields.get("function")), _object(fields.get("custom"))
    if custom and not function:
        fragment.custom = Custom(_name(custom.get("name")), _arguments(custom.get("input")))
        return fragment
    arguments = function.get("arguments") if "arguments" in function else function.get("input")
    fragment.function = Function(_name(function.get("name")), _arguments(arguments))
    return fragment


def _name(name: Any) -> str | None:
    return None if name is None or isinstance(name, dict | list) else str(name)


def _arguments(arguments: Any) -> str | None:
    if _is_nothing(arguments) or isinstance(arguments, str):
        return arguments or None
    return to_text(arguments)


def _is_nothing(value: Any) -> bool:
    """Return whether `value` is empty. Servers in PHP, Go and Java send empty values where OpenAI sends none."""
    return value is None or value == "" or value == [] or value == {}


def _object(value: Any) -> JsonObject:
    if _is_nothing(value):
        return {}
    if not isinstance(value, dict):
        raise ChatError("upstream_error")
    return value


def _list(value: Any) -> list[Any]:
    """Return a list; an object counts as a list of one."""
    if _is_nothing(value):
        return []
    if not isinstance(value, list | dict):
        raise ChatError("upstream_error")
    return [value] if isinstance(value, dict) else value


# -- encoding for OpenAI's clients


def mend(odd: OddChunk, calls: dict[int, list[ToolCall]]) -> JsonObject:
    """Return the chunk in OpenAI's form, with all its other fields; `calls` are those of each choice, by place."""
    pairs = zip(_list(odd.document.get("choices")), odd.chunk.choices, strict=True)
    mended = [_mended(choice, decoded, calls.get(place, [])) for place, (choice, decoded) in enumerate(pairs)]
    usage = {} if odd.chunk.usage is None else {"usage": odd.chunk.usage}
    return odd.document | {"object": "chat.completion.chunk", "choices": mended} | usage


def _mended(choice: JsonObject, decoded: StreamedChoice, calls: list[ToolCall]) -> JsonObject:
    rest = without(_object(choice), ("delta", "message", "text"))
    sent = _delta_of(_object(choice))
    # The older `function_call` stays unchanged.
    delta = _mended_delta(sent, decoded.delta, [] if is_old_call(sent) else calls)
    return rest | {"index": decoded.index, "delta": delta, "finish_reason": decoded.finish_reason or None}


def is_old_call(delta: JsonObject) -> bool:
    """Return whether `delta` has the older `function_call` and no tool calls."""
    return bool(delta.get("function_call") and not delta.get("tool_calls"))


_RENAMED: Final = frozenset({"reasoning", "thinking"})  # sent as `reasoning_content`


def _mended_delta(sent: JsonObject, delta: ChunkDelta, calls: list[ToolCall]) -> JsonObject:
    new: JsonObject = {"content": delta.content, "reasoning_content": delta.reasoning_content, "refusal": delta.refusal}
    new |= {"tool_calls": [*map(call_object, calls)], "images": delta.images, "annotations": delta.annotations}
    empty = {name for name in ("role", "function_call") if _is_nothing(sent.get(name))}
    rest = without(sent, new.keys() | _RENAMED | empty)
    return rest | {name: value for name, value in new.items() if value}
