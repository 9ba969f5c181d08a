"""The formats of an answer, and the ending that clients of each read from a body: complete, an error, or truncated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.protocols.chat_completions.encode import OPENAI_CODES

Document = dict[str, Any]

#: `Format.ending` of a complete answer; that of a failed one is the error's code.
DONE = "done"

_CODES = {kind.message: code for code, kind in KINDS.items()}


_PING_EVENT = b'event: ping\ndata: {"type":"ping"}\n\n'
_PING_CHUNK = b'"delta":{},"finish_reason":null}]}\n\n'
_PING_PART = b'data: {"type":"data-ping","data":{},"transient":true}\n\n'


def read_nothing(_: bytes) -> None:
    """What text/plain tells of its end: nothing."""


def code_of_ours(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


@dataclass(frozen=True)
class Format:
    """One way to ask, and to be answered.

    `ending` reads a body's terminal: DONE, the code of the error, or None where it has none; it raises AssertionError
    for a second one, and for anything after it. `refused` reads the code in the body of a refusal. `ping` is what
    keeps a silent connection alive, where there is room for it.
    """

    name: str
    path: str
    document: Callable[[str, str | None], Document]
    ending: Callable[[bytes], str | None]
    refused: Callable[[bytes], str] = code_of_ours
    refusal_type: str = "application/json"
    accept: str = "*/*"
    method: str = "POST"
    ping: bytes = b""
    is_streamed: bool = True

    @property
    def has_records(self) -> bool:
        return bool(self.ping)

    def request(self, prompt: str, model: str | None, headers: Sequence[str]) -> bytes:
        """The bytes that ask `model`, or the only one there is, in HTTP/1.1."""
        document = self.document(prompt, model)
        target, body = self.path, json.dumps(document).encode()
        if self.method == "GET":
            target, body = f"{self.path}?{urlencode(document)}", b""
        lines = [f"{self.method} {target} HTTP/1.1", "Host: localhost", f"Accept: {self.accept}", *headers]
        if self.method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


# -- requests


def ours(prompt: str, model: str | None) -> Document:
    return {"message": prompt} | ({"model": model} if model else {})


def _messages(prompt: str) -> list[Document]:
    return [{"role": "user", "content": prompt}]


def completion(prompt: str, model: str | None) -> Document:
    return {"model": model or "the-model", "messages": _messages(prompt)}


def streamed_completion(prompt: str, model: str | None) -> Document:
    return completion(prompt, model) | {"stream": True}


def ui(prompt: str, model: str | None) -> Document:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": prompt}]}
    return {"id": "c1", "messages": [message], "trigger": "submit-message"} | ({"model": model} if model else {})


# -- responses


def _only_end(messages: Sequence[Any], ends: Sequence[Any]) -> Any:
    """Return the one of `ends`, which has to be the last message; None if there is none."""
    assert len(ends) < 2, f"more than one end: {ends}"
    assert not ends or messages[-1] is ends[0], f"something follows the end: {messages[-1]}"
    return ends[0] if ends else None


def _ending_in_records(records: Sequence[Document]) -> str | None:
    end = _only_end(records, [record for record in records if record["type"] in ("done", "error")])
    return end and str(end.get("code", DONE))


def records(body: bytes) -> list[Document]:
    """Return the records of NDJSON; the last line counts only if it ended."""
    return [json.loads(line) for line in body.split(b"\n")[:-1]]


def ending_in_ndjson(body: bytes) -> str | None:
    return _ending_in_records(records(body))


def events(body: bytes) -> list[dict[str, str]]:
    """Return the fields of each complete server-sent event, without comments; `data` is one line in all formats."""
    blocks = body.decode().split("\n\n")[:-1]
    fields = [dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":")) for block in blocks]
    return [each for each in fields if each]


def ending_in_sse(body: bytes) -> str | None:
    received = events(body)
    data = [json.loads(event["data"]) for event in received]
    names = [event.get("event") for event in received]
    assert (received[0].get("id"), names[0]) == ("0", "start")
    assert [name == "end" for name in names] == [record["type"] in ("done", "error") for record in data]
    return _ending_in_records(data)


def ending_in_chunks(body: bytes) -> str | None:
    """Accept `[DONE]` as the end and an error object as a failure, as OpenAI's clients do."""
    messages: list[Any] = [data if data == "[DONE]" else json.loads(data) for data in _datas(body)]
    end = _only_end(messages, [message for message in messages if message == "[DONE]" or "error" in message])
    return DONE if end == "[DONE]" else end and code_of_openai_error(end)


def ending_in_parts(body: bytes) -> str | None:
    """Accept `finish` as the end, as the AI SDK's clients do; the reason `error` follows the part with the error."""
    datas = _datas(body)
    parts = [json.loads(data) for data in datas if data != "[DONE]"]
    finish = _only_end(parts, [part for part in parts if part["type"] == "finish"])
    assert [number for number, data in enumerate(datas) if data == "[DONE]"] == ([len(parts)] if finish else [])
    if finish is None:
        return None
    errors = [part["errorText"] for part in parts if part["type"] == "error"]
    assert errors == ([parts[-2].get("errorText")] if finish["finishReason"] == "error" else [])
    return _CODES[errors[0]] if errors else DONE


def _datas(body: bytes) -> list[str]:
    return [event["data"] for event in events(body)]


def ending_in_object(body: bytes) -> str | None:
    return DONE if json.loads(body)["finish_reason"] else None


def ending_in_completion(body: bytes) -> str | None:
    return DONE if json.loads(body)["choices"][0]["finish_reason"] else None


def code_of_openai_error(document: Document) -> str:
    error = document["error"]
    assert error.keys() == {"message", "type", "code", "param"}
    code = _CODES[error["message"]]
    assert error["code"] == OPENAI_CODES.get(code, code)
    return code


def _code_of_openai(body: bytes) -> str:
    return code_of_openai_error(json.loads(body))


def _code_of_sentence(body: bytes) -> str:
    """`useChat` shows a refusal's body as it is: one plain sentence."""
    return _CODES[body.decode()]


TEXT = Format("text", "/api/stream", ours, read_nothing, accept="text/plain")
NDJSON = Format(
    "NDJSON", "/api/stream", ours, ending_in_ndjson, accept="application/x-ndjson", ping=b'{"type":"ping"}\n'
)
SSE = Format("SSE", "/api/stream", ours, ending_in_sse, accept="text/event-stream", ping=_PING_EVENT)
SSE_GET = Format(
    "SSE, GET", "/api/stream", ours, ending_in_sse, accept="text/event-stream", method="GET", ping=_PING_EVENT
)
JSON = Format("JSON", "/api/chat", ours, ending_in_object, is_streamed=False)
CHUNKS = Format(
    "OpenAI, streamed", "/v1/chat/completions", streamed_completion, ending_in_chunks, _code_of_openai, ping=_PING_CHUNK
)
COMPLETION = Format(
    "OpenAI, whole", "/v1/chat/completions", completion, ending_in_completion, _code_of_openai, is_streamed=False
)
UI = Format(
    "UI stream", "/api/ui", ui, ending_in_parts, _code_of_sentence, "text/plain; charset=utf-8", ping=_PING_PART
)

FORMATS = (TEXT, NDJSON, SSE, SSE_GET, JSON, CHUNKS, COMPLETION, UI)
STREAMED = tuple(format for format in FORMATS if format.is_streamed)
