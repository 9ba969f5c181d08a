"""The content of answers: functions that take the request and the parameter of the model, and return an answer.

A test may give the content in place of a model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from itertools import chain, repeat, takewhile
from typing import Any, TypeAlias
from uuid import uuid4

from msgspec import Struct

from .requests import Chat, Function
from .tokens import Answer, Finish, Json, deltas, split, text_answer

AnswerFunction: TypeAlias = Callable[[Chat, float], Answer]

COUNT_LIMIT = 100_000
COUNT_DEFAULT = 20

_TOKENS_PER_MB = 1024
_KILOBYTE_TOKEN = ("All work and no play makes a dull answer. " * 25)[:1024]

_INTRODUCTION = (
    "I am the mock model: I need no key and no network, and I know only a few things. "
    "Try “count to 20”, “a Markdown tour”, “a long answer” or “a few scripts and emoji”."
)
_THOUGHT = (
    "The reader wants to see how reasoning arrives. I shall think aloud for a moment, weigh two ways of putting it, "
    "and then answer in one sentence."
)
_REFUSAL = "I'm sorry, but I can't help with that: this model refuses whatever it is asked."
_NO_TOOLS = "You gave me no tools to call. Send `tools` with one function, and I shall call it."


def _text(name: str) -> str:
    return (files(__package__) / "texts" / name).read_text(encoding="utf-8")


TOUR, LONG, SCRIPTS = _text("tour.md"), _text("long.md"), _text("scripts.md")


def counting(last: int) -> Iterator[str]:
    """Return the tokens `1 2 3 …` up to `last`, one number a token, at most COUNT_LIMIT."""
    return (f" {number}" if number > 1 else "1" for number in range(1, min(last, COUNT_LIMIT) + 1))


# Seven digits exceed the limit, and are few enough for `int` at any length of the text.
_NUMBER = r"0*([0-9]{1,7})"

# A word of at least three letters, also inside of a name such as cancel_order or cancelOrder.
_WORD = re.compile(r"[A-Z]{3,}(?![a-z])|[A-Z][a-z]{2,}|[a-z]{3,}")

# A number that a question gives to a function. `int` and `float` take 15 digits without a loss.
_ARGUMENT = re.compile(r"-?\b[0-9]{1,15}(?:\.[0-9]{1,15})?\b")

_TOPICS: tuple[tuple[str, Callable[[re.Match[str]], Iterator[str]]], ...] = (
    (rf"\bcount\s+(?:up\s+)?to\s+{_NUMBER}", lambda found: counting(int(found[1]))),
    (r"\b(?:markdown|tour|table|code)\b", lambda _: split(TOUR)),
    (r"\blong\b", lambda _: split(LONG)),
    (r"\b(?:emojis?|languages?|scripts?)\b", lambda _: split(SCRIPTS)),
)


def converse(chat: Chat, _: float) -> Answer:
    """Quote results of tools, describe attachments, call the named function, answer the first topic, or echo."""
    question = chat.question
    if quoted := _quoted(chat):
        return quoted
    if attached := chat.question_message.attached:
        return text_answer(split(f"{attached} You said: {question}" if question else attached))
    if function := _named_function(chat):
        return _call(function, _spoken_arguments(function.parameters or {}, question))
    for pattern, tokens in _TOPICS:
        if found := re.search(pattern, question, re.IGNORECASE):
            return text_answer(tokens(found))
    return text_answer(split(f"You said: {question}\n\n{_INTRODUCTION}" if question else f"Hello. {_INTRODUCTION}"))


def echo(chat: Chat, _: float) -> Answer:
    return text_answer(split(chat.question))


def _count_for(chat: Chat, default: int = COUNT_DEFAULT) -> Iterator[str]:
    found = re.search(_NUMBER, chat.question)
    return counting(int(found[1]) if found else default)


def count(chat: Chat, _: float) -> Answer:
    return text_answer(_count_for(chat))


def count_past(chat: Chat, tokens: float) -> Answer:
    """Count to the requested number; without one, count further than `tokens`."""
    return text_answer(_count_for(chat, max(COUNT_DEFAULT, int(tokens) + 1)))


def count_and(finish_reason: str) -> AnswerFunction:
    return lambda chat, _: text_answer(_count_for(chat), finish_reason)


def count_exactly(_: Chat, tokens: float) -> Answer:
    return text_answer(counting(int(tokens)))


def several_scripts(_chat: Chat, _: float) -> Answer:
    return text_answer(split(SCRIPTS))


def split_surrogates(chat: Chat, _: float) -> Answer:
    """Count, then send one emoji as two lone surrogates."""
    return text_answer(chain(_count_for(chat), (" ", "\ud83d", "\ude00")))


def megabytes(_: Chat, size_mb: float) -> Answer:
    return text_answer(repeat(_KILOBYTE_TOKEN, int(size_mb) * _TOKENS_PER_MB))


def reason(chat: Chat, _: float) -> Answer:
    conclusion = f"After some thought: {chat.question or 'you have not asked me anything'}."
    return chain(deltas(split(_THOUGHT), "reasoning_content"), text_answer(split(conclusion)))


def refuse(_chat: Chat, _: float) -> Answer:
    return chain(deltas(split(_REFUSAL), "refusal"), iter([Finish("stop")]))


def call_tool(chat: Chat, _: float) -> Answer:
    """Call the first function, or quote the results if the last messages have some."""
    if quoted := _quoted(chat):
        return quoted
    for function in chat.functions:
        return _call(function, _arguments(function.parameters or {}, chat.question))
    return text_answer(split(_NO_TOOLS))


def _quoted(chat: Chat) -> Answer | None:
    """Quote the results of tools at the end of the conversation, or return None if there are none."""
    last = [*takewhile(lambda message: message.role == "tool", reversed(chat.messages))]
    texts = [f"The tool answered: {result.text}" for result in reversed(last)]
    return text_answer(split("\n\n".join(texts))) if texts else None


def _named_function(chat: Chat) -> Function | None:
    """Return the function whose name shares most words with the question, or None if none shares a word."""
    words = _words(chat.question)
    shared = {function.name: len(words & _words(function.name)) for function in chat.functions}
    best = max(chat.functions, key=lambda function: shared[function.name], default=None)
    return best if best and shared[best.name] and chat.tool_choice != "none" else None


def _words(text: str) -> set[str]:
    """Return the words of three letters or more, without case and plural: `cancelOrders` has `cancel` and `order`."""
    return {word.lower().removesuffix("s") for word in _WORD.findall(text)}


def _call(function: Function, arguments: Json) -> Answer:
    named = {"id": f"call_{uuid4().hex}", "type": "function", "function": {"name": function.name, "arguments": ""}}
    yield _fragment(**named)
    for text in split(json.dumps(arguments, ensure_ascii=False)):
        yield _fragment(function={"arguments": text})
    yield Finish("tool_calls")


def _fragment(**call: Any) -> Json:
    return {"tool_calls": [{"index": 0, **call}]}


def _spoken_arguments(schema: Json, question: str) -> Json:
    """Return the numbers of the question as the numbers of the schema, and a sample for all else that is required."""
    numbers = [float(number) for number in _ARGUMENT.findall(question)]
    required = schema.get("required")
    arguments: Json = {}
    for name, sample in _arguments(schema, question).items():
        if type(sample) in (int, float) and numbers:
            arguments[name] = type(sample)(numbers.pop(0))
        elif isinstance(required, list) and name in required:
            arguments[name] = sample
    return arguments


def _arguments(schema: Json, question: str) -> Json:
    """Return a value of the right type for each property of a JSON schema."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {
        name: _value(property_schema if isinstance(property_schema, dict) else {}, question)
        for name, property_schema in properties.items()
    }


