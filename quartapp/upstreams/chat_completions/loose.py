"""Chunks in any other form than OpenAI's, read into the same types; what makes no sense is an error, never silence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import CALL_STATE, TURN_STATE, ToolCall, Usage
from quartapp.protocols.chat_completions.encode import call_object, usage_object
from quartapp.protocols.common.documents import JsonObject
from quartapp.protocols.common.encoding import to_utf8
from quartapp.upstreams.chat_completions.attached import images_of
from quartapp.upstreams.chat_completions.strict import Call, Choice, Chunk, ChunkDelta, Custom, Function, text_in
from quartapp.upstreams.common.failures import from_error_object
from quartapp.upstreams.common.usages import find_usage, read_timings

# An object with none of these is no chunk, unless it says what it is.
_OF_CHUNKS: Final = frozenset(
    {"choices", "usage", "x_groq", "timings", "amazon-bedrock-invocationMetrics", "eval_count", "obfuscation"}
) | {"prompt_filter_results", "prompt_annotations", "content_filter_results"}
_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_HALF_PAIR = re.compile(rb"\\ud[89a-f]", re.IGNORECASE)


class Odd(NamedTuple):
    """A chunk in an odd form: the object that came, and what it says; `estimate` is for want of usage.

    `messages` are the places of the choices that hold a message and no delta.
    """

    document: JsonObject
    chunk: Chunk
    estimate: Usage | None
    messages: Sequence[int] = ()


def parse(payload: bytes) -> Any:
    """The value of JSON in UTF-8 as servers write it: NaN and infinities are null, and half a surrogate pair, as
    models that cut characters in two send it, is U+FFFD. Raises ValueError and RecursionError."""
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        value = _decode(payload.decode())
    return _decode(to_utf8(to_text(value)).decode()) if _HALF_PAIR.search(payload) else value


def to_text(value: Any) -> str:
    """A value of `parse` as JSON, whatever the size of its numbers. Raises RecursionError."""
    return _encode(value)


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


_decode: Final = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite).decode
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def read(document: Any) -> Odd:
    """A chunk in whatever form. Raises ChatError: what an error object stands for, upstream_error for garbage."""
    if not isinstance(document, dict) or not _is_chunk(document):
        raise from_error_object(document)
    _check_error(document)
    _check_error(document.get("x_groq"))
    found = [_object(each) for each in _list(document.get("choices"))]
    usage = find_usage(document)
    sources = {name: document.get(name) for name in ("citations", "search_results")}
    chunk = Chunk([_choice(each) for each in found], None if usage is None else usage_object(usage), **sources)
    messages = [place for place, choice in enumerate(found) if _is_message(choice)]
    return Odd(document, chunk, read_timings(document.get("timings")), messages)


def _check_error(said: Any) -> None:
    if isinstance(said, dict) and not _is_nothing(said.get("error")):
        raise from_error_object(said)


def _is_chunk(document: JsonObject) -> bool:
    is_named = document.get("object") == "chat.completion.chunk" or document.get("type") == "ping"
    return is_named or not _OF_CHUNKS.isdisjoint(document)


def _choice(choice: JsonObject) -> Choice:
    _check_error(choice)
    index = _number(choice.get("index"))
    return Choice(_delta(_delta_of(choice)), index or 0, _finish_reason(choice.get("finish_reason")))


def _number(index: Any) -> int | None:
    """A whole number in whatever form it is written; None where nothing is."""
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
    """Beside a delta, a message is what has been said so far; completions that are no chats have a text."""
    said = choice.get("message") if _is_message(choice) else choice.get("delta")
    return {"content": choice["text"]} if said is None and isinstance(choice.get("text"), str) else _object(said)


def _is_message(choice: JsonObject) -> bool:
    return _is_nothing(choice.get("delta")) and not _is_nothing(choice.get("message"))


def _finish_reason(reason: Any) -> str | None:
    if _is_nothing(reason):
        return None
    if not isinstance(reason, str):
        raise ChatError("upstream_error")
    return reason


def _delta(said: JsonObject) -> ChunkDelta:
    content, thought = _content(said.get("content"))
    thoughts = [text_in(said.get(name)) for name in _THOUGHTS]
    calls = _list(said.get("tool_calls"))
    fragments = [_call(each) for each in calls if not _is_nothing(each)]
    if not fragments and not _is_nothing(said.get("function_call")):  # llama-cpp-python tells a call both ways
        fragments.append(_call({"function": said["function_call"]}))
    return ChunkDelta(
        content=content,
        reasoning_content=next(filter(None, [*thoughts, thought]), None),
        refusal=text_in(said.get("refusal")),
        tool_calls=fragments,
        **{name: said.get(name) for name in TURN_STATE},
        audio=said.get("audio"),
        images=images_of(said),
        annotations=said.get("annotations"),
    )


def _content(content: Any) -> tuple[str, str]:
    """The text and the reasoning of a content, which is text or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in _list(content):
        is_thought = isinstance(part, dict) and part.get("type") in _THOUGHTS
        (thoughts if is_thought else texts).append(text_in(part))
    return "".join(texts), "".join(thoughts)


