"""Upstream bytes to chunks that are passed on as they came: read as any other, and their bytes kept."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch, Piece, Raw, ToolCall
from quartapp.protocols.common.documents import JsonObject
from quartapp.protocols.common.states import without_thought_mark
from quartapp.upstreams.chat_completions import loose
from quartapp.upstreams.chat_completions.attached import PassedOn
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.event_data import (
    check_utf8,
    has_tool_calls,
    is_marked,
    parsed,
    raw,
    text_in_delta,
)
from quartapp.upstreams.chat_completions.plain import MAX_MISSES, decode_plain
from quartapp.upstreams.chat_completions.strict import (
    REFUSALS,
    Choice,
    Chunk,
    decode,
    fragments_of,
    is_sound,
    mend_choice,
)
from quartapp.upstreams.common.marks import PREFIX, Origin
from quartapp.upstreams.common.tool_calls import Fragment, with_arguments
from quartapp.upstreams.common.usages import is_openais_usage, read_usage, to_openais_usage, without_null_usage


class RawChunkParser(ChunkParser):
    """Keeps each chunk's own bytes: checked as any other chunk is, and with the model's name replaced by `model`.

    A chunk that OpenAI's clients could not take is told anew, and so is one whose calls, usage or reason to finish they
    would take for something else than it says. The answer is whole when `choices` choices have their finish_reason.
    What comes before the first event, a role say, is held until then. Usage that only we asked for is left out unless
    `include_usage`.
    """

    def __init__(
        self, max_line_bytes: int, *, model: str, choices: int, include_usage: bool, origin: Origin | None = None
    ) -> None:
        super().__init__(max_line_bytes, choices=choices, origin=origin)
        self._model = model
        self._ours = b'"model":' + msgspec.json.encode(model)
        self._theirs = self._ours
        self._their_head = self._our_head = b"{" + self._ours  # what the last chunk began with, up to the name
        self._unfinished = set(range(choices))
        self._reason: str | None = None
        self._calling_functions: set[int] = set()  # the choices with the call of a function, as it was before tools
        self._include_usage = include_usage
        self._textless = set(range(choices))  # the choices without text: soon none, so that most tokens cost nothing
        self._begun: set[int] = set()  # the choices of which a chunk has come, a role alone too
        self._untexted: set[tuple[str, int]] = set()  # what else the choices have said before their text
        self._passed_on = {index: PassedOn() for index in range(choices)}
        self._held: list[Piece] = []
        self._room = max_line_bytes
        self._has_begun = False

    def _read(self, payload: bytes, batch: Batch, text: list[str]) -> None:
        check_utf8(payload)  # the decoder looks at the fields alone that it knows
        if self._is_plain and self._has_begun and self._unfinished and not self._held:
            try:
                chunk = decode_plain(payload)
                if len(chunk.choices) == 1:
                    self._add_plain(chunk.choices[0], self._renamed(payload, chunk.usage), batch)
                    return
            except REFUSALS:
                self._is_plain, self._misses = False, self._misses + 1
        odd = None
        try:
            chunk = decode(payload)
        except REFUSALS:
            odd = self._read_odd(payload, batch, text)
            if odd is None:
                return
            chunk = odd.chunk
        usage = chunk.usage if odd is None else odd.document.get("usage")
        calls: dict[int, list[ToolCall]] = {}
        can_stand = self._note_choices(chunk, payload, odd, batch, calls)
        if chunk.usage is not msgspec.UNSET and (chunk.usage or usage is not None):
            can_stand = self._add_usage(chunk, usage, batch) and can_stand
        payload = self._renamed(payload, usage) if can_stand else self._mended(payload, chunk, odd, calls)
        self._tell(chunk, raw(payload, chunk.choices), batch)

    def _add_plain(self, choice: Choice, payload: bytes, batch: Batch) -> None:
        if self._textless:
            self._note_streamed(choice)
        delta = choice.delta
        has_thought = delta.reasoning_content or delta.reasoning
        batch.pieces.append(Raw(payload, text_in_delta(delta) if has_thought else delta.content or ""))

    def _note_choices(
        self, chunk: Chunk, payload: bytes, odd: loose.Odd | None, batch: Batch, calls: dict[int, list[ToolCall]]
    ) -> bool:
        """Notes what the choices say. Returns whether clients can take them unchanged; if not, `calls` gets the calls
        as clients can take them."""
        can_stand = odd is None or is_sound(payload)
        if PREFIX in payload or not self._origin.is_only:
            can_stand = can_stand and not is_marked(chunk, self._origin)
        for place, choice in enumerate(chunk.choices):
            if not (self._has_begun and self._unfinished) and choice.is_event:
                self._has_begun = True
                batch.resumes = not self._unfinished
            if self._textless:
                self._note_streamed(choice)
            if (choice.delta.images or choice.delta.annotations) and choice.index in self._passed_on:
                self._passed_on[choice.index].note(choice.delta)
            if choice.delta.tool_calls:
                can_stand = self._add_calls(place, choice, odd, calls) and can_stand
            if choice.finish_reason:
                can_stand = self._finish(place, choice, batch, calls) and can_stand
        return can_stand

    def _add_calls(self, place: int, choice: Choice, odd: loose.Odd | None, calls: dict[int, list[ToolCall]]) -> bool:
        """Whether clients take the fragments of calls for what they are; if not, `calls` gets what they tell."""
        if choice.index not in self._calls:
            return True
        fragments = fragments_of(choice.delta.tool_calls or [], self._origin)
        calls[place] = [*self._calls[choice.index].add(fragments)]
        if odd is not None and not has_tool_calls(odd, place):
            self._calling_functions.add(choice.index)
            return True
        # Clients look into the function of each fragment, also where a server has nothing to say of it.
        told, sent = calls[place], choice.delta.tool_calls or []
        has_tools = all(call.function or call.custom for call in sent)
        return has_tools and len(told) == len(sent) and all(map(Fragment.is_told_by, fragments, told))

    def _finish(self, place: int, choice: Choice, batch: Batch, calls: dict[int, list[ToolCall]]) -> bool:
        """Whether the reason to finish is said in OpenAI's words and all calls have arguments; if not, the choice and
        `calls` get them so."""
        said, reason = choice.finish_reason, self._finish_reason(choice)
        if reason is None:
            choice.finish_reason = None
            return False
        self._unfinished.discard(choice.index)
        self._reason = reason
        if not self._unfinished:
            batch.finish_reason = reason
        is_old = reason == "tool_calls" != said and choice.index in self._calling_functions
        choice.finish_reason = "function_call" if is_old else reason
        return self._end_calls(place, choice, calls) and choice.finish_reason == said

    def _end_calls(self, place: int, choice: Choice, calls: dict[int, list[ToolCall]]) -> bool:
        """Return whether all calls of a finished choice have arguments; if not, `calls` gets `{}` for the others."""
        if choice.finish_reason != "tool_calls" or choice.index not in self._calls:
            return True
        ended = list(self._calls[choice.index].end())
        if ended:
            calls[place] = with_arguments(calls.get(place, []), ended)
        return not ended

    def _conclude(self, batch: Batch) -> None:
        """Complete an answer that ends once each choice that has begun has finished: some servers ignore `n`."""
        if self._reason is not None and self._unfinished and not self._unfinished & self._begun:
            self._unfinished.clear()
            batch.finish_reason = self._reason

    def _drop_streamed(self, odd: loose.Odd) -> None:
        super()._drop_streamed(odd)
        for choice in (odd.chunk.choices[place] for place in odd.messages):
            if choice.index in self._passed_on:
                self._passed_on[choice.index].keep_new(choice.delta)

    def _is_finished(self, index: int) -> bool:
        return index in self._calls and index not in self._unfinished

    def _has_streamed(self, kind: str, index: int) -> bool:
        if kind == "text":
            return index in self._calls and index not in self._textless
        return (kind, index) in self._untexted

    def _note_streamed(self, choice: Choice) -> None:
        index, delta = choice.index, choice.delta
        self._begun.add(index)
        is_thought = bool(delta.extra_content) and without_thought_mark(delta.state)[1]
        if delta.reasoning_content or delta.reasoning or delta.thought or is_thought:
            self._untexted.add(("thought", index))
        if delta.refusal:
            self._untexted.add(("refusal", index))
        if delta.content and not is_thought:
            self._textless.discard(index)
            self._is_plain = self._misses < MAX_MISSES

    def _add_usage(self, chunk: Chunk, usage: Any, batch: Batch) -> bool:
        """Whether clients find in `usage`, where they look for it, what the chunk says of it, and as OpenAI has it."""
        if chunk.usage:
            self._count(chunk.usage, batch)
        if usage is None:
            return not (chunk.usage and self._include_usage)
        return is_openais_usage(usage)

    def _tell(self, chunk: Chunk, piece: Raw, batch: Batch) -> None:
        """Adds the chunk, unless it has nothing but the usage that nobody asked for."""
        if chunk.usage and not chunk.choices and not self._include_usage:
            return
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

    def _renamed(self, payload: bytes, usage: Any) -> bytes:
        """The payload under our name of the model, and without its `usage` if that is null for want of asking."""
        payload = payload.strip()
        if usage is None and not self._include_usage:
            payload = without_null_usage(payload)
        if payload.startswith(self._their_head):
            return self._our_head + payload[len(self._their_head) :]
        at = payload.find(self._theirs)
        if at < 0:
            found = _MODEL.search(payload)
            if found is None:
                return self._renamed_anew(payload)
            at, self._theirs = found.start(), found.group()
        end = at + len(self._theirs)
        # It is the chunk's own if none but the chunk is closed after it, or no other object has been opened before it.
        if payload.count(b"}", end) == 1:
            return payload[:at] + self._ours + payload[end:]
        if payload.count(b"{", 0, at) > 1:
            return self._renamed_anew(payload)
        self._their_head, self._our_head = payload[:end], payload[:at] + self._ours
        return self._our_head + payload[end:]

    def _renamed_anew(self, payload: bytes) -> bytes:
        """The same for a name that has to be looked for among others, or that is no text or spelt oddly."""
        document = parsed(payload)
        return loose.to_text(document | {"model": self._model}).encode() if "model" in document else payload

    def _mended(self, payload: bytes, chunk: Chunk, odd: loose.Odd | None, calls: dict[int, list[ToolCall]]) -> bytes:
        """The chunk as OpenAI's clients can take it, with all else that it says."""
        document = parsed(payload) if odd is None else odd.document
        usage = self._usage(document, chunk)
        if odd is None or is_sound(payload):
            for place, choice in enumerate(document.get("choices") or []):
                mend_choice(choice, chunk.choices[place], calls.get(place))
        else:
            document = loose.mend(odd, calls)
        for place, choice in enumerate(chunk.choices):
            document["choices"][place]["delta"] |= self._origin.mark(choice.delta.state)
        rest = {name: value for name, value in document.items() if name not in ("usage", "error")}  # an empty error
        return loose.to_text(rest | {"model": self._model} | usage).encode()

    def _usage(self, document: JsonObject, chunk: Chunk) -> JsonObject:
        """The field of that name as OpenAI has it; nothing if nobody asked, or if there is no telling what it says."""
        theirs = document.get("usage")
        if is_openais_usage(theirs):
            return {"usage": theirs}
        counted = read_usage(chunk.usage)
        if counted is not None and (theirs is not None or self._include_usage):
            return {"usage": to_openais_usage(theirs, counted)}
        return {"usage": None} if "usage" in document and theirs is None and self._include_usage else {}


# In JSON these quotes are no part of a text: there they would be escaped.
_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
