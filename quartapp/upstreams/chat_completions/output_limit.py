"""The token limit of an answer, enforced also if its server ignores it.

Only the server can count tokens, and most servers send the count last. The count here is a lower bound, so an answer of
a server that obeys the limit is never truncated. An answer has at least as many tokens as

- it has words, because no common vocabulary has tokens of several words;
- it has pieces of 16 bytes: a server sends one token or more in a piece, and a gateway that sends single characters
  sends short pieces;
- it has pieces of 128 bytes in total, because the longest tokens of the common vocabularies have 128 bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from quartapp.core.events import Batch, Batches, Delta, Piece, Raw, Reasoning, Refusal, ToolCall
from quartapp.core.request import JsonObject
from quartapp.protocols.chat_completions.chunk import ChunkCall
from quartapp.upstreams.common.lenient_json import parse, to_text

_COUNTED: Final = (Delta, Reasoning, Refusal, ToolCall)  # the tokens of other pieces cannot be counted
_BYTES_OF_PIECE = 16
_BYTES_OF_TOKEN = 128
# Texts that are counted together, because one count costs the same for one text and for many.
_MAX_WAITING = 256


async def limited(batches: Batches, limit: int, choices: int = 1) -> Batches:
    """Yield the batches of an answer, with at most `limit` counted tokens in each choice.

    A longer choice is truncated, with the finish_reason `length`. `batches` is closed once all choices have ended and
    one was truncated, and with the generator.
    """
    output = _Output(limit, choices)
    async with aclosing(batches):
        async for batch in batches:
            output.hold(batch)
            yield batch
            if output.is_over:
                return


class _TokenCount(NamedTuple):
    """The counts of one choice."""

    words: int = 0
    pieces: int = 0
    bytes: int = 0
    ends_in_word: bool = False

    @property
    def tokens(self) -> int:
        """Return the lowest possible number of tokens."""
        return max(self.words, min(self.pieces, self.bytes // _BYTES_OF_PIECE), self.bytes // _BYTES_OF_TOKEN)

    def after(self, text: str, pieces: int = 1) -> _TokenCount:
        """Return the count after `text`, which came in `pieces` pieces."""
        if not text:
            return self
        words = len(text.split())
        if self.ends_in_word and not text[0].isspace():
            words -= 1
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return _TokenCount(self.words + words, self.pieces + pieces, self.bytes + size, not text[-1].isspace())


class _ChoiceCounter:
    """A counter of the tokens of one choice.

    A word takes two characters, so n characters have at most n // 2 + 1 counted tokens. Texts wait to be counted
    together while twice their tokens is at most `spare`.
    """

    __slots__ = ("_count", "_limit", "_spare", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spare = 2 * limit
        self._count = _TokenCount()
        self._waiting: list[str] = []

    def add(self, text: str) -> int | None:
        """Count `text`. If it exceeds the limit, return the number of its characters within the limit."""
        if self._wait([text], len(text) + 2):
            return None
        before, self._count = self._count, self._count.after(text)
        self._spare = 2 * (self._limit - self._count.tokens)
        if self._spare >= 0:
            return None
        sizes = range(len(text) + 1)
        return bisect_right(sizes, self._limit, key=lambda size: before.after(text[:size]).tokens) - 1

    def take(self, pieces: Sequence[Any]) -> bool:
        """Count the texts of `pieces`. Return False and count none if they may exceed the limit or are not texts."""
        waiting, spare = self._waiting, self._spare
        before = len(waiting)
        for piece in pieces:
            kind = type(piece)
            if kind is Raw or kind is Delta or kind is Reasoning:
                text = piece.text
            else:
                text = piece.arguments if kind is ToolCall else getattr(piece, "text", None)
            if text is None:
                del waiting[before:]
                return False
            spare -= len(text) + 2
            waiting.append(text)
        if spare >= 0 and before < _MAX_WAITING:
            self._spare = spare
            return True
        texts, waiting[before:] = waiting[before:], []
        return self._wait(texts, self._spare - spare)

    def _wait(self, texts: list[str], need: int) -> bool:
        """Add `texts` to the waiting ones. Return False and add none if they may exceed the limit."""
        if self._spare < need or len(self._waiting) >= _MAX_WAITING:
            self._count = self._count.after("".join(self._waiting), len(self._waiting) - self._waiting.count(""))
            self._waiting.clear()
            self._spare = 2 * (self._limit - self._count.tokens)
        if self._spare < need:
            return False
        self._spare -= need
        self._waiting += texts
        return True


class _Output:
    """A counter of an answer's choices that truncates those with more than `limit` tokens.

    It `is_over` once one choice was truncated and all others have ended.
    """

    def __init__(self, limit: int, choices: int) -> None:
        self._limit = limit
        self._choices = {index: _ChoiceCounter(limit) for index in range(choices)}
        self._first = self._choices[0]
        self._unfinished = set(range(choices))
        self._truncated: set[int] = set()
        self.is_over = False

    def hold(self, batch: Batch) -> None:
        """Remove the text over the limit from `batch`, and end the answer with it if it `is_over`."""
        if not batch.pieces or (not self._truncated and self._first.take(batch.pieces)):
            return
        batch.pieces = [held for piece in batch.pieces if (held := self._held(piece)) is not None]
        if self.is_over:
            batch.finish_reason, batch.ended = "length", True

    def _held(self, piece: Piece) -> Piece | None:
        if self.is_over:
            return None
        if isinstance(piece, Raw):
            return self._held_chunk(piece)
        if not isinstance(piece, _COUNTED):
            return piece
        room = self._choices[0].add((piece.arguments or "") if isinstance(piece, ToolCall) else piece.text)
        if room is None:
            return piece
        self.is_over = True  # a piece other than a Raw belongs to the only choice
        return _cut_piece(piece, room)

    def _held_chunk(self, chunk: Raw) -> Raw | None:
        choices = [(choice.index, choice.delta.all_text, choice.finish_reason) for choice in chunk.choices]
        choices = choices if chunk.text is None else [(0, chunk.text, None)]
        rooms: dict[int, int] = {}
        gone = self._truncated & {index for index, _, _ in choices}
        for index, text, finish_reason in choices:
            if index in gone:
                continue
            counter = self._choices.get(index) or self._choices.setdefault(index, _ChoiceCounter(self._limit))
            room = counter.add(text)
            if room is not None:
                rooms[index] = room
                self._truncated.add(index)
            if finish_reason or room is not None:
                self._unfinished.discard(index)
                self.is_over = bool(self._truncated) and not self._unfinished
        return _cut_chunk(chunk, gone, rooms) if gone or rooms else chunk


def _cut_piece(piece: Delta | Reasoning | Refusal | ToolCall, room: int) -> Piece | None:
    if not room:
        return None
    if isinstance(piece, ToolCall):
        return replace(piece, arguments=(piece.arguments or "")[:room])
    return replace(piece, text=piece.text[:room])


def _cut_chunk(chunk: Raw, gone: Container[int], rooms: Mapping[int, int]) -> Raw | None:
    """Return `chunk` without the choices in `gone`, and with so many characters of those in `rooms`."""
    document: JsonObject = parse(chunk.payload)
    choices = [each for each in document["choices"] if each.get("index", 0) not in gone]
    if not choices and not document.get("usage"):
        return None
    document["choices"] = [
        _cut_choice(each, rooms[each.get("index", 0)]) if each.get("index", 0) in rooms else each for each in choices
    ]
    return Raw(to_text(document).encode())


def _cut_choice(choice: JsonObject, room: int) -> JsonObject:
    delta = _cut_delta(choice.get("delta") or {}, room)
    probabilities = {"logprobs": None} if "logprobs" in choice else {}  # they would include dropped tokens
    return {**choice, "delta": delta, **probabilities, "finish_reason": "length"}


def _cut_delta(delta: JsonObject, room: int) -> JsonObject:
    cut = {name: delta[name] for name in delta if name not in ("tool_calls", "function_call", "reasoning_details")}
    for names in (("reasoning_content", "reasoning"), ("content",), ("refusal",)):
        texts = {name: delta[name] for name in names if isinstance(delta.get(name), str)}
        cut |= {name: text[:room] for name, text in texts.items()}
        room -= min(room, max(map(len, texts.values()), default=0))
    cut |= _cut_call({"function_call": delta["function_call"]}, room) if room and delta.get("function_call") else {}
    calls = []
    for call in delta.get("tool_calls") or ():
        if room:
            calls.append(_cut_call(call, room))
            room -= min(room, len(msgspec.convert(call, ChunkCall).arguments))
    return cut | ({"tool_calls": calls} if calls else {})


def _cut_call(call: JsonObject, room: int) -> JsonObject:
    for kind, field in (("function", "arguments"), ("custom", "input"), ("function_call", "arguments")):
        if isinstance(call.get(kind), dict) and isinstance(call[kind].get(field), str):
            call = {**call, kind: {**call[kind], field: call[kind][field][:room]}}
    return call
