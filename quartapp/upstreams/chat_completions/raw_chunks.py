"""A parser that checks chunks as any other parser does, and passes their bytes on unchanged."""

from __future__ import annotations

from typing import Any

import msgspec

from quartapp.core.errors import ChatError
from quartapp.core.events import TURN_STATE, Batch, Piece, Raw, ToolCall
from quartapp.core.request import without
from quartapp.protocols.chat_completions.chunk import CompletionChunk, StreamedChoice
from quartapp.protocols.common.states import SentState, without_thought_mark
from quartapp.upstreams.chat_completions import loose
from quartapp.upstreams.chat_completions.attached import SentAttachments
from quartapp.upstreams.chat_completions.chunks import ChunkParser
from quartapp.upstreams.chat_completions.event_data import (
    ModelRenamer,
    check_utf8,
    has_tool_calls,
    is_marked,
    raw,
)
from quartapp.upstreams.chat_completions.plain import MAX_MISSES, decode_plain
from quartapp.upstreams.chat_completions.strict import (
    decode,
    fragments_of,
    is_sound,
    mend_choice,
)
from quartapp.upstreams.common.lenient_json import REFUSALS, parsed, to_text
from quartapp.upstreams.common.marks import PREFIX, Origin
from quartapp.upstreams.common.tool_calls import Fragment, with_arguments
from quartapp.upstreams.common.usages import is_openais_usage, read_usage, usage_field, without_null_usage

#: The calls of each choice, by its place in the chunk.
CallsByPlace = dict[int, list[ToolCall]]


