"""A reader of the AI SDK's UI message stream, version 1, as strict as the strictest of its versions 5 to 7."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.parsers import Json, WireError, expect, plain_data, read_object

Fields = dict[str, type]

_ID: Final[Fields] = {"id": str}
_CALL: Final[Fields] = {"toolCallId": str, "toolName": str}

#: The parts that all three versions know: the fields each must have, then those it may have.
PARTS: Final[dict[str, tuple[Fields, Fields]]] = {
    "start": ({}, {"messageId": str, "messageMetadata": dict}),
    "start-step": ({}, {}),
    "finish-step": ({}, {}),
    "text-start": (_ID, {}),
    "text-delta": ({**_ID, "delta": str}, {}),
    "text-end": (_ID, {"providerMetadata": dict}),
    "reasoning-start": (_ID, {}),
    "reasoning-delta": ({**_ID, "delta": str}, {}),
    "reasoning-end": (_ID, {"providerMetadata": dict}),
    "tool-input-start": (_CALL, {}),
    "tool-input-delta": ({"toolCallId": str, "inputTextDelta": str}, {}),
    "tool-input-available": ({**_CALL, "input": object}, {"providerMetadata": dict}),
    "tool-input-error": ({**_CALL, "input": object, "errorText": str}, {"providerMetadata": dict}),
    "source-url": ({"sourceId": str, "url": str}, {"title": str}),
    "file": ({"mediaType": str, "url": str}, {}),
    "data-ping": ({"data": dict, "transient": bool}, {}),
    "error": ({"errorText": str}, {}),
    "finish": ({}, {"finishReason": str, "messageMetadata": dict}),
}

FINISH_REASONS: Final = frozenset({"stop", "length", "content-filter", "tool-calls", "error", "other"})


@dataclass
class UiMessage:
    """The message that `useChat` has put together; `parts` stand in the order in which they began."""

    id: str | None = None
    metadata: Json = field(default_factory=dict)
    parts: list[Json] = field(default_factory=list)
    finish_reason: str | None = None
    error: str | None = None
    pings: int = 0


class UiMessageReader:
    """Puts the parts of one answer together; raises WireError for what any version refuses or misreads."""

    def __init__(self) -> None:
        self.message = UiMessage()
        self._in_step = False
        self._open: Json | None = None
        self._calls: dict[str, Json] = {}

    def read(self, part: Json) -> None:
        refuse_prototypes(part)
        _check_fields(part)
        began = self.message.id is not None
        expect(began is not (part["type"] == "start"), "start comes first, and once")
        expect(self.message.finish_reason is None, "finish comes last")
        kind, _, step = part["type"].rpartition("-")
        if kind in ("text", "reasoning", "tool-input"):
            expect(self._in_step, "what is said belongs to a step")
            self._said(kind, step, part)
        else:
            self._framed(part)

    def _framed(self, part: Json) -> None:
        match part["type"]:
            case "start":
                self.message.id, self.message.metadata = part["messageId"], part["messageMetadata"]
            case "data-ping":
                self.message.pings += 1
            case "source-url" | "file":
                expect(self._in_step, "what is said belongs to a step")
                self.message.parts.append(part)
            case "start-step":
                expect(not self._in_step, "steps follow each other")
                self._in_step = True
            case "finish-step":
                expect(self._in_step and self._open is None, "parts are closed before their step")
                self._in_step = False
            case "error":
                expect(self.message.error is None, "one error a stream")
                self.message.error = part["errorText"]
            case "finish":
                self._finish(part)

    def _finish(self, part: Json) -> None:
        failed = part["finishReason"] == "error"
        expect(not self._in_step, "the step is closed before the end")
        expect(part["finishReason"] in FINISH_REASONS, "a reason that every version knows")
        expect(failed == (self.message.error is not None), "error and finish(error) go together")
        states = {call["state"] for call in self._calls.values()}
        expect(failed or "input-streaming" not in states, "a whole answer has whole tool calls")
        self.message.finish_reason = part["finishReason"]
        self.message.metadata |= part.get("messageMetadata", {})

    def _said(self, kind: str, step: str, part: Json) -> None:
        if step == "start" or kind == "tool-input":
            expect(self._open is None, "a part is closed before the next")
        if kind == "tool-input":
            self._tool(step, part)
        elif step == "start":
            self._start_text(kind, part["id"])
        else:
            self._text(kind, step, part)

    def _start_text(self, kind: str, id: str) -> None:
        expect(id not in [known.get("id") for known in self.message.parts], "an id stands for one part")
        self._open = {"type": kind, "id": id, "text": "", "state": "streaming"}
        self.message.parts.append(self._open)

    def _text(self, kind: str, step: str, part: Json) -> None:
        open_part = self._open or {}
        expect((open_part.get("type"), open_part.get("id")) == (kind, part["id"]), f"{kind}-{step} after its start")
        if step == "end":
            open_part["state"] = "done"
            open_part |= {name: part[name] for name in ("providerMetadata",) if name in part}
            self._open = None
        else:
            open_part["text"] += part["delta"]

    def _tool(self, step: str, part: Json) -> None:
        id = part["toolCallId"]
        if step == "start":
            expect(id not in self._calls, "an id stands for one call")
            call = {"type": "tool-" + part["toolName"], "toolCallId": id, "state": "input-streaming", "raw": ""}
            self._calls[id] = call
            self.message.parts.append(call)
            return
        expect(self._calls.get(id, {}).get("state") == "input-streaming", f"tool-input-{step} after its start")
        if step == "delta":
            self._calls[id]["raw"] += part["inputTextDelta"]
        else:
            _end_call(self._calls[id], step, part)


def _end_call(call: Json, step: str, part: Json) -> None:
    expect(call["type"] == "tool-" + part["toolName"], "a call keeps its name")
    call["state"] = "input-available" if step == "available" else "output-error"
    call["input"] = part["input"]
    if "providerMetadata" in part:
        call["callProviderMetadata"] = part["providerMetadata"]


def refuse_prototypes(value: Any) -> None:
    """As `secure-json-parse` does, with which all versions read: an object names neither of the ways to a prototype."""
    if isinstance(value, dict):
        constructor = value.get("constructor")
        if "__proto__" in value or (isinstance(constructor, dict) and "prototype" in constructor):
            raise WireError("forbidden prototype property")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        refuse_prototypes(each)


def _check_fields(part: Json) -> None:
    type = part["type"]
    expect(type in PARTS, f"unknown part {type}")
    required, optional = PARTS[type]
    names = part.keys() - {"type"}
    expect(required.keys() <= names <= required.keys() | optional.keys(), f"the fields of {type}")
    for name in names:
        expect(isinstance(part[name], (required | optional)[name]), f"{name} of {type}")


def read_ui_message(data: bytes) -> UiMessage:
    """A whole stream, which ends in `finish` and `[DONE]`: one that merely ends passes for a whole answer."""
    *messages, last = plain_data(data) or [""]
    expect(last == "[DONE]", "the stream ends in [DONE]")
    reader = UiMessageReader()
    for message in messages:
        reader.read(read_object(message))
    expect(reader.message.finish_reason is not None, "the stream has a finish")
    return reader.message
