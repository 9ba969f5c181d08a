"""The items of the Responses API for a conversation in chat completions' messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quartapp.core.errors import ChatError
from quartapp.core.request import JsonObject
from quartapp.upstreams.common.history import ReturnedState


def input_items(
    messages: Sequence[JsonObject], *, first: int = 0, returned: ReturnedState | None = None
) -> list[JsonObject]:
    """Return the items of `messages`; `first` is the index of the client's first message, for error paths.

    Reasoning items from `returned` have the places at which the API sent them, before text or before a call. A
    participant's name is dropped, because the API has no field for it. Raises ChatError, invalid_request, for audio,
    which the API does not accept.
    """
    items = _InputItems(returned or ReturnedState())
    return [item for index, message in enumerate(messages, -first) for item in items.of(message, f"messages.{index}")]


class _InputItems:
    """The items of one conversation. The type of a result depends on its call, which comes before it."""

    def __init__(self, returned: ReturnedState) -> None:
        self._returned = returned
        self._custom_ids: set[str] = set()

    def of(self, message: JsonObject, path: str) -> Iterator[JsonObject]:
        match message["role"]:
            case "tool":
                output = _content(message["content"], path)
                call_id = message["tool_call_id"]
                kind = "custom_tool_call_output" if call_id in self._custom_ids else "function_call_output"
                yield {"type": kind, "call_id": call_id, "output": output}
            case "assistant":
                calls = [(call, *self._returned.items(call)) for call in message.get("tool_calls", ())]
                yield from (item for _, before_text, _ in calls for item in before_text)
                yield from _assistant_items(message)
                for call, _, items in calls:
                    yield from items
                    yield self._call(call)
            case role:
                yield {"role": role, "content": _content(message["content"], path)}

    def _call(self, call: JsonObject) -> JsonObject:
        if "custom" in call:
            self._custom_ids.add(call["id"])
            return {"type": "custom_tool_call", "call_id": call["id"], **call["custom"]}
        self._custom_ids.discard(call["id"])
        return {"type": "function_call", "call_id": call["id"], **call["function"]}


# -- input of the model


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


# -- output of the model


def _assistant_items(message: JsonObject) -> Iterator[JsonObject]:
    """Yield the message of an assistant turn.

    Text is sent as a string, because output parts would need the id of their item, which is unknown.
    """
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
