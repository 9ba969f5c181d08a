"""Upstream bytes to chunks that are passed on as they came: read as any other, and their bytes kept."""

from __future__ import annotations

import re

import msgspec

from quartapp.errors import ChatError
from quartapp.events import Batch, Piece, Raw, ToolCall
from quartapp.readers import loose
from quartapp.readers.chunks import ChunkReader, fragments_of
from quartapp.readers.strict import REFUSALS, Choice, decode, is_sound


class RawChunkReader(ChunkReader):
    """Keeps each chunk's own bytes: checked as any other chunk is, and with the model's name replaced by `model`.

    A chunk that OpenAI's clients could not take is told anew; with `mends_calls` so is one with tool calls, for a
    reader that puts them together by their numbers. The answer is whole when `choices` choices have their
    finish_reason. What comes before the first event, a role say, is held until then. Usage that only we asked for is
    left out unless `include_usage`.
    """

    def __init__(
        self, max_line_bytes: int, *, model: str, choices: int, include_usage: bool, mends_calls: bool = False
    ) -> None:
        super().__init__(max_line_bytes, choices=choices)
        self._model = model
        self._ours = b'"model":' + msgspec.json.encode(model)
        self._theirs = self._ours
        self._unfinished = set(range(choices))
        self._include_usage = include_usage
        self._mends_calls = mends_calls
        self._held: list[Piece] = []
        self._room = max_line_bytes
        self._has_begun = False

    def _read(self, payload: bytes, batch: Batch, text: list[str]) -> None:
        if not payload.isascii():
            _check_utf8(payload)  # the decoder looks at the fields alone that it knows
        odd = None
        try:
            chunk = decode(payload)
        except REFUSALS:
            odd = self._read_odd(payload, batch)
            if odd is None:
                return
            chunk = odd.chunk
        calls: dict[int, list[ToolCall]] | None = None
        for place, choice in enumerate(chunk.choices):
            self._has_begun = self._has_begun or choice.is_event
            if choice.delta.tool_calls:
                calls = (calls or {}) | {place: self._add_calls(choice)}
            if choice.finish_reason:
                self._finish(choice, batch)
        if chunk.usage:
            self._count(chunk.usage, batch)
        if chunk.choices or not chunk.usage or self._include_usage:
            is_plain = odd is None and not (calls and self._mends_calls)
            told = payload if is_plain else self._mended(payload, odd, calls or {})
            self._hold(Raw(self._told(told.strip(), has_null=chunk.usage is None)), batch)

    def _add_calls(self, choice: Choice) -> list[ToolCall]:
        calls = self._calls.get(choice.index)
        return [*calls.add(fragments_of(choice.delta.tool_calls or []))] if calls is not None else []

    def _finish(self, choice: Choice, batch: Batch) -> None:
        reason = self._finish_reason(choice)
        self._unfinished.discard(choice.index)
        if not self._unfinished:
            batch.finish_reason = reason

    def _hold(self, piece: Raw, batch: Batch) -> None:
        if self._has_begun and not self._held:
            batch.pieces.append(piece)
            return
        self._held.append(piece)
        if self._has_begun:
            batch.pieces += self._held
            self._held.clear()
        self._room -= len(piece.payload)
        if self._room < 0:
            raise ChatError("upstream_error")

    def _told(self, payload: bytes, *, has_null: bool) -> bytes:
        """The payload under our name of the model; `has_null` says that its usage is null."""
        if has_null and not self._include_usage:
            payload = _without_null_usage(payload)
        at = payload.find(self._theirs)
        if at < 0:
            found = _MODEL.search(payload)
            if found is None:
                return payload
            at, self._theirs = found.start(), found.group()
        return payload[:at] + self._ours + payload[at + len(self._theirs) :]

    def _mended(self, payload: bytes, odd: loose.Odd | None, calls: dict[int, list[ToolCall]]) -> bytes:
        """The chunk as OpenAI's clients can take it; if they can as it is, its own bytes."""
        if odd is not None and not (calls and self._mends_calls) and self._can_stand(payload, odd):
            return payload
        mended = loose.mend(odd or loose.read(payload), calls)
        return loose.to_text(mended | {"model": self._model}).encode()

    def _can_stand(self, payload: bytes, odd: loose.Odd) -> bool:
        is_usage_told = odd.chunk.usage is None or "usage" in odd.document
        return is_sound(payload) and (is_usage_told or not self._include_usage)


# In JSON these quotes are no part of a text: there they would be escaped.
_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
_NULL_USAGE = re.compile(rb'"usage"\s*:\s*null\b')


def _without_null_usage(payload: bytes) -> bytes:
    """Without what servers say in each chunk once they are asked for usage."""
    told = payload.replace(b',"usage":null', b"", 1)
    if len(told) < len(payload):
        return told
    at = payload.find(b'"usage"')
    null = _NULL_USAGE.match(payload, at)
    if null is None:
        return payload
    before, after = payload[:at].rstrip(), payload[null.end() :].lstrip()
    return before.removesuffix(b",") + after if before.endswith(b",") else before + after.removeprefix(b",")


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise ChatError("upstream_error") from error
