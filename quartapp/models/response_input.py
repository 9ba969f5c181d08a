"""A conversation in chat completions' messages as the items that OpenAI's Responses API takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from quartapp.errors import ChatError
from quartapp.requests.documents import JsonObject


def input_items(messages: Sequence[JsonObject], *, first: int = 0) -> list[JsonObject]:
    """The items of `messages`, of which a client counts the one at `first` as its own first.

    A participant's name is left out: there is no place for it. Raises ChatError, invalid_request, for a sound, which
    the API does not take.
    """
    return [item for index, message in enumerate(messages, -first) for item in _items(message, f"messages.{index}")]


def _items(message: JsonObject, path: str) -> Iterator[JsonObject]:
    match message["role"]:
        case "tool":
            output = _content(message["content"], path)
            yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}
        case "assistant":
            yield from _said(message)
            yield from map(_call, message.get("tool_calls", ()))
        case role:
            yield {"role": role, "content": _content(message["content"], path)}


# -- what is asked


def _content(content: str | Sequence[JsonObject], path: str) -> str | list[JsonObject]:
    if isinstance(content, str):
        return content
    return [_part(part, f"{path}.content.{index}") for index, part in enumerate(content)]


def _part(part: JsonObject, path: str) -> JsonObject:
    match part:
        case {"type": "text", "text": text}:
            return {"type": "input_text", "text": text}
        case {"type": "image_url", "image_url": {"url": url, **rest}}:
            return {"type": "input_image", "image_url": url, "detail": rest.get("detail", "auto")}
        case {"type": "file", "file": file}:
            return {"type": "input_file", **file}
        case _:
            raise ChatError("invalid_request", path=f"{path}.type")


# -- what was answered


def _said(message: JsonObject) -> Iterator[JsonObject]:
    """What the model said. Text is sent as text: its parts would be an answer's own, of which the id is not known."""
    parts = [*_texts(message.get("content")), *_refusals(message.get("refusal"))]
    if any(part["type"] == "refusal" for part in parts):
        yield {"type": "message", "role": "assistant", "content": parts}
    elif parts:
        yield {"role": "assistant", "content": "".join(part["text"] for part in parts)}


def _texts(content: str | Sequence[JsonObject] | None) -> Iterator[JsonObject]:
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
        if part["type"] == "refusal":
            yield {"type": "refusal", "refusal": part["refusal"]}
        elif part["text"]:
            yield {"type": "output_text", "text": part["text"], "annotations": []}


def _refusals(refusal: str | None) -> Iterator[JsonObject]:
    if refusal:
        yield {"type": "refusal", "refusal": refusal}


def _call(call: JsonObject) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call["id"], **call["function"]}
