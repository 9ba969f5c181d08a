"""OpenAI's Responses API: its requests, and the script of an answer as its events or as one response."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Literal
from uuid import uuid4

import msgspec
from msgspec import Struct

from .chunks import STREAM_HEADERS, Tally, json_reply
from .player import Event, Head, Kind, Mark, Script
from .requests import Chat, Function, Message, Part, RefusedError, Tool, read_body
from .tokens import Answer, Finish, Json

_TEXTS = {"content": "output_text", "refusal": "refusal", "reasoning_content": "reasoning_text"}
"""The types of parts by the field of a delta."""


class _Item(Struct):
    """An item of the conversation: a message, a call, or the output of a call."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] = "user"
    content: str | list[Part] | None = None
    output: Any = None


class _Tool(Struct):
    type: str
    name: str = ""
    parameters: Json | None = None


class _Body(Struct):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | Json | None = None


_decoder = msgspec.json.Decoder(_Body)


def chat_of(body: bytes) -> Chat:
    """Parse the body, and return it as a request for a chat completion. Raises RefusedError with status 400."""
    request = read_body(_decoder, body)
    items = [_Item(content=request.input)] if isinstance(request.input, str) else request.input
    messages = [Message("system", request.instructions)] if request.instructions else []
    messages += [_message(item) for item in items if item.type in ("message", "function_call_output")]
    if not messages:
        raise RefusedError(400, "The input has no message.", param="input")
    tools = [Tool(tool.type, Function(tool.name, tool.parameters)) for tool in request.tools or () if tool.name]
    return Chat(
        request.model,
        messages,
        stream=request.stream,
        max_tokens=request.max_output_tokens,
        tools=tools,
        tool_choice=request.tool_choice,
    )


def _message(item: _Item) -> Message:
    if item.type == "function_call_output":
        return Message("tool", str(item.output))
    return Message(item.role, item.content)


def responded(chat: Chat, answers: Sequence[Answer], usage: Json | None = None) -> Script:
    """Return the script that sends the first answer, as events or as one JSON object.

    `usage` has the names of chat completions, and replaces the count of tokens.
    """
    response: Json = {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": chat.model,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }
    return (_streamed if chat.stream else _complete)(response, answers[0], Tally(chat.prompt_tokens, usage))


def _streamed(response: Json, answer: Answer, tally: Tally) -> Script:
    yield Head(200, STREAM_HEADERS)
    numbers = count()
    for step in _events(response, answer, tally):
        yield step.but(sequence_number=next(numbers)) if isinstance(step, Event) else step


def _events(response: Json, answer: Answer, tally: Tally) -> Script:
    yield Event("role", {"type": "response.created", "response": response})
    items = _Items()
    for part in answer:
        yield Mark.BEAT
        if isinstance(part, Finish):
            yield from items.close()
            ended = _ended(response, items.done, part.reason, tally)
            yield Event("finish", {"type": f"response.{ended['status']}", "response": ended})
            return
        tally.add(part)
        yield from items.add(part)


def _complete(response: Json, answer: Answer, tally: Tally) -> Script:
    """Yield the pauses of the stream, then one JSON object."""
    last: Json = response
    for step in _streamed(response, answer, tally):
        if step is Mark.BEAT:
            yield step
        elif isinstance(step, Event) and step.kind == "finish":
            last = step.body["response"]
    yield from json_reply(200, last)


def _ended(response: Json, output: list[Json], reason: str, tally: Tally) -> Json:
    usage = tally.usage()
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
    return response | {
        "status": "incomplete" if incomplete else "completed",
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "output": output,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": usage["total_tokens"],
        },
    }


class _Items:
    """The items of the output. One is open at a time."""

    def __init__(self) -> None:
        self.done: list[Json] = []
        self._key: object = None
        self._item: Json = {}

    def add(self, delta: Json) -> Iterator[Event]:
        """Yield the events of a delta of chat completions."""
        for field, kind in _TEXTS.items():
            if delta.get(field):
                yield from self._text(kind, delta[field])
        for call in delta.get("tool_calls", ()):
            yield from self._call(call)
        for image in delta.get("images", ()):
            yield from self._open(None, {"type": "image_generation_call", "result": image["image_url"]["url"]})
            self._item["result"] = self._item["result"].rpartition(",")[2]  # the base64 of a data URL
        for annotation in delta.get("annotations", ()):
            if "content" not in self._item:
                yield from self._text("output_text", "")
            fields = {"type": annotation["type"], **annotation[annotation["type"]]}
            self._item["content"][0]["annotations"].append(fields)
            number = len(self._item["content"][0]["annotations"]) - 1
            yield self._part_event(
                "other", "output_text", "annotation.added", annotation=fields, annotation_index=number
            )

    def close(self) -> Iterator[Event]:
        """Yield the end of the open item."""
        item = self._item
        if not item:
            return
        if "content" in item:
            part = item["content"][0]
            field = "refusal" if part["type"] == "refusal" else "text"
            yield self._part_event("other", part["type"], "done", **{field: part[field]})
            yield self._event("other", "response.content_part.done", content_index=0, part=part)
        elif "name" in item:
            kind, field = _arguments_of(item)
            yield self._event("other", f"response.{kind}.done", name=item["name"], **{field: item[field]})
        item["status"] = "completed"
        yield self._event("other", "response.output_item.done", item=item)
        self.done.append(item)
        self._key, self._item = None, {}

    def _text(self, kind: str, text: str) -> Iterator[Event]:
        field = "refusal" if kind == "refusal" else "text"
        if self._key != kind:
            part: Json = {"type": kind, field: ""} | ({"annotations": []} if kind == "output_text" else {})
            if kind == "reasoning_text":
                yield from self._open(kind, {"type": "reasoning", "summary": [], "content": [part]})
            else:
                yield from self._open(kind, {"type": "message", "role": "assistant", "content": [part]})
            yield self._event("other", "response.content_part.added", content_index=0, part=dict(part))
        self._item["content"][0][field] += text
        yield self._part_event("token", kind, "delta", delta=text)

    def _call(self, call: Json) -> Iterator[Event]:
        if self._key != call["index"]:
            is_custom = call["type"] == "custom"
            kind, field = ("custom_tool_call", "input") if is_custom else ("function_call", "arguments")
            name = call[call["type"]]["name"]
            yield from self._open(call["index"], {"type": kind, "call_id": call["id"], "name": name, field: ""})
        kind, field = _arguments_of(self._item)
        text = (call.get("function") or call.get("custom") or {}).get(field)
        if text:
            self._item[field] += text
            yield self._event("token", f"response.{kind}.delta", delta=text)

    def _open(self, key: object, item: Json) -> Iterator[Event]:
        yield from self.close()
        self._key, self._item = key, {"id": f"item_{uuid4().hex}", "status": "in_progress", **item}
        begun = {name: [] if name == "content" else value for name, value in self._item.items()}
        yield self._event("other", "response.output_item.added", item=begun)

    def _part_event(self, kind: Kind, part: str, event: str, **fields: Any) -> Event:
        logprobs: Json = {"logprobs": []} if part == "output_text" else {}
        return self._event(kind, f"response.{part}.{event}", content_index=0, **fields, **logprobs)

    def _event(self, kind: Kind, type: str, **fields: Any) -> Event:
        return Event(kind, {"type": type, "output_index": len(self.done), "item_id": self._item["id"], **fields})


def _arguments_of(item: Json) -> tuple[str, str]:
    """Return the name of the events with the arguments of a call, and the field of the arguments."""
    if item["type"] == "custom_tool_call":
        return "custom_tool_call_input", "input"
    return "function_call_arguments", "arguments"
