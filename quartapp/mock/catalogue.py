"""All models by their names, without and with a fault. A new fault is a row here, and a small function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from . import answers, faults, refusals
from .answers import AnswerFunction
from .faults import Fault
from .player import DONE, Event, Mark, Step

DEFAULT_MODEL = "mock"

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Parameter(Struct, frozen=True):
    """The number that may follow a colon in the name of a model."""

    symbol: str
    default: float
    low: float
    high: float
    decimals: bool = False

    def read(self, text: str) -> float | None:
        """Return the number in `text`, or None if it is no number or out of range."""
        found = _NUMBER.fullmatch(text)
        if found is None or (found[1] and not self.decimals):
            return None
        return float(text) if self.low <= float(text) <= self.high else None


class Model(Struct, frozen=True):
    """A model: its description, its fault, and the function that answers."""

    about: str
    fault: Fault | None = None
    answer: AnswerFunction = answers.count
    parameter: Parameter | None = None
    streamed_only: bool = True
    """True if the fault affects only streams, and not an answer in one JSON object."""

    @property
    def of_chunks_only(self) -> bool:
        """Return whether the fault needs the chunks of chat completions."""
        return self.fault in _OF_CHUNKS


_OF_CHUNKS = frozenset(
    {
        *(faults.empty_choices, faults.null_content, faults.no_done, faults.usage_null, faults.usage_none),
        *(faults.usage_odd, faults.usage_with_finish, faults.usage_every_chunk),
    }
)


def _after_tokens(about: str, *steps: Step) -> Model:
    return Model(about, faults.after_tokens(*steps), answers.count_past, Parameter("K", 3, 0, 100_000))


def _timed(about: str, default_s: float, fault: Fault, *, streamed_only: bool = True) -> Model:
    parameter = Parameter("S", default_s, 0, 3600, decimals=True)
    return Model(about, fault, parameter=parameter, streamed_only=streamed_only)


def _refusing(about: str, fault: Fault, default_code: int | None = None) -> Model:
    parameter = Parameter("CODE", default_code, 400, 599) if default_code else None
    return Model(about, fault, parameter=parameter, streamed_only=False)


_ERROR = Event(
    "other",
    {"error": {"message": f"{refusals.MARKER}: the model has gone away", "type": "server_error", "code": "boom"}},
)

MODELS: dict[str, Model] = {
    "mock": Model(
        "Counts (“count to 20”), gives a Markdown tour, a long answer, scripts and emoji, calls a tool, or echoes.",
        answer=answers.converse,
    ),
    "mock-echo": Model("Repeats the last user message verbatim, and says nothing else.", answer=answers.echo),
    "mock-count": Model("Counts to the first number in the last user message, or to 20, one number a token."),
    "mock-reasoning": Model("Thinks aloud in `reasoning_content` deltas before it answers.", answer=answers.reason),
    "mock-tool-call": Model(
        "Calls the first function of `tools`, arguments in fragments, and quotes the result it is then given.",
        answer=answers.call_tool,
    ),
    "mock-refusal": Model("Refuses whatever it is asked, in `refusal` deltas.", answer=answers.refuse),
}

FAULTS: dict[str, Model] = {
    # Slow and silent
    "fault-slow-first-byte": _timed(
        "Sends nothing for S seconds, not even headers.", 30, faults.late, streamed_only=False
    ),
    "fault-slow-first-token": _timed(
        "Sends headers and the role chunk at once, the first token only after S seconds of silence.",
        30,
        faults.before(faults.pause, "token", "finish"),
    ),
    "fault-comments": _timed(
        "Sends headers, then a comment line every 20 ms for S seconds, then the answer.",
        30,
        faults.before(faults.comments, "role"),
    ),
    "fault-pauses": _timed("Is silent for S seconds before each token.", 1, faults.pauses),
    "fault-slow-end": _timed(
        "Is silent for S seconds after the finish reason, before usage and `[DONE]`.",
        5,
        faults.before(faults.pause, "usage", "done"),
    ),
    "fault-stall": _after_tokens("Falls silent for ever after K tokens, with the connection open.", Mark.STALL),
    # Another HTTP status
    "fault-status": _refusing(
        "Answers with the HTTP status CODE and an OpenAI error, with `Retry-After: 7` on 429 and 503.",
        refusals.with_status,
        500,
    ),
    "fault-html": _refusing(
        "Answers with the HTTP status CODE and a page of HTML, as a gateway would.", refusals.with_html, 502
    ),
    "fault-empty": _refusing("Answers with the HTTP status CODE and an empty body.", refusals.with_nothing, 500),
    "fault-endless-error": _refusing("Answers with status 500 and a body that never ends.", refusals.with_endless_body),
    "fault-redirect": _refusing("Redirects (302) to another path of this server.", refusals.with_redirect),
    "fault-context-too-long": _refusing(
        "Refuses the prompt as too long: 400 with the code `context_length_exceeded`.", refusals.context_too_long
    ),
    "fault-content-filtered": _refusing(
        "Refuses the prompt by its content: 400 with the code `content_filter`.", refusals.content_filtered
    ),
    # Truncated
    "fault-error-object": _after_tokens(
        "Sends an error object in the stream after K tokens, then ends the body cleanly.", _ERROR, Mark.END
    ),
    "fault-drop": _after_tokens("Aborts the connection after K tokens.", Mark.DROP),
    "fault-no-finish": _after_tokens(
        "Ends the body cleanly after K tokens, with neither finish reason nor `[DONE]`.", Mark.END
    ),
    "fault-no-finish-done": _after_tokens(
        "Ends after K tokens with `[DONE]`, but without a finish reason.", DONE, Mark.END
    ),
    "fault-no-done": Model("Sends everything but `[DONE]`.", faults.no_done),
    "fault-drop-after-finish": Model(
        "Aborts the connection after the finish reason.", faults.before(faults.steps(Mark.DROP), "usage", "done")
    ),
    # Garbage, endless, large
    "fault-garbage": _after_tokens(
        "Sends `data: {not json` after K tokens, then the rest of the answer.", b"data: {not json\n\n"
    ),
    "fault-garbage-line": _after_tokens(
        "Sends a line that is no field of an event after K tokens; parsers must ignore it, so the answer is complete.",
        b"<html>\n",
    ),
    "fault-endless-line": Model("Sends one `data:` line that never ends.", faults.before(faults.endless_line, "role")),
    "fault-endless-body": Model("Sends tokens for ever.", faults.endless_tokens),
    "fault-endless-comments": Model("Sends comment lines for ever.", faults.before(faults.endless_comments, "role")),
    "fault-flood": Model(
        "Sends an answer of N tokens in a single write.",
        faults.one_write,
        answers.count_exactly,
        Parameter("N", 1000, 1, 100_000),
    ),
    "fault-big": Model(
        "Sends MB megabytes of text in tokens of 1 kB, as fast as the client reads them.",
        faults.at_once,
        answers.megabytes,
        Parameter("MB", 16, 1, 64),
    ),
    # Unusual on the wire
    "fault-split-utf8": Model(
        "Gives the answer of several scripts with every write split inside a character.",
        faults.inside_characters,
        answers.several_scripts,
    ),
    "fault-one-byte": Model("Writes each byte of the body on its own.", faults.one_byte),
    "fault-crlf": Model("Ends lines with CRLF.", faults.crlf),
    "fault-no-space": Model("Writes `data:{…}` without the space.", faults.no_space),
    "fault-bom": Model("Opens the body with a byte order mark.", faults.before(faults.steps(b"\xef\xbb\xbf"), "role")),
    "fault-gzip": Model(
        "Compresses the body with gzip and sends `Content-Encoding`, requested or not.", faults.gzipped
    ),
    "fault-empty-choices": Model(
        "Sends chunks with empty `choices` before and after the answer, as Azure does.", faults.empty_choices
    ),
    "fault-null-content": Model("Sends deltas with `content: null` between the tokens.", faults.null_content),
    "fault-lone-surrogate": Model(
        "Ends with an emoji split into two tokens, `\\ud83d` and `\\ude00`.", answer=answers.split_surrogates
    ),
    # Usage and finish reasons
    "fault-usage-null": Model("Sends `usage: null` in every chunk, and no other usage.", faults.usage_null),
    "fault-usage-with-finish": Model(
        "Gives usage in the chunk of the finish reason instead of one after it.", faults.usage_with_finish
    ),
    "fault-usage-every-chunk": Model("Gives the usage so far in each chunk.", faults.usage_every_chunk),
    "fault-usage-none": Model("Never sends usage, even if requested.", faults.usage_none),
    "fault-usage-odd": Model(
        "Gives usage with strings and floats for numbers, no total, and details of its own.", faults.usage_odd
    ),
    "fault-length": Model("Finishes with the reason `length`.", answer=answers.count_and("length")),
    "fault-content-filter": Model(
        "Finishes with the reason `content_filter` after some tokens.", answer=answers.count_and("content_filter")
    ),
}

ALL: Mapping[str, Model] = MappingProxyType({**MODELS, **FAULTS})

CATALOGUE: Mapping[str, str] = MappingProxyType({name: model.about for name, model in ALL.items()})
"""The name of each model, without its parameter, and one sentence that describes it."""


def find(name: str) -> tuple[Model, float] | None:
    """Return the model and the value of its parameter, or None if it is unknown or the parameter is out of range.

    The value is 0.0 for a model without a parameter.
    """
    base, colon, text = name.partition(":")
    model = ALL.get(base)
    if model is None or (colon and model.parameter is None):
        return None
    if model.parameter is None:
        return model, 0.0
    value = model.parameter.read(text) if colon else model.parameter.default
    return None if value is None else (model, value)


def offers(name: str) -> bool:
    """Return whether there is a model of that name, with a parameter or without."""
    return find(name) is not None


def counts_tokens(name: str) -> bool:
    """Return whether the parameter of the model of that name, without one, is a number of tokens before its fault."""
    model = ALL.get(name)
    return model is not None and model.parameter is not None and model.parameter.symbol == "K"


def is_fault(name: str) -> bool:
    """Return whether the model of that name, without a parameter, answers with a fault."""
    return name in FAULTS
