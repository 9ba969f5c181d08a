"""The complete answer of a chat in a test, and the errors of all that is not one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: Records of an answer, as docs/reference/protocol.md describes them, from the JSON of any format.
JsonRecord = dict[str, Any]

#: Characters of the text so far in the message of an error.
_SHOWN_CHARS: Final = 200


@dataclass(frozen=True)
class CompleteToolCall:
    """A tool call of an answer. `arguments` is the text of the model, which is JSON unless the tool is a custom one."""

    id: str
    name: str
    arguments: str

    @property
    def input(self) -> Any:
        """Return the arguments, decoded. Raises ValueError if they are no JSON."""
        return json.loads(self.arguments)


@dataclass(repr=False)
class ChatAnswer:
    """An answer of a chat. The clients return only complete ones.

    `pieces` are the texts as they arrived, and `text` is all of them. `tool_results` are the results of tools in
    Python, and `tool_approvals` the calls that wait for the user, each with the `id` of its call. `usage` has the names
    of the client's format. `records` are the records of the answer; of formats other than NDJSON and SSE, those that
    they stand for. `response` is the response of the app's own test client.
    """

    response: Any
    records: list[JsonRecord] = field(default_factory=list)
    id: str | None = None
    model: str | None = None
    pieces: list[str] = field(default_factory=list)
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[CompleteToolCall] = field(default_factory=list)
    tool_results: list[JsonRecord] = field(default_factory=list)
    tool_approvals: list[JsonRecord] = field(default_factory=list)
    annotations: list[JsonRecord] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, int] | None = None

    @property
    def text(self) -> str:
        """Return the text of the answer."""
        return "".join(self.pieces)

    @property
    def status(self) -> int:
        """Return the HTTP status, for example 200."""
        return int(self.response.status_code)

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers of the response, whose names are found in any case."""
        headers: Mapping[str, str] = self.response.headers
        return headers

    def __repr__(self) -> str:
        calls = "".join(f", {call.name}({call.arguments})" for call in self.tool_calls)
        return f"<ChatAnswer {self.text!r}{calls}, {self.finish_reason}>"


class AnswerError(Exception):
    """A refusal, or an answer that failed before its first piece.

    `code` is the code of the error, in the words of the format, or None if the format has no place for it. `message` is
    its sentence, `status` the HTTP status, `answer` the part of the answer that arrived, and `response` the response.
    """

    def __init__(self, message: str, answer: ChatAnswer, code: str | None = None) -> None:
        self.message = message
        self.answer = answer
        self.code = code
        super().__init__(self._describe())

    @property
    def text(self) -> str:
        """Return the text of the answer so far."""
        return self.answer.text

    @property
    def status(self) -> int:
        """Return the HTTP status, for example 429."""
        return self.answer.status

    @property
    def response(self) -> Any:
        """Return the response of the app's own test client."""
        return self.answer.response

    def _describe(self) -> str:
        return f"the chat did not answer: status {self.status}, {self.code or 'no code'}: {self.message}"


class TruncatedAnswerError(AnswerError):
    """An answer that began, and is not complete. `text` is the text so far."""

    def _describe(self) -> str:
        text = self.text if len(self.text) <= _SHOWN_CHARS else f"…{self.text[-_SHOWN_CHARS:]}"
        return f"the answer is truncated ({self.code or 'no code'}) after {text!r}: {self.message}"


def complete_answer(response: Any, records: list[JsonRecord], *, missing: str) -> ChatAnswer:
    """Return the answer of `records`. `missing` describes the end that a complete answer has in its format.

    Raises AnswerError, or TruncatedAnswerError if a piece came before the failure.
    """
    answer = ChatAnswer(response, records)
    calls: list[JsonRecord] = []
    failure: JsonRecord | None = None
    for record in records:
        if record["type"] == "error":
            failure = record
        elif record["type"] == "tool_call":
            _add_call(calls, record)
        else:
            _add(answer, record)
    answer.tool_calls = [CompleteToolCall(call["id"], call["name"], call["arguments"]) for call in calls]
    if failure is None and answer.finish_reason is None:
        failure = {"message": f"the response ended without {missing}"}
    if failure is not None:
        has_begun = any(record["type"] in _PIECES for record in records) or not failure.get("code")
        error = TruncatedAnswerError if has_begun else AnswerError
        raise error(failure["message"], answer, failure.get("code"))
    return answer


_PIECES: Final = frozenset({"delta", "reasoning", "refusal", "tool_call", "annotation", "image", "tool_result", "step"})


def _add_call(calls: list[JsonRecord], record: JsonRecord) -> None:
    """Add a fragment to its call. In a later turn of the model, another call may have the same index."""
    index, id = record.get("index", 0), record.get("id") or ""
    call = next((each for each in reversed(calls) if each["index"] == index), None)
    if call is None or (id and call["id"] not in ("", id)):
        call = {"index": index, "id": "", "name": "", "arguments": ""}
        calls.append(call)
    call["id"] = id or call["id"]
    call["name"] = record.get("name") or call["name"]
    call["arguments"] += record.get("arguments") or ""


def _add(answer: ChatAnswer, record: JsonRecord) -> None:
    match record:
        case {"type": "start"}:
            answer.id, answer.model = record.get("id"), record.get("model")
        case {"type": "delta", "text": text}:
            answer.pieces.append(text)
        case {"type": "reasoning", "text": text}:
            answer.reasoning += text
        case {"type": "refusal", "text": text}:
            answer.refusal += text
        case {"type": "tool_result" | "tool_approval"}:
            kept = answer.tool_results if record["type"] == "tool_result" else answer.tool_approvals
            kept.append(without_type(record))
        case {"type": "annotation"}:
            answer.annotations.append(without_type(record))
        case {"type": "image", "url": url}:
            answer.images.append(url)
        case {"type": "done", "finish_reason": reason}:
            answer.finish_reason, answer.usage = reason, record.get("usage")


def without_type(record: JsonRecord) -> JsonRecord:
    """Return the fields of a record."""
    return {name: value for name, value in record.items() if name != "type"}
