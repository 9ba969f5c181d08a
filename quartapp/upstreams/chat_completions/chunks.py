"""A parser of the server-sent events of chat completions, with as little decoding as possible.

Its code runs for each token, so it decodes a line in OpenAI's form only once. `loose` decodes other forms.
"""

from __future__ import annotations

from quartapp.core.errors import ChatError
from quartapp.core.events import Batch, Delta, Reasoning, Refusal
from quartapp.core.request import JsonObject
from quartapp.protocols.chat_completions.chunk import ChunkDelta, StreamedChoice
from quartapp.protocols.common.states import add_state, joined, without_thought_mark
from quartapp.upstreams.chat_completions import loose
from quartapp.upstreams.chat_completions.attached import AttachmentParser, cited_by
from quartapp.upstreams.chat_completions.event_data import TEXT_KINDS, drop_from, error_in, is_error_event
from quartapp.upstreams.chat_completions.plain import MAX_MISSES, decode_plain
from quartapp.upstreams.chat_completions.strict import decode, fragments_of
from quartapp.upstreams.common.bodies import EventStreamParser
from quartapp.upstreams.common.finish_reasons import read_finish_reason
from quartapp.upstreams.common.lenient_json import REFUSALS, parsed
from quartapp.upstreams.common.marks import Origin
from quartapp.upstreams.common.think_tags import ThinkTagMode, ThinkTags
from quartapp.upstreams.common.tool_calls import ToolCalls
from quartapp.upstreams.common.usages import read_usage


