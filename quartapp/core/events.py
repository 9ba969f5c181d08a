"""The events of an answer, from a model's stream to its client.

The classes with a tag are the records of docs/reference/protocol.md, with their fields in the order on the wire.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from quartapp.core.errors import CODE_PATTERN, ERROR_KINDS, ChatError

#: Fields of a tool call and of an answer with state of the server, which the next request must send back.
CALL_STATE: Final = frozenset({"extra_content", "provider_specific_fields"})
TURN_STATE: Final = CALL_STATE | {"reasoning_details", "thinking_blocks"}


#: Precedes the text of a later turn in the same answer, because many clients join all texts.
BLANK_LINE: Final = "\n\n"


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """A record of an answer. Fields that are None are left out on the wire."""


class Start(Record, frozen=True, tag="start"):
    """The beginning of the answer. `model` is the name in the client's request."""

    id: str
    model: str


class Delta(Record, frozen=True, tag="delta"):
    """The next piece of the answer's text."""

    text: str


class Reasoning(Record, frozen=True, tag="reasoning"):
    """The next piece of the model's reasoning, if its server sends it."""

    text: str


class Refusal(Record, frozen=True, tag="refusal"):
    """The next piece of the text in which the model refuses to answer."""

    text: str


class ToolCall(Record, frozen=True, tag="tool_call"):
    """A fragment of a tool call. Only a call's first fragment has `id`, `name` and `executor`.

    `kind` is `custom` for a tool with a text as its argument, and None for a tool with a JSON object. `extra` is state
    of the model's server, which the next request must send back: the fields of all fragments of the call, merged.
    `executor` is `server` for a call of a tool in Python, which this server runs, and None for a tool of the client.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    kind: str | None = None
    extra: dict[str, Any] | None = None
    executor: str | None = None


class Step(Record, frozen=True, tag="step"):
    """The end of a turn of the model with calls of tools in Python. Their results follow, then the next turn.

    `extra` is state of the model's server for this turn, which the next request must send back with it.
    """

    extra: dict[str, Any] | None = None


class ToolResult(Record, frozen=True, tag="tool_result"):
    """The result of a call that this server ran. `id` and `name` are those of the call, `content` is for the model."""

    id: str
    name: str
    content: str
    is_error: bool = False


class ToolApproval(Record, frozen=True, tag="tool_approval"):
    """A call that this server runs only after the approval of the user. `id` and `name` are those of the call."""

    id: str
    name: str


class Annotation(Record, frozen=True, tag="annotation"):
    """A source of the answer's text, with OpenAI's fields. `kind` is OpenAI's `type`, for example `url_citation`.

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
    """An image in the answer. `url` is a data URL of an image, or an http or https address."""

    url: str


class Ping(Record, frozen=True, tag="ping"):
    """A record without content, which keeps the connection open while the model is silent."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The numbers of tokens that the upstream counted.

    `cached_input_tokens` are the input tokens from the server's cache. `reasoning_tokens` are the output tokens of
    the reasoning. None is unknown and left out on the wire. 0 is a count.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None


def add_usage(counts: Sequence[Usage | None]) -> Usage | None:
    """Return the sum of several counts, or None if one of them is unknown.

    >>> add_usage([Usage(10, 2, 12), Usage(20, 3, 23)])
    Usage(input_tokens=30, output_tokens=5, total_tokens=35, cached_input_tokens=None, reasoning_tokens=None)
    """
    known = [each for each in counts if each is not None]
    if len(known) < len(counts):
        return None
    if len(known) == 1:
        return known[0]
    names = Usage.__struct_fields__
    return Usage(**{name: _known_sum([getattr(each, name) for each in known]) for name in names})


def _known_sum(numbers: Sequence[int | None]) -> Any:
    """Return the sum of the known numbers, or None if no number is known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


class Done(Record, frozen=True, tag="done"):
    """The end of a complete answer, always the last record.

    `extra` is state of the model's server, which the next request must send back with the answer.
    """

    finish_reason: str
    usage: Usage | None = None
    extra: dict[str, Any] | None = None


#: The code of an error in the OpenAPI document: a listed one, or one of the host app.
ErrorCode = Annotated[
    str, msgspec.Meta(extra_json_schema={"anyOf": [{"enum": list(ERROR_KINDS)}, {"pattern": CODE_PATTERN}]})
]


class Failed(Record, frozen=True, tag="error"):
    """The end of an answer that is not complete, always the last record, with its error."""

    code: ErrorCode
    message: str
    id: str
    retry_after_s: int | None = None


class Raw(msgspec.Struct, frozen=True):
    """A chat completion chunk of the upstream as JSON, checked, with the model's name in the client's request.

    A chunk that OpenAI's clients could not decode is re-encoded. It is no record. It replaces the other events in
    answers to requests with `ChatRequest.raw`.
    If the payload has only text for the first choice, `text` is that text. For other payloads `choices` are the
    decoded choices. So tokens can be counted without a second decode.
    """

    payload: bytes
    text: str | None = None
    choices: Sequence[Any] = ()


Piece = Delta | Reasoning | Refusal | ToolCall | Step | ToolResult | ToolApproval | Annotation | Image | Raw
Event = Start | Piece | Ping | Done | Failed


class Attempt(msgspec.Struct, frozen=True):
    """A failed attempt: the model's server failed before its first event.

    `next` is the name of the model of the next attempt, or None. `timeouts` replace fields of `Limits` from now on.
    """

    model: str
    error: ChatError
    next: str | None
    timeouts: Mapping[str, float] = {}


class Batch(msgspec.Struct):
    """The events of one read of the upstream, because costs for each read are lower than costs for each token.

    `size` is the number of bytes read, with those that contain no event. A `finish_reason` makes the answer complete.
    `resumes` is true if text follows an earlier finish reason. `ended` is true after the upstream's end marker.
    `attempt` comes in a batch of its own, for the log. The last `extra` becomes that of Done. `is_held` is true if the
    model has sent events and an output filter holds all of them back.
    If `begins_step` is true, the model is called again: its usage is added to the earlier one. The next batch may take
    `silence_s` seconds instead of the idle limit, or of the limit for the first event.
    """

    size: int
    pieces: list[Piece] = []
    finish_reason: str | None = None
    usage: Usage | None = None
    ended: bool = False
    attempt: Attempt | None = None
    resumes: bool = False
    extra: dict[str, Any] | None = None
    begins_step: bool = False
    silence_s: float | None = None
    is_held: bool = False


Batches = AsyncGenerator[Batch, None]
