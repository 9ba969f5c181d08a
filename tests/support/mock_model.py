"""Requests to the mock model without a server: its scripts, and its application, one message at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quartapp.mock import ASGIApp, create_mock
from quartapp.mock.player import Event, Head, Message, Step
from quartapp.mock.server import respond

CHAT_PATH = "/v1/chat/completions"


class Exchange:
    """One request to the application, whose messages are read one at a time."""

    def __init__(self, app: ASGIApp, method: str, path: str, *body: bytes) -> None:
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        # Without a bound, putting never waits, so a slow client does not pause the application.
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        for place, piece in enumerate(body, start=1):
            self._inbox.put_nowait({"type": "http.request", "body": piece, "more_body": place < len(body)})
        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
        self.task = asyncio.ensure_future(app(scope, self._inbox.get, self.sent.put))

    def disconnect(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def read_until(self, text: bytes) -> bytes:
        """Return the body up to the write that completes `text`, without the head."""
        body = b""
        while text not in body:
            body += (await self.sent.get()).get("body", b"")
        return body


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    writes: list[bytes]
    is_complete: bool
    """False for an aborted connection."""

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return parse(self.body)

    @property
    def text(self) -> str:
        return text_of(self.events)


async def request(method: str, path: str, *body: bytes) -> Reply:
    exchange = Exchange(create_mock(tokens_per_s=0), method, path, *body)
    await asyncio.wait([exchange.task])
    start, *rest = [exchange.sent.get_nowait() for _ in range(exchange.sent.qsize())]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    writes = [message["body"] for message in rest if message["body"]]
    is_complete = not exchange.task.cancelled() and not rest[-1]["more_body"]
    return Reply(start["status"], headers, writes, is_complete)


def chat_body(model: str, content: object = "count to 5", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}], **fields}).encode()


async def ask(model: str, content: object = "count to 5", **fields: Any) -> Reply:
    """Return a streamed answer, unless `fields` contains `stream`."""
    return await request("POST", CHAT_PATH, chat_body(model, content, **{"stream": True} | fields))


async def ask_with_usage(model: str, content: str = "count to 5") -> Reply:
    return await ask(model, content, stream_options={"include_usage": True})


def parse(body: bytes) -> list[Any]:
    """Return the events of a body in the usual form; `[DONE]` stays a string."""
    *events, rest = body.split(b"\n\n")
    assert rest == b""
    data = [event.removeprefix(b"data: ") for event in events]
    return ["[DONE]" if each == b"[DONE]" else json.loads(each) for each in data]


def text_of(events: list[Any], field: str = "content", index: int = 0) -> str:
    choices = [choice for event in events if event != "[DONE]" for choice in event["choices"]]
    return "".join(choice["delta"].get(field) or "" for choice in choices if choice["index"] == index)


def finish_reasons(events: list[Any]) -> list[str]:
    choices = [choice for event in events if event != "[DONE]" for choice in event.get("choices", ())]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def steps(model: str, content: str = "count to 5", **fields: Any) -> Iterator[Step]:
    return respond("POST", CHAT_PATH, chat_body(model, content, **{"stream": True} | fields))


def kinds(script: Iterator[Step]) -> list[object]:
    """Return the steps of a script, each event as its kind and any other step unchanged."""
    return ["head" if isinstance(step, Head) else step.kind if isinstance(step, Event) else step for step in script]


#: Models that fail after two tokens, each with the code of its error.
FAILS_AFTER_TOKENS = [
    ("fault-error-object:2", "upstream_error"),
    ("fault-drop:2", "upstream_error"),
    ("fault-garbage:2", "upstream_error"),
    ("fault-no-finish:2", "upstream_truncated"),
    ("fault-no-finish-done:2", "upstream_truncated"),
]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["celsius", "kelvin"]},
            },
        },
    },
}