class ChunkParser(EventStreamParser):
    """A parser of one response's body.

    `think_tags` sets how reasoning is found in the text. `choices` is the number of requested answers.
    """

    def __init__(
        self, max_line_bytes: int, *, think_tags: ThinkTagMode = "none", choices: int = 1, origin: Origin | None = None
    ) -> None:
        super().__init__(max_line_bytes)
        self._text: list[str] = []  # not in a piece yet
        self._think = self._compared = None if think_tags == "none" else ThinkTags(think_tags)
        self._calls = {index: ToolCalls(max_line_bytes) for index in range(choices)}
        self._streamed: set[tuple[str, int]] = set()  # kinds of content, and the choice
        self._sends_messages = False
        self._origin, self._attached = origin or Origin(), AttachmentParser()
        self._state: JsonObject = {}
        self._has_finished = self._is_counted = self._is_error_event = self._has_sound = False
        self._is_plain, self._misses = True, 0

    def feed(self, data: bytes) -> Batch:
        had_finished = self._has_finished
        batch = super().feed(data)
        if had_finished and batch.pieces:
            batch.resumes = True
        return batch

    def end(self) -> Batch:
        """Return the events held back, and those of a last line without a line feed, unless it is truncated."""
        batch = super().end()
        try:
            if self._is_error_event:
                raise ChatError("upstream_error")
            self._check_calls()
        except ChatError as error:
            self.error = self.error or error
        self._conclude(batch)
        self._release(batch)
        return batch

    def _complete(self, batch: Batch) -> None:
        self._flush(batch)
        if batch.ended or self.error:
            self._release(batch)

    def _read_field(self, line: bytes, batch: Batch) -> None:
        super()._read_field(line, batch)
        self._is_error_event = is_error_event(line, self._is_error_event)

    def _read(self, payload: bytes, batch: Batch) -> None:
        """Add the events of a `data` line to `batch`; texts are collected, so that a read gives one delta."""
        if self._is_plain:
            try:
                for choice in decode_plain(payload).choices:
                    if choice.delta.reasoning_content or choice.delta.reasoning:
                        self._add_others(choice.delta, batch)
                    elif choice.delta.content:
                        self._text.append(choice.delta.content)
                return
            except REFUSALS:
                self._is_plain, self._misses = False, self._misses + 1
        self._read_any(payload, batch)

    def _read_any(self, payload: bytes, batch: Batch) -> None:
        try:
            chunk = decode(payload)
        except REFUSALS:
            if (odd := self._read_odd(payload, batch)) is None:
                return
            chunk = odd.chunk
        for choice in chunk.choices:
            if choice.index == 0:  # one answer was requested
                self._add(choice, batch)
        if chunk.search_results or chunk.citations:
            self._add_attached(cited_by(chunk), batch)
        if chunk.usage:
            self._count(chunk.usage, batch)
        if self._state and self._has_finished:
            batch.extra = self._origin.mark(joined(self._state))

    def _read_odd(self, payload: bytes, batch: Batch) -> loose.OddChunk | None:
        """Return a chunk in another form than OpenAI's, or None if the line is no chunk."""
        word = payload.strip()
        if word == b"[DONE]":
            self._check_calls()
            self._conclude(batch)
            batch.ended = True
            return None
        if self._data.begin(payload):
            return None
        if self._is_error_event:
            raise error_in(payload)
        if not word:
            return None
        odd = loose.read(parsed(payload))
        if odd.messages:
            self._flush(batch)
            self._drop_streamed(odd)
        if odd.estimate is not None and not self._is_counted:
            batch.usage = odd.estimate
        return odd if odd.document.get("type") != "ping" else None

    def _add(self, choice: StreamedChoice, batch: Batch) -> None:
        delta = choice.delta
        if delta.reasoning_details or delta.extra_content or delta.provider_specific_fields or delta.thinking_blocks:
            self._add_state(delta, batch)
        if delta.content and not (delta.reasoning_content or delta.reasoning or delta.refusal or delta.tool_calls):
            self._text.append(delta.content)
            self._is_plain = self._misses < MAX_MISSES
        else:
            self._add_others(delta, batch)
        if delta.audio or delta.images or delta.annotations:
            self._add_attached(delta, batch)
        if choice.finish_reason and (reason := self._finish_reason(choice)):
            self._flush(batch)
            if self._has_sound and not self._streamed and not self._calls[0]:
                raise ChatError("upstream_error")
            batch.finish_reason = reason
            self._has_finished = True
            self._release(batch)
            if reason == "tool_calls":
                batch.pieces += self._calls[0].end()

    def _add_state(self, delta: ChunkDelta, batch: Batch) -> None:
        state, is_thought = without_thought_mark(delta.state)
        add_state(self._state, state)
        if is_thought and delta.content:
            self._flush(batch)
            self._think = self._compared = self._compared or ThinkTags("leading")
            self._split(delta.content, batch, is_thought=True)
            delta.content = None

    def _conclude(self, batch: Batch) -> None:
        """Add the events of the end of the stream; for one choice, there are none."""

    def _drop_streamed(self, odd: loose.OddChunk) -> None:
        """Drop from a final message what deltas have sent. If a server sends only messages, each is the next piece."""
        for place in odd.messages:
            choice = odd.chunk.choices[place]
            if not self._sends_messages and (choice.finish_reason or self._is_finished(choice.index)):
                drop_from(choice.delta, {kind for kind in TEXT_KINDS if (kind, choice.index) in self._streamed})
                choice.delta.tool_calls = None if self._calls.get(choice.index) else choice.delta.tool_calls
            elif choice.delta.is_event:
                self._sends_messages = True

    def _is_finished(self, index: int) -> bool:
        return index == 0 and self._has_finished

    def _add_others(self, delta: ChunkDelta, batch: Batch) -> None:
        if thought := delta.thought:
            self._streamed.add(("thought", 0))
            self._flush(batch)
            if self._compared is None or (thought := self._compared.without_known(thought)):
                batch.pieces.append(Reasoning(thought))
        if delta.content:
            self._text.append(delta.content)
        if delta.refusal or delta.tool_calls:
            self._flush(batch)
            self._release(batch)
        if delta.refusal:
            self._streamed.add(("refusal", 0))
            batch.pieces.append(Refusal(delta.refusal))
        if delta.tool_calls:
            batch.pieces += self._calls[0].add(fragments_of(delta.tool_calls, self._origin))

    def _add_attached(self, delta: ChunkDelta, batch: Batch) -> None:
        self._text += [delta.transcript] if delta.transcript else []
        self._has_sound = self._has_sound or bool(delta.audio)
        for piece in self._attached.read(delta.annotations, delta.images):
            self._flush(batch)
            batch.pieces.append(piece)
            self._streamed.add(("attached", 0))

    def _finish_reason(self, choice: StreamedChoice) -> str | None:
        calls = self._calls.get(choice.index)
        reason = read_finish_reason(choice.finish_reason or "", has_calls=bool(calls))
        if reason is not None and calls is not None:
            calls.check_names()
        return reason

    def _check_calls(self) -> None:
        for calls in self._calls.values():
            calls.check_names()

    def _count(self, value: object, batch: Batch) -> None:
        if (usage := read_usage(value)) is not None:
            batch.usage, self._is_counted = usage, True

    def _flush(self, batch: Batch) -> None:
        if self._text:
            text = "".join(self._text)
            self._text.clear()
            self._split(text, batch)

    def _split(self, text: str, batch: Batch, *, is_thought: bool = False) -> None:
        self._streamed.add(("thought" if is_thought else "text", 0))
        if self._think is None:
            batch.pieces.append(Delta(text))
            return
        batch.pieces += self._think.split(text, is_thought=is_thought)
        self._think = None if self._think.is_over else self._think

    def _release(self, batch: Batch) -> None:
        """Add the text that was held back as the possible beginning of a tag."""
        if self._think is not None:
            batch.pieces += self._think.release()
