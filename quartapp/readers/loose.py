"""Chunks in any other form than OpenAI's, read into the same types; what makes no sense is an error, never silence."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NamedTuple

import msgspec

from quartapp.errors import ChatError
from quartapp.events import ToolCall, Usage
from quartapp.formats.encoding import to_utf8
from quartapp.formats.openai import call_object, usage_object
from quartapp.readers.failures import from_error_object
from quartapp.readers.strict import Call, Choice, Chunk, ChunkDelta, Function, text_in
from quartapp.readers.usages import find_usage, read_timings
from quartapp.requests.documents import JsonObject

# An object with none of these is no chunk, unless it says what it is.
_OF_CHUNKS: Final = frozenset(
    {
        "choices",
        "usage",
        "x_groq",
        "timings",
        "amazon-bedrock-invocationMetrics",
        "eval_count",
        "prompt_filter_results",
        "prompt_annotations",
        "content_filter_results",
        "obfuscation",
    }
)
_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_HALF_PAIR = re.compile(rb"\\ud[89a-f]", re.IGNORECASE)


class Odd(NamedTuple):
    """A chunk in an odd form: the object that came, and what it says; `estimate` is for want of usage."""

    document: JsonObject
    chunk: Chunk
    estimate: Usage | None


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


def read(payload: bytes) -> Odd:
    """A chunk in whatever form. Raises ChatError: what an error object stands for, upstream_error for garbage."""
    try:
        document = parse(payload)
    except (ValueError, RecursionError) as error:
        raise ChatError("upstream_error") from error
    if not isinstance(document, dict) or not _is_chunk(document):
        raise from_error_object(document)
    _check_error(document)
    _check_error(document.get("x_groq"))
    choices = [_choice(each) for each in _list(document.get("choices"))]
    usage = find_usage(document)
    return Odd(
        document, Chunk(choices, None if usage is None else usage_object(usage)), read_timings(document.get("timings"))
    )


def _check_error(said: Any) -> None:
    if isinstance(said, dict) and said.get("error") is not None:
        raise from_error_object(said)


def _is_chunk(document: JsonObject) -> bool:
    is_named = document.get("object") == "chat.completion.chunk" or document.get("type") == "ping"
    return is_named or not _OF_CHUNKS.isdisjoint(document)


def _choice(choice: Any) -> Choice:
    if not isinstance(choice, dict):
        raise ChatError("upstream_error")
    _check_error(choice)
    index = _number(choice.get("index"))
    return Choice(_delta(_delta_of(choice)), index or 0, _finish_reason(choice.get("finish_reason")))


def _number(index: Any) -> int | None:
    """A whole number in whatever form it is written; None where nothing is."""
    match index:
        case None | "":
            return None
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
    said = choice.get("message") if choice.get("delta") is None else choice["delta"]
    return {"content": choice["text"]} if said is None and isinstance(choice.get("text"), str) else _object(said)


def _finish_reason(reason: Any) -> str | None:
    if reason is not None and not isinstance(reason, str):
        raise ChatError("upstream_error")
    return reason


def _delta(said: JsonObject) -> ChunkDelta:
    content, thought = _content(said.get("content"))
    thoughts = [text_in(said.get(name)) for name in _THOUGHTS]
    calls = said.get("tool_calls")
    fragments = [_call(each) for each in ([calls] if isinstance(calls, dict) else _list(calls))]
    if not fragments and said.get("function_call") is not None:  # llama-cpp-python tells a call both ways
        fragments.append(_call({"function": said["function_call"]}))
    return ChunkDelta(
        content=content,
        reasoning_content=next(filter(None, [*thoughts, thought]), None),
        refusal=text_in(said.get("refusal")),
        tool_calls=fragments,
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
    function = _object(said.get("function") or said.get("custom"))
    arguments = function.get("arguments") if "arguments" in function else function.get("input")
    return Call(
        index=msgspec.UNSET if index is None else index,
        id=_name(said.get("id")),
        function=Function(_name(function.get("name")), _arguments(arguments)),
    )


def _name(name: Any) -> str | None:
    return None if name is None or isinstance(name, dict | list) else str(name)


def _arguments(arguments: Any) -> str | None:
    if arguments is None or isinstance(arguments, str):
        return arguments
    return to_text(arguments)


def _object(value: Any) -> JsonObject:
    if value is not None and not isinstance(value, dict):
        raise ChatError("upstream_error")
    return value or {}


def _list(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ChatError("upstream_error")
    return value or []


# -- for OpenAI's clients


def mend(odd: Odd, calls: dict[int, list[ToolCall]]) -> JsonObject:
    """The chunk as OpenAI's clients can take it, with all else that it says; `calls` are those of each choice, by its
    place."""
    pairs = zip(odd.document.get("choices") or [], odd.chunk.choices, strict=True)
    mended = [_mended(choice, said, calls.get(place, [])) for place, (choice, said) in enumerate(pairs)]
    usage = {} if odd.chunk.usage is None else {"usage": odd.chunk.usage}
    return odd.document | {"object": "chat.completion.chunk", "choices": mended} | usage


def _mended(choice: JsonObject, said: Choice, calls: list[ToolCall]) -> JsonObject:
    rest = {name: value for name, value in choice.items() if name not in ("delta", "message", "text")}
    theirs = _delta_of(choice)
    # The call of a function, as it was before there were tools, stands as it is.
    delta = _mended_delta(theirs, said.delta, calls if theirs.get("tool_calls") else [])
    return rest | {"index": said.index, "delta": delta, "finish_reason": said.finish_reason or None}


_RETOLD: Final = frozenset({"content", "reasoning_content", "reasoning", "thinking", "refusal", "tool_calls"})


def _mended_delta(theirs: JsonObject, said: ChunkDelta, calls: list[ToolCall]) -> JsonObject:
    told: JsonObject = {"content": said.content, "reasoning_content": said.reasoning_content, "refusal": said.refusal}
    told["tool_calls"] = [call_object(call) for call in calls]
    rest = {name: value for name, value in theirs.items() if name not in _RETOLD}
    return rest | {name: value for name, value in told.items() if value}
