"""The words of an answer: what a model's stream says, and what a client is told.

The classes with a tag are the records of the wire contract (docs/protocol.md), their fields in the order on the wire.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import msgspec

from quartapp.core.errors import ChatError

#: Fields of a call, and of an answer, in which servers keep state that the next request must bring back.
CALL_STATE: Final = frozenset({"extra_content", "provider_specific_fields"})
TURN_STATE: Final = CALL_STATE | {"reasoning_details", "thinking_blocks"}


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """One record of an answer. Fields that do not apply are None and left out on the wire."""


class Start(Record, frozen=True, tag="start"):
    """The answer has begun; `model` is the name the client asked by."""

    id: str
    model: str


class Delta(Record, frozen=True, tag="delta"):
    """The next piece of the answer's text."""

    text: str


class Reasoning(Record, frozen=True, tag="reasoning"):
    """The next piece of the model's thinking, where it shows it."""

    text: str


class Refusal(Record, frozen=True, tag="refusal"):
    """The next piece of the model's words for why it will not answer."""

    text: str


class ToolCall(Record, frozen=True, tag="tool_call"):
    """A fragment of a tool call; `id` and `name` come in a call's first fragment only.

    `kind` is `custom` for a tool that takes text, and None for one that takes JSON. `extra` is state that the model's
    server wants back with the call: the fields of all its fragments, merged.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    kind: str | None = None
    extra: dict[str, Any] | None = None


class Annotation(Record, frozen=True, tag="annotation"):
    """A source of the answer's text, with OpenAI's fields; `kind` is its `type`, for example `url_citation`.

    `url` is an http or https address. `start_index` and `end_index` count characters of the text.
    """

    kind: str
    url: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None
    file_id: str | None = None
    filename: str | None = None
    container_id: str | None = None
    index: int | None = None


class Image(Record, frozen=True, tag="image"):
    """An image in the answer; `url` is a data URL of an image, or an http or https address."""

    url: str


class Ping(Record, frozen=True, tag="ping"):
    """Keeps the connection alive while the model is silent."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens the upstream counted.

    `cached_input_tokens` are those of the input that the server had in its cache, `reasoning_tokens` those that the
    model spent on reasoning. None is unknown and left out on the wire; 0 is a count.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None


class Done(Record, frozen=True, tag="done"):
    """The answer is whole; always the last record. `extra` is state that the model's server wants back with it."""

    finish_reason: str
    usage: Usage | None = None
    extra: dict[str, Any] | None = None


class Failed(Record, frozen=True, tag="error"):
    """The answer is not whole, and why; always the last record."""

    code: str
    message: str
    id: str
    retry_after_s: int | None = None


class Raw(msgspec.Struct, frozen=True):
    """A chunk as the upstream sent it: the JSON of a chat completion chunk, checked, under the name its client knows.
    One that OpenAI's own clients could not take is told anew.

    It stands for whatever it says, in answers that were asked for with `ChatRequest.raw`; it is no record.
    `text` is what the payload adds to the first choice if it is of that one alone and does not end it; `choices` are
    those of any other payload as its parser decoded them (readers.strict.Choice). So the answer can be counted without
    a second decode.
    """

    payload: bytes
    text: str | None = None
    choices: Sequence[Any] = ()


Piece = Delta | Reasoning | Refusal | ToolCall | Annotation | Image | Raw
Event = Start | Piece | Ping | Done | Failed


class Attempt(msgspec.Struct, frozen=True):
    """A model has been asked and has failed before its first event; `next` is the name of who is asked after it.

    `timeouts` are those of the limits (limits.Limits) that hold from now on.
    """

    model: str
    error: ChatError
    next: str | None
    timeouts: Mapping[str, float] = {}


class Batch(msgspec.Struct):
    """What one read of the upstream held: paying per read is cheaper than paying per token.

    `size` counts the bytes read, those without an event too. `finish_reason` says that the answer is whole, `resumes`
    that it goes on after one that came earlier, `ended` that the upstream has nothing more to say. `attempt` comes in a
    batch of its own, for the log. `extra` is that of the record `done`; the last one counts.
    """

    size: int
    pieces: list[Piece] = []
    finish_reason: str | None = None
    usage: Usage | None = None
    ended: bool = False
    attempt: Attempt | None = None
    resumes: bool = False
    extra: dict[str, Any] | None = None


Batches = AsyncGenerator[Batch, None]