def _value(property_schema: Json, question: str) -> object:
    match property_schema.get("enum"):
        case [first, *_]:
            return first
    samples = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}
    return samples.get(str(property_schema.get("type")), question)


# Answers of a test ----------------------------------------------------------------------------------------------------

_SECRET = frozenset({"authorization", "api-key", "x-api-key", "proxy-authorization", "cookie"})
"""Headers that hold a key. They are not kept, because a failing test prints what it compares."""


class Request(Struct, frozen=True):
    """A request for an answer. Header names are in lower case, and headers with a key are left out."""

    path: str
    headers: dict[str, str]
    body: Json


class Reply(Struct, frozen=True):
    """An answer that a test gives.

    `model` is one of the mock model's own names, for example `fault-drop:2`: its fault applies to the answer. The
    answer is `deltas`, in the form of chunks, or that model's own if they are None. `usage` replaces the own count.
    """

    model: str = "mock-echo"
    deltas: tuple[Json, ...] | None = None
    finish_reason: str = "stop"
    usage: Json | None = None

    def answer(self) -> Answer:
        """Return the deltas and the finish reason."""
        yield from self.deltas or ()
        yield Finish(self.finish_reason)


Choose: TypeAlias = Callable[[Request], Reply | None]
"""Takes a request, and returns its answer, or None for that of the model that it names.

It is called once for each request, in the thread of the server.
"""


def request_of(path: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Request:
    named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    shown = {name: value for name, value in named.items() if name not in _SECRET}
    return Request(path, shown, json.loads(body))
