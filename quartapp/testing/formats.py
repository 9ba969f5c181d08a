"""The formats of the chat as clients see them: their route, their request, and the parser of their response.

The parsers share no code with the encoders, so that a test of a project checks the real bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from quartapp.testing.answers import JsonRecord, without_type

#: A question, or messages with `role` and `content`.
Question = str | Sequence[Mapping[str, Any]]


class ClientFormat(NamedTuple):
    """A format: the `path` below the prefix, the media type to accept, and two functions.

    `body` makes the JSON of a request, and `read` the records of a body. `end` is the end of a complete answer.
    """

    path: str
    accept: str
    body: Callable[[Question], dict[str, Any]]
    read: Callable[[str], list[JsonRecord]]
    end: str


def _native(question: Question) -> dict[str, Any]:
    return {"message": question} if isinstance(question, str) else {"messages": list(question)}


def _openai(question: Question) -> dict[str, Any]:
    return {"messages": _messages(question)}


def _openai_stream(question: Question) -> dict[str, Any]:
    return _openai(question) | {"stream": True, "stream_options": {"include_usage": True}}


def _ui(question: Question) -> dict[str, Any]:
    """Return the request of `useChat`, whose messages consist of parts. Messages with `parts` stay unchanged."""
    messages = [
        message if "parts" in message else {**message, "parts": [{"type": "text", "text": message["content"]}]}
        for message in _messages(question)
    ]
    for number, message in enumerate(messages):
        message.pop("content", None)
        message.setdefault("id", f"message-{number}")
    return {"id": "test", "trigger": "submit-message", "messages": messages}


def _messages(question: Question) -> list[dict[str, Any]]:
    if isinstance(question, str):
        return [{"role": "user", "content": question}]
    return [{"role": "user", **message} for message in question]


# -- bodies


def _read_text(body: str) -> list[JsonRecord]:
    return [{"type": "delta", "text": body}] if body else []


def _read_lines(body: str) -> list[JsonRecord]:
    return [json.loads(line) for line in body.split("\n")[:-1]]  # a line without its end is truncated


def _read_events(body: str) -> list[JsonRecord]:
    return [json.loads(data) for data in _event_data(body)]


def _event_data(body: str) -> Iterator[str]:
    """Yield the data of each complete server-sent event."""
    for event in body.split("\n\n")[:-1]:
        lines = [line.removeprefix("data:").removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        if lines:
            yield "\n".join(lines)


def _read_object(body: str) -> list[JsonRecord]:
    whole = json.loads(body)
    records = [{"type": "start", "id": whole["id"], "model": whole["model"]}]
    names = {"text": "delta", "reasoning": "reasoning", "refusal": "refusal"}
    records += [{"type": kind, "text": whole[name]} for name, kind in names.items() if whole.get(name)]
    records += [{"type": "tool_call", "index": index, **call} for index, call in enumerate(whole.get("tool_calls", ()))]
    for turn in whole.get("messages", ()):
        if turn["role"] == "tool":
            records.append({"type": "tool_result", "id": turn["tool_call_id"], "content": turn["content"]})
    for call in whole.get("tool_calls", ()):
        if call.get("needs_approval"):
            records.append({"type": "tool_approval", "id": call["id"], "name": call["name"]})
    for name, kind in (("annotations", "annotation"), ("images", "image")):
        records += [{"type": kind, **each} for each in whole.get(name, ())]
    return [*records, {"type": "done", "finish_reason": whole["finish_reason"], "usage": whole.get("usage")}]


# -- OpenAI's chunks


def _read_chunks(body: str) -> list[JsonRecord]:
    """Return the records of a stream, which is complete after `[DONE]`."""
    records: list[JsonRecord] = []
    done: JsonRecord = {"type": "done", "finish_reason": None, "usage": None}
    for data in _event_data(body):
        if data == "[DONE]":
            return [*records, done]
        chunk = json.loads(data)
        if "error" in chunk:
            return [*records, {"type": "error", **without_type(chunk["error"])}]
        if not records:
            records.append({"type": "start", "id": chunk.get("id"), "model": chunk.get("model")})
        done["usage"] = chunk.get("usage") or done["usage"]
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                records += _of_message(choice.get("delta") or {})
                done["finish_reason"] = choice.get("finish_reason") or done["finish_reason"]
    return records


def _read_completion(body: str) -> list[JsonRecord]:
    completion = json.loads(body)
    choice = completion["choices"][0]
    start = {"type": "start", "id": completion["id"], "model": completion["model"]}
    done = {"type": "done", "finish_reason": choice["finish_reason"], "usage": completion.get("usage")}
    return [start, *_of_message(choice["message"]), done]


def _of_message(message: Mapping[str, Any]) -> Iterator[JsonRecord]:
    """Yield the records of a message, or of the delta of one."""
    for name, kind in (("content", "delta"), ("reasoning_content", "reasoning"), ("refusal", "refusal")):
        if message.get(name):
            yield {"type": kind, "text": message[name]}
    for index, call in enumerate(message.get("tool_calls") or ()):
        fields = call.get("function") or call.get("custom") or {}
        arguments = fields.get("arguments") or fields.get("input")
        named = {"id": call.get("id"), "name": fields.get("name"), "arguments": arguments}
        yield {"type": "tool_call", "index": call.get("index", index), **named}
    for each in message.get("annotations") or ():
        yield {"type": "annotation", "kind": each["type"], **each.get(each["type"], {})}
    for each in message.get("images") or ():
        yield {"type": "image", "url": each["image_url"]["url"]}


# -- parts of the AI SDK


def _read_parts(body: str) -> list[JsonRecord]:
    """Return the records of a UI message stream, which is complete after `finish` with another reason than `error`."""
    parts = [json.loads(data) for data in _event_data(body) if data != "[DONE]"]
    return [record for part in parts for record in (*_of_part(part), *_of_tool(part))]


_TEXTS: Final = {"text-delta": "delta", "reasoning-delta": "reasoning"}


def _of_part(part: dict[str, Any]) -> Iterator[JsonRecord]:
    match part:
        case {"type": "start"}:
            yield {"type": "start", "id": part.get("messageId"), "model": part.get("messageMetadata", {}).get("model")}
        case {"type": "text-delta" | "reasoning-delta" as kind, "delta": text}:
            yield {"type": _TEXTS[kind], "text": text}
        case {"type": "source-url"}:
            yield {"type": "annotation", "kind": "url_citation", "url": part["url"], "title": part.get("title")}
        case {"type": "file"}:
            yield {"type": "image", "url": part["url"]}
        case {"type": "error"}:
            yield {"type": "error", "message": part["errorText"]}
        case {"type": "finish", "finishReason": reason} if reason != "error":
            usage = part.get("messageMetadata", {}).get("usage")
            yield {"type": "done", "finish_reason": reason, "usage": usage}


def _of_tool(part: dict[str, Any]) -> Iterator[JsonRecord]:
    match part:
        case {"type": "tool-input-start", "toolCallId": id, "toolName": name}:
            yield {"type": "tool_call", "index": id, "id": id, "name": name}
        case {"type": "tool-input-delta", "toolCallId": id, "inputTextDelta": text}:
            yield {"type": "tool_call", "index": id, "arguments": text}
        case {"type": "tool-approval-request", "toolCallId": id}:
            yield {"type": "tool_approval", "id": id}
        case {"type": "tool-output-available" | "tool-output-error", "toolCallId": id}:
            yield {"type": "tool_result", "id": id, "content": part.get("output", part.get("errorText"))}


FORMATS: Final[Mapping[str, ClientFormat]] = {
    "text": ClientFormat("/api/stream", "text/plain", _native, _read_text, "the last chunk"),
    "ndjson": ClientFormat("/api/stream", "application/x-ndjson", _native, _read_lines, "a record done or error"),
    "sse": ClientFormat("/api/stream", "text/event-stream", _native, _read_events, "a record done or error"),
    "json": ClientFormat("/api/chat", "application/json", _native, _read_object, "a complete object"),
    "openai": ClientFormat("/v1/chat/completions", "text/event-stream", _openai_stream, _read_chunks, "[DONE]"),
    "openai_json": ClientFormat(
        "/v1/chat/completions", "application/json", _openai, _read_completion, "a complete object"
    ),
    "ai_sdk": ClientFormat("/api/ui", "text/event-stream", _ui, _read_parts, "a part finish"),
}


def refusal_of(body: str) -> tuple[str | None, str]:
    """Return the code and the message of an error response. Those of the AI SDK are text, without a code."""
    try:
        error = json.loads(body)["error"]
        return error["code"], str(error["message"])
    except (ValueError, LookupError, TypeError):
        return None, body


def check_format(name: str) -> ClientFormat:
    """Return the format of that name. Raises ValueError for an unknown one."""
    if name not in FORMATS:
        raise ValueError(f"format: {name!r} is none of {', '.join(FORMATS)}")
    return FORMATS[name]


def joined(chunks: Iterable[bytes]) -> str:
    """Return the text of a body. Half of a character at its end is left out, because the body may be truncated."""
    return b"".join(chunks).decode("utf-8", "ignore")