class RawChunkParser(ChunkParser):
    """A parser that keeps each chunk's bytes, and replaces only the model's name by `model`.

    A chunk that OpenAI's clients could not decode or would misread is re-encoded. The answer is complete when `choices`
    choices have their finish_reason. Chunks before the first event, for example with a role, are held until that event.
    Usage is dropped unless the client asked for it with `include_usage`.
    """

    def __init__(
        self, max_line_bytes: int, *, model: str, choices: int, include_usage: bool, origin: Origin | None = None
    ) -> None:
        super().__init__(max_line_bytes, choices=choices, origin=origin)
        self._model = model
        self._renamer = ModelRenamer(model)
        self._unfinished = set(range(choices))
        self._reason: str | None = None
        self._calling_functions: set[int] = set()  # choices with the older `function_call`
        self._include_usage = include_usage
        self._textless = set(range(choices))  # choices without text so far; soon empty, so most tokens cost nothing
        self._begun: set[int] = set()  # choices with a chunk so far, also one with only a role
        self._passed_on = {index: SentAttachments() for index in range(choices)}
        self._sent_state = SentState()
        self._held: list[Piece] = []
        self._room = max_line_bytes
        self._has_begun = False

    def _read(self, payload: bytes, batch: Batch) -> None:
        check_utf8(payload)  # the decoder ignores unknown fields
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
            odd = self._read_odd(payload, batch)
            if odd is None:
                return
            chunk = odd.chunk
        usage = chunk.usage if odd is None else odd.document.get("usage")
        calls: CallsByPlace = {}
        is_unchanged = self._note_choices(chunk, payload, odd, batch, calls)
        if chunk.usage is not msgspec.UNSET and (chunk.usage or usage is not None):
            is_unchanged = self._add_usage(chunk, usage, batch) and is_unchanged
        payload = self._renamed(payload, usage) if is_unchanged else self._mended(payload, chunk, odd, calls)
        self._add_chunk(chunk, raw(payload, chunk.choices), batch)

    def _add_plain(self, choice: StreamedChoice, payload: bytes, batch: Batch) -> None:
        if self._textless:
            self._note_streamed(choice)
        delta = choice.delta
        has_thought = delta.reasoning_content or delta.reasoning
        batch.pieces.append(Raw(payload, delta.all_text if has_thought else delta.content or ""))

    def _note_choices(
        self,
        chunk: CompletionChunk,
        payload: bytes,
        odd: loose.OddChunk | None,
        batch: Batch,
        calls: CallsByPlace,
    ) -> bool:
        """Record the content of the choices. Return whether clients can read them unchanged.

        If not, `calls` gets the calls in the form that clients can read.
        """
        is_unchanged = odd is None or is_sound(payload)
        if PREFIX in payload or not self._origin.is_only:
            is_unchanged = is_unchanged and not is_marked(chunk, self._origin)
        for place, choice in enumerate(chunk.choices):
            if not (self._has_begun and self._unfinished) and choice.is_event:
                self._has_begun = True
                batch.resumes = not self._unfinished
            if self._textless:
                self._note_streamed(choice)
            if (choice.delta.images or choice.delta.annotations) and choice.index in self._passed_on:
                self._passed_on[choice.index].note(choice.delta)
            if choice.delta.has_state:
                is_unchanged = self._note_state(choice) and is_unchanged
            if choice.delta.tool_calls:
                is_unchanged = self._add_calls(place, choice, odd, calls) and is_unchanged
            if choice.finish_reason:
                is_unchanged = self._finish(place, choice, batch, calls) and is_unchanged
        return is_unchanged

    def _note_state(self, choice: StreamedChoice) -> bool:
        """Return whether clients that join chunks keep the state as it is; if not, it is corrected or held."""
        for name in (held := self._sent_state.hold(choice.delta.state, choice.index)):
            setattr(choice.delta, name, None)
        return not self._sent_state.drop_known(choice.delta.state, choice.index) and not held

    def _add_calls(self, place: int, choice: StreamedChoice, odd: loose.OddChunk | None, calls: CallsByPlace) -> bool:
        """Return whether clients can read the fragments of calls unchanged; if not, `calls` gets the calls."""
        if choice.index not in self._calls:
            return True
        fragments = fragments_of(choice.delta.tool_calls or [], self._origin)
        calls[place] = [*self._calls[choice.index].add(fragments)]
        if odd is not None and not has_tool_calls(odd, place):
            self._calling_functions.add(choice.index)
            return True
        # Clients read `function` of each fragment, also if a server leaves it out.
        normalised, sent = calls[place], choice.delta.tool_calls or []
        has_tools = all(call.function or call.custom for call in sent)
        return has_tools and len(normalised) == len(sent) and all(map(Fragment.is_read_as, fragments, normalised))

    def _finish(self, place: int, choice: StreamedChoice, batch: Batch, calls: CallsByPlace) -> bool:
        """Return whether the finish reason is OpenAI's and all calls have arguments.

        If not, `choice` and `calls` are corrected.
        """
        sent_reason, reason = choice.finish_reason, self._finish_reason(choice)
        if reason is None:
            choice.finish_reason = None
            return False
        self._unfinished.discard(choice.index)
        self._reason = reason
        if not self._unfinished:
            batch.finish_reason = reason
        is_old = reason == "tool_calls" != sent_reason and choice.index in self._calling_functions
        choice.finish_reason = "function_call" if is_old else reason
        held = self._sent_state.take(choice.index)
        for name in held:
            setattr(choice.delta, name, held[name])
        return self._end_calls(place, choice, calls) and choice.finish_reason == sent_reason and not held

    def _end_calls(self, place: int, choice: StreamedChoice, calls: CallsByPlace) -> bool:
        """Return whether all calls of a finished choice have arguments; if not, `calls` gets `{}` for the others."""
        if choice.finish_reason != "tool_calls" or choice.index not in self._calls:
            return True
        ended = list(self._calls[choice.index].end())
        if ended:
            calls[place] = with_arguments(calls.get(place, []), ended)
        return not ended

    def _conclude(self, batch: Batch) -> None:
        """Complete an answer once each choice that has begun has finished, because some servers ignore `n`."""
        if self._reason is not None and self._unfinished and not self._unfinished & self._begun:
            self._unfinished.clear()
            batch.finish_reason = self._reason

    def _drop_streamed(self, odd: loose.OddChunk) -> None:
        super()._drop_streamed(odd)
        for choice in (odd.chunk.choices[place] for place in odd.messages):
            if choice.index in self._passed_on:
                self._passed_on[choice.index].keep_new(choice.delta)

    def _is_finished(self, index: int) -> bool:
        return index in self._calls and index not in self._unfinished

    def _note_streamed(self, choice: StreamedChoice) -> None:
        index, delta = choice.index, choice.delta
        self._begun.add(index)
        is_thought = bool(delta.extra_content) and without_thought_mark(delta.state)[1]
        if delta.reasoning_content or delta.reasoning or delta.thought or is_thought:
            self._streamed.add(("thought", index))
        if delta.refusal:
            self._streamed.add(("refusal", index))
        if delta.content and not is_thought:
            self._textless.discard(index)
            self._streamed.add(("text", index))
            self._is_plain = self._misses < MAX_MISSES

    def _add_usage(self, chunk: CompletionChunk, usage: Any, batch: Batch) -> bool:
        """Return whether clients find the chunk's counts in `usage`, in OpenAI's form."""
        if chunk.usage:
            self._count(chunk.usage, batch)
        if usage is None:
            return not (chunk.usage and self._include_usage)
        return is_openais_usage(usage)

    def _add_chunk(self, chunk: CompletionChunk, piece: Raw, batch: Batch) -> None:
        """Add the chunk, unless it holds only usage that the client did not ask for."""
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
        """Return the payload with our name of the model, and without a null `usage` that was not asked for."""
        payload = payload.strip()
        if usage is None and not self._include_usage:
            payload = without_null_usage(payload)
        return self._renamer.rename(payload)

    def _mended(self, payload: bytes, chunk: CompletionChunk, odd: loose.OddChunk | None, calls: CallsByPlace) -> bytes:
        """Return the chunk in a form that OpenAI's clients can read, with all its other fields."""
        document = parsed(payload) if odd is None else odd.document
        usage = usage_field(document, read_usage(chunk.usage), is_requested=self._include_usage)
        if odd is None or is_sound(payload):
            for place, choice in enumerate(document.get("choices") or []):
                mend_choice(choice, chunk.choices[place], calls.get(place))
        else:
            document = loose.mend(odd, calls)
        for place, choice in enumerate(chunk.choices):
            delta = without(document["choices"][place]["delta"], TURN_STATE)
            document["choices"][place]["delta"] = delta | self._origin.mark(choice.delta.state)
        rest = without(document, ("usage", "error"))  # `error` is empty here
        return to_text(rest | {"model": self._model} | usage).encode()
