"""Upstream bytes to event batches: the server-sent events of a chat completion, decoded no further than needed.

Pure, and the dearest lines of the project: they run for each token. Bytes are split on bytes, so that a character cut
anywhere is whole again before it is decoded; the JSON of a line is decoded once, into typed fields.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from quartapp.errors import ChatError
from quartapp.events import Batch, Delta, Piece, Raw, Reasoning, Refusal, ToolCall, Usage
from quartapp.models.failures import from_error_object


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode
_BOM = b"\xef\xbb\xbf"


class ChunkReader:
    """Turns the reads of one response's body into batches.

    Lines end in LF or CRLF; comments and fields other than `data` are passed over, as the event stream format says.
    `error`, once set, is final: upstream_error for garbage and for a line over the limit, or what an error object in
    the stream stands for.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._tail = bytearray()
        self._at_start = True
        self.error: ChatError | None = None

    def feed(self, data: bytes) -> Batch:
        """What `data` completes, up to an `error` if there is one: what came before counts, however it was cut."""
        batch = Batch(len(data), [])
        text: list[str] = []
        try:
            for line in self._lines(data):
                if len(line) > self._max_line_bytes:
                    raise ChatError("upstream_error")
                if line.startswith(b"data:"):
                    self._read(line[5:], batch, text)
        except ChatError as error:
            self.error = error
        _flush(text, batch.pieces)
        return batch

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes; what follows the last line feed is kept for the next read."""
        cut = data.rfind(b"\n")
        if cut < 0:
            self._tail += data
            if len(self._tail) > self._max_line_bytes:
                raise ChatError("upstream_error")
            return []
        lines = (bytes(self._tail) + data[:cut]) if self._tail else data[:cut]
        self._tail[:] = data[cut + 1 :]
        if self._at_start:
            self._at_start = False
            lines = lines.removeprefix(_BOM)
        return lines.split(b"\n")

    def _read(self, payload: bytes, batch: Batch, text: list[str]) -> None:
        """Adds what one `data` line says to `batch`; text is gathered in `text`, so that one read makes one delta."""
        chunk = _chunk(payload)
        if chunk is None:
            batch.ended = True
            return
        for choice in chunk.choices or ():
            if choice.index == 0:  # one answer was asked for
                _add(choice, batch, text)
        if chunk.usage is not None:
            batch.usage = read_usage(chunk.usage) or batch.usage


class RawChunkReader(ChunkReader):
    """Keeps each chunk's own bytes: checked as any other chunk is, and with the model's name replaced by `model`.

    The answer is whole when `choices` choices have their finish_reason. What comes before the first event, a role say,
    is held until then. Usage that only we asked for is left out unless `include_usage`.
    """

    def __init__(self, max_line_bytes: int, *, model: str, choices: int, include_usage: bool) -> None:
        super().__init__(max_line_bytes)
        self._ours = b'"model":' + msgspec.json.encode(model)
        self._theirs = self._ours
        self._unfinished = set(range(choices))
        self._include_usage = include_usage
        self._held: list[Piece] = []
        self._has_begun = False

    def _read(self, payload: bytes, batch: Batch, text: list[str]) -> None:
        if not payload.isascii():
            _check_utf8(payload)  # the decoder looks at the fields alone that it knows
        chunk = _chunk(payload)
        if chunk is None:
            batch.ended = True
            return
        for choice in chunk.choices or ():
            self._has_begun = self._has_begun or _is_event(choice)
            if choice.finish_reason:
                self._unfinished.discard(choice.index)
                batch.finish_reason = choice.finish_reason if not self._unfinished else batch.finish_reason
        if chunk.usage is not None:
            batch.usage = read_usage(chunk.usage) or batch.usage
        if chunk.choices or chunk.usage is None or self._include_usage:
            self._held.append(Raw(self._told(payload.strip())))
        if self._has_begun:
            batch.pieces += self._held
            self._held.clear()

    def _told(self, payload: bytes) -> bytes:
        if not self._include_usage:
            payload = payload.replace(b',"usage":null', b"", 1)
        if self._theirs not in payload:
            found = _MODEL.search(payload)
            if found is None:
                return payload
            self._theirs = found.group()
        return payload.replace(self._theirs, self._ours, 1)


# In JSON these quotes are no part of a text: there they would be escaped.
_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')


def _chunk(payload: bytes) -> _Chunk | None:
    """The chunk of a `data` line, or None for `[DONE]`."""
    try:
        chunk = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if payload.strip() == b"[DONE]":
            return None
        chunk = _decode_mended(payload)
    if chunk.error is not None:
        raise from_error_object(chunk.error)
    return chunk


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise ChatError("upstream_error") from error


def _is_event(choice: _Choice) -> bool:
    """Whether it says more than a role."""
    delta = choice.delta or _Delta()
    said = delta.content or delta.reasoning_content or delta.refusal or delta.tool_calls or choice.finish_reason
    return bool(said)


def _add(choice: _Choice, batch: Batch, text: list[str]) -> None:
    delta = choice.delta
    if delta is not None:
        if delta.content:
            text.append(delta.content)
        if delta.reasoning_content or delta.refusal or delta.tool_calls:
            _flush(text, batch.pieces)
            batch.pieces += _other_pieces(delta)
    if choice.finish_reason:
        batch.finish_reason = choice.finish_reason


def _flush(text: list[str], pieces: list[Piece]) -> None:
    if text:
        pieces.append(Delta("".join(text)))
        text.clear()


def _other_pieces(delta: _Delta) -> list[Piece]:
    pieces: list[Piece] = []
    if delta.reasoning_content:
        pieces.append(Reasoning(delta.reasoning_content))
    if delta.refusal:
        pieces.append(Refusal(delta.refusal))
    for call in delta.tool_calls or ():
        function = call.function or _Function()
        pieces.append(ToolCall(call.index, call.id or None, function.name or None, function.arguments or None))
    return pieces


def _decode_mended(payload: bytes) -> _Chunk:
    """A chunk that the strict decoder refused: half a surrogate pair in a string, as models that cut characters in
    two send it, becomes U+FFFD; anything else is garbage."""
    try:
        text = json.dumps(json.loads(payload), ensure_ascii=False)
        return _decode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ChatError("upstream_error") from error


def read_usage(usage: Any) -> Usage | None:
    """The counts of OpenAI's usage object, whatever number type they come in; None if there are none."""
    if not isinstance(usage, dict):
        return None
    counts = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    if counts[0] is None and counts[1] is None:
        return None
    sent, received = counts[0] or 0, counts[1] or 0
    return Usage(sent, received, counts[2] or sent + received)


def _count(value: Any) -> int | None:
    try:
        count = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return count if 0 <= count < 2**53 else None
