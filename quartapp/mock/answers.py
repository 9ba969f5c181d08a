"""What is said: each function here takes the request and the model's parameter, and returns an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import chain, repeat
from typing import Any, TypeAlias
from uuid import uuid4

from .requests import Chat, Function
from .tokens import Answer, Finish, Json, deltas, say, split

Says: TypeAlias = Callable[[Chat, float], Answer]

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


def _said(name: str) -> str:
    return (files(__package__) / "said" / name).read_text(encoding="utf-8")


TOUR, LONG, SCRIPTS = _said("tour.md"), _said("long.md"), _said("scripts.md")


def counting(last: int) -> Iterator[str]:
    """`1 2 3 …` up to the limit, one number a token."""
    return (f" {number}" if number > 1 else "1" for number in range(1, min(last, COUNT_LIMIT) + 1))


def echo_politely(question: str) -> Iterator[str]:
    return split(f"You said: {question}\n\n{_INTRODUCTION}" if question else f"Hello. {_INTRODUCTION}")


# Seven digits are more than the limit has, and few enough to be read as a number at any length of the text.
_NUMBER = r"0*([0-9]{1,7})"

_TOPICS: tuple[tuple[str, Callable[[re.Match[str]], Iterator[str]]], ...] = (
    (rf"\bcount\s+(?:up\s+)?to\s+{_NUMBER}", lambda found: counting(int(found[1]))),
    (r"\b(?:markdown|tour|table|code)\b", lambda _: split(TOUR)),
    (r"\blong\b", lambda _: split(LONG)),
    (r"\b(?:emojis?|languages?|scripts?)\b", lambda _: split(SCRIPTS)),
)


def converse(chat: Chat, _: float) -> Answer:
    """What is attached; else whatever the first topic found in the question has to say, else a polite echo."""
    if attached := chat.attached:
        return say(split(f"{attached} You said: {chat.question}" if chat.question else attached))
    for pattern, tokens in _TOPICS:
        if found := re.search(pattern, chat.question, re.IGNORECASE):
            return say(tokens(found))
    return say(echo_politely(chat.question))


def echo(chat: Chat, _: float) -> Answer:
    return say(split(chat.question))


def _asked_count(chat: Chat, default: int) -> int:
    found = re.search(_NUMBER, chat.question)
    return int(found[1]) if found else default


def count(chat: Chat, _: float) -> Answer:
    return say(counting(_asked_count(chat, COUNT_DEFAULT)))


def count_past(chat: Chat, tokens: float) -> Answer:
    """As `count`, but without being asked for a number it goes further than so many tokens."""
    return say(counting(_asked_count(chat, max(COUNT_DEFAULT, int(tokens) + 1))))


def count_and(finish_reason: str) -> Says:
    return lambda chat, _: say(counting(_asked_count(chat, COUNT_DEFAULT)), finish_reason)


def count_exactly(_: Chat, tokens: float) -> Answer:
    return say(counting(int(tokens)))


def several_scripts(_chat: Chat, _: float) -> Answer:
    return say(split(SCRIPTS))


def split_surrogates(chat: Chat, _: float) -> Answer:
    """The count, then one emoji as two halves."""
    numbers = counting(_asked_count(chat, COUNT_DEFAULT))
    return say(chain(numbers, (" ", "\ud83d", "\ude00")))


def megabytes(_: Chat, size_mb: float) -> Answer:
    return say(repeat(_KILOBYTE_TOKEN, int(size_mb) * _TOKENS_PER_MB))


def reason(chat: Chat, _: float) -> Answer:
    conclusion = f"After some thought: {chat.question or 'you have not asked me anything'}."
    return chain(deltas(split(_THOUGHT), "reasoning_content"), say(split(conclusion)))


def refuse(_chat: Chat, _: float) -> Answer:
    return chain(deltas(split(_REFUSAL), "refusal"), iter([Finish("stop")]))


def call_tool(chat: Chat, _: float) -> Answer:
    """A call of the first function; its result, once there, is quoted."""
    last = chat.messages[-1]
    if last.role == "tool":
        return say(split(f"The tool answered: {last.text}"))
    return _call(chat.functions[0], chat.question) if chat.functions else say(split(_NO_TOOLS))


def _call(function: Function, question: str) -> Answer:
    arguments = json.dumps(_arguments(function.parameters or {}, question), ensure_ascii=False)
    named = {"id": f"call_{uuid4().hex}", "type": "function", "function": {"name": function.name, "arguments": ""}}
    yield _fragment(**named)
    for text in split(arguments):
        yield _fragment(function={"arguments": text})
    yield Finish("tool_calls")


def _fragment(**call: Any) -> Json:
    return {"tool_calls": [{"index": 0, **call}]}


def _arguments(schema: Json, question: str) -> Json:
    """A value of the right type for each property of a JSON schema."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _value(wanted if isinstance(wanted, dict) else {}, question) for name, wanted in properties.items()}


def _value(wanted: Json, question: str) -> object:
    match wanted.get("enum"):
        case [first, *_]:
            return first
    samples = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}
    return samples.get(str(wanted.get("type")), question)