def _call(call: Any) -> Call:
    said = _object(call)
    index = _number(said.get("index"))
    state = {field: said.get(field) for field in CALL_STATE}
    fragment = Call(index=msgspec.UNSET if index is None else index, id=_name(said.get("id")), **state)
    function, custom = _object(said.get("function")), _object(said.get("custom"))
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
    """Return whether `value` is an empty thing, as servers in PHP, Go and Java write it where OpenAI sends nothing."""
    return value is None or value == "" or value == [] or value == {}


def _object(value: Any) -> JsonObject:
    if _is_nothing(value):
        return {}
    if not isinstance(value, dict):
        raise ChatError("upstream_error")
    return value


def _list(value: Any) -> list[Any]:
    """Return a list; an object in its place is its only element."""
    if _is_nothing(value):
        return []
    if not isinstance(value, list | dict):
        raise ChatError("upstream_error")
    return [value] if isinstance(value, dict) else value


# -- for OpenAI's clients


def mend(odd: Odd, calls: dict[int, list[ToolCall]]) -> JsonObject:
    """The chunk as OpenAI's clients can take it, with all else that it says; `calls` are those of each choice, by its
    place."""
    pairs = zip(_list(odd.document.get("choices")), odd.chunk.choices, strict=True)
    mended = [_mended(choice, said, calls.get(place, [])) for place, (choice, said) in enumerate(pairs)]
    usage = {} if odd.chunk.usage is None else {"usage": odd.chunk.usage}
    return odd.document | {"object": "chat.completion.chunk", "choices": mended} | usage


def _mended(choice: JsonObject, said: Choice, calls: list[ToolCall]) -> JsonObject:
    rest = {name: value for name, value in _object(choice).items() if name not in ("delta", "message", "text")}
    theirs = _delta_of(_object(choice))
    # The call of a function, as it was before there were tools, stands as it is.
    delta = _mended_delta(theirs, said.delta, [] if is_old_call(theirs) else calls)
    return rest | {"index": said.index, "delta": delta, "finish_reason": said.finish_reason or None}


def is_old_call(delta: JsonObject) -> bool:
    """Return whether `delta` holds the call of a function as it was before there were tools, and no other call."""
    return bool(delta.get("function_call") and not delta.get("tool_calls"))


_RETOLD: Final = frozenset({"reasoning", "thinking"})  # as `reasoning_content`


def _mended_delta(theirs: JsonObject, said: ChunkDelta, calls: list[ToolCall]) -> JsonObject:
    told: JsonObject = {"content": said.content, "reasoning_content": said.reasoning_content, "refusal": said.refusal}
    told |= {"tool_calls": [*map(call_object, calls)], "images": said.images, "annotations": said.annotations}
    empty = {name for name in ("role", "function_call") if _is_nothing(theirs.get(name))}
    rest = {name: value for name, value in theirs.items() if name not in told.keys() | _RETOLD | empty}
    return rest | {name: value for name, value in told.items() if value}
