"""A server of OpenAI's Responses API, which checks requests by the API's own types, and answers as the API does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from openai.types.responses import ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter, ValidationError

from tests.support.loopback import Exchange, Loopback, Received, reply

Document = dict[str, Any]

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_PARAMETERS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)
_NAMES = frozenset(TypeAdapter(ResponseCreateParamsStreaming).json_schema()["properties"])

USAGE = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 8,
}


# -- responses: items, and their events


def text(content: str) -> Document:
    return {"type": "output_text", "text": content, "annotations": [], "logprobs": []}


def refusal(content: str) -> Document:
    return {"type": "refusal", "refusal": content}


def message(*parts: Document | str, id: str = "msg_1") -> Document:
    content = [text(part) if isinstance(part, str) else part for part in parts]
    return {"id": id, "type": "message", "role": "assistant", "status": "completed", "content": content}


def thinking(*summary: str, id: str = "rs_1", content: Sequence[str] = ()) -> Document:
    summaries = {"summary": [{"type": "summary_text", "text": each} for each in summary]}
    thought = {"content": [{"type": "reasoning_text", "text": each} for each in content]} if content else {}
    return {"id": id, "type": "reasoning", **summaries, **thought}


def call(name: str = "weather", arguments: str = '{"city": "Rome"}', number: int = 1) -> Document:
    ids = {"id": f"fc_{number}", "call_id": f"call_{number}"}
    return {**ids, "type": "function_call", "status": "completed", "name": name, "arguments": arguments}


def response(*output: Document, status: str = "completed", **fields: Any) -> Document:
    """Return the response as an object; those that have ended contain their usage."""
    usage = USAGE if status in ("completed", "incomplete") else None
    outcome = {"error": None, "incomplete_details": None, "usage": usage, "instructions": None, "metadata": {}}
    parameters: Document = {
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": 1.0,
        "top_p": 1.0,
    }
    head = {"id": "resp_1", "object": "response", "created_at": 1.0, "model": "model-1", "status": status}
    return {**head, **parameters, **outcome, "output": list(output), **fields}


def begun() -> list[Document]:
    """Return the events before the first item."""
    empty = response(status="in_progress")
    return [{"type": "response.created", "response": empty}, {"type": "response.in_progress", "response": empty}]


def told(*items: Document) -> list[Document]:
    """Return the events of complete items, one after another."""
    return [event for index, item in enumerate(items) for event in item_events(item, index)]


def ended(*items: Document, status: str = "completed", **fields: Any) -> list[Document]:
    return [{"type": f"response.{status}", "response": response(*items, status=status, **fields)}]


def stream(*items: Document, status: str = "completed", **fields: Any) -> list[Document]:
    """Return all events of a response."""
    return [*begun(), *told(*items), *ended(*items, status=status, **fields)]


def item_events(item: Document, index: int) -> list[Document]:
    """Return the events of an item: its start, its parts in pieces and complete, and its end."""
    opened = {**item, "status": "in_progress"} | {name: [] for name in ("content", "summary") if name in item}
    opened |= {"arguments": ""} if item["type"] == "function_call" else {}
    place = {"item_id": item["id"], "output_index": index}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": opened},
        *(event | place for event in _inner_events(item)),
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _inner_events(item: Document) -> Iterator[Document]:
    if item["type"] == "function_call":
        kind = "response.function_call_arguments"
        yield from ({"type": f"{kind}.delta", "delta": piece} for piece in pieces(item["arguments"]))
        yield {"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"]}
    for number, part in enumerate(item.get("summary", ())):
        place = {"summary_index": number}
        yield {"type": "response.reasoning_summary_part.added", "part": {**part, "text": ""}} | place
        yield from (event | place for event in _text_events("response.reasoning_summary_text", "text", part["text"]))
        yield {"type": "response.reasoning_summary_part.done", "part": part} | place
    for number, part in enumerate(item.get("content", ())):
        yield from (event | {"content_index": number} for event in _part_events(part))


def _part_events(part: Document) -> Iterator[Document]:
    field = "refusal" if part["type"] == "refusal" else "text"
    yield {"type": "response.content_part.added", "part": {**part, field: ""}}
    logprobs: Document = {"logprobs": []} if part["type"] == "output_text" else {}
    yield from (event | logprobs for event in _text_events(f"response.{part['type']}", field, part[field]))
    yield {"type": "response.content_part.done", "part": part}


def _text_events(kind: str, field: str, content: str) -> Iterator[Document]:
    yield from ({"type": f"{kind}.delta", "delta": piece} for piece in pieces(content))
    yield {"type": f"{kind}.done", field: content}


def pieces(content: str) -> list[str]:
    """Split a text into pieces of four characters, about a token each."""
    return [content[at : at + 4] for at in range(0, len(content), 4)]


def encode(events: Iterable[Document]) -> bytes:
    """Return the event stream, its events numbered."""
    return b"".join(data({**event, "sequence_number": number}) for number, event in enumerate(events))


def data(event: Document) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


# -- requests


def fault_in(request: Received, key: str) -> str | None:
    """Return the fault of a request by the API's types; None if it has none."""
    if (request.method, request.target) != ("POST", "/v1/responses"):
        return f"{request.method} {request.target}"
    if request.headers.get("authorization") != f"Bearer {key}" or "api-key" in request.headers:
        return "key"
    if request.headers["content-type"] != "application/json" or request.headers["accept-encoding"] != "identity":
        return "headers"
    return fault_in_body(request.json)


def fault_in_body(body: Document) -> str | None:
    unknown = body.keys() - _NAMES
    if unknown:
        return f"unknown: {unknown}"
    items = [_with_id(item) for item in body["input"]]
    try:
        parameters = _PARAMETERS.validate_python(body | {"input": items}, strict=True)
        list(parameters.get("tools", ()))
    except ValidationError as error:
        return str(error)
    return None


def _with_id(item: Document) -> Document:
    """Add an id and a status to an earlier answer, which the types require and the API does not."""
    is_answer = item.get("role") == "assistant" and isinstance(item["content"], list)
    return {"id": "msg_0", "status": "completed", **item} if is_answer else item


class ResponsesServer(Loopback):
    """A server with an answer, events or the bytes of a stream, for each question: the last text of a user.

    A faulty request gets 400, and its fault is added to `faults`.
    """

    def __init__(self, answers: Mapping[str, Sequence[Document] | bytes], *, key: str) -> None:
        super().__init__(self._answer)
        self._answers = answers
        self._key = key
        self.faults: list[str] = []

    async def _answer(self, exchange: Exchange) -> None:
        fault = fault_in(exchange.request, self._key)
        if fault is not None:
            self.faults.append(fault)
            await reply(400, b"{}")(exchange)
            return
        question = [item["content"] for item in exchange.request.json["input"] if item.get("role") == "user"][-1]
        answer = self._answers[question]
        await reply(body=answer if isinstance(answer, bytes) else encode(answer))(exchange)
