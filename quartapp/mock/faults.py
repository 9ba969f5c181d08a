"""The table of faults. A new fault is a row here, and a small function in the module of its kind."""

from __future__ import annotations

from . import alterations as put
from . import answers, refusals, usages, writes
from .models import Fault, Model, Parameter
from .refusals import MARKER
from .steps import DONE, Event, Mark

_ERROR = Event(
    "other", {"error": {"message": f"{MARKER}: the model has gone away", "type": "server_error", "code": "boom"}}
)


def _after_tokens(about: str, fault: Fault) -> Model:
    return Model(about=about, answer=answers.count_past, fault=fault, parameter=Parameter("K", 3, 0, 100_000))


def _timed(about: str, default_s: float, fault: Fault, *, streamed_only: bool = True) -> Model:
    parameter = Parameter("S", default_s, 0, 3600, decimals=True)
    return Model(about=about, fault=fault, parameter=parameter, streamed_only=streamed_only)


def _refusing(about: str, fault: Fault, default_code: int | None = None) -> Model:
    parameter = Parameter("CODE", default_code, 400, 599) if default_code else None
    return Model(about=about, fault=fault, parameter=parameter, streamed_only=False)


_SLOW = {
    "fault-slow-first-byte": _timed(
        "Sends nothing for S seconds, not even headers.", 30, put.late, streamed_only=False
    ),
    "fault-slow-first-token": _timed(
        "Sends headers and the role chunk at once, the first token only after S seconds of silence.",
        30,
        put.before(put.pause, "token", "finish"),
    ),
    "fault-comments": _timed(
        "Sends headers, then a comment line every 20 ms for S seconds, then the answer.",
        30,
        put.before(put.comments, "role"),
    ),
    "fault-pauses": _timed("Is silent for S seconds before each token.", 1, put.before_each(put.pause, "token")),
    "fault-slow-end": _timed(
        "Is silent for S seconds after the finish reason, before usage and `[DONE]`.",
        5,
        put.before(put.pause, "usage", "done"),
    ),
    "fault-stall": _after_tokens(
        "Falls silent for ever after K tokens, with the connection open.", put.after_tokens(Mark.STALL)
    ),
}

_REFUSING = {
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
}

_TRUNCATED = {
    "fault-error-object": _after_tokens(
        "Sends an error object in the stream after K tokens, then ends the body cleanly.",
        put.after_tokens(_ERROR, Mark.END),
    ),
    "fault-drop": _after_tokens("Aborts the connection after K tokens.", put.after_tokens(Mark.DROP)),
    "fault-no-finish": _after_tokens(
        "Ends the body cleanly after K tokens, with neither finish reason nor `[DONE]`.", put.after_tokens(Mark.END)
    ),
    "fault-no-finish-done": _after_tokens(
        "Ends after K tokens with `[DONE]`, but without a finish reason.", put.after_tokens(DONE, Mark.END)
    ),
    "fault-no-done": Model(about="Sends everything but `[DONE]`.", fault=put.no_done),
    "fault-drop-after-finish": Model(
        about="Aborts the connection after the finish reason.",
        fault=put.before(put.always(Mark.DROP), "usage", "done"),
    ),
}

_ENDLESS = {
    "fault-garbage": _after_tokens(
        "Sends `data: {not json` after K tokens, then the rest of the answer.",
        put.after_tokens(b"data: {not json\n\n"),
    ),
    "fault-garbage-line": _after_tokens(
        "Sends a line that is no field of an event after K tokens; parsers must ignore it, so the answer is complete.",
        put.after_tokens(b"<html>\n"),
    ),
    "fault-endless-line": Model(
        about="Sends one `data:` line that never ends.", fault=put.before(put.endless_line, "role")
    ),
    "fault-endless-body": Model(about="Sends tokens for ever.", fault=put.endless_tokens),
    "fault-endless-comments": Model(
        about="Sends comment lines for ever.", fault=put.before(put.endless_comments, "role")
    ),
    "fault-flood": Model(
        about="Sends an answer of N tokens in a single write.",
        answer=answers.count_exactly,
        fault=writes.one_write,
        parameter=Parameter("N", 1000, 1, 100_000),
    ),
    "fault-big": Model(
        about="Sends MB megabytes of text in tokens of 1 kB, as fast as the client reads them.",
        answer=answers.megabytes,
        fault=put.at_once,
        parameter=Parameter("MB", 16, 1, 64),
    ),
}

_FORM = {
    "fault-split-utf8": Model(
        about="Gives the answer of several scripts with every write split inside a character.",
        answer=answers.several_scripts,
        fault=writes.inside_characters,
    ),
    "fault-one-byte": Model(
        about="Writes each byte of the body on its own.",
        fault=writes.rewritten(lambda data: (data[at : at + 1] for at in range(len(data)))),
    ),
    "fault-crlf": Model(
        about="Ends lines with CRLF.", fault=writes.rewritten(lambda data: (data.replace(b"\n", b"\r\n"),))
    ),
    "fault-no-space": Model(
        about="Writes `data:{…}` without the space.",
        fault=writes.rewritten(lambda data: (data.replace(b"data: ", b"data:", 1),)),
    ),
    "fault-bom": Model(
        about="Opens the body with a byte order mark.", fault=put.before(put.always(b"\xef\xbb\xbf"), "role")
    ),
    "fault-gzip": Model(
        about="Compresses the body with gzip and sends `Content-Encoding`, requested or not.", fault=writes.gzipped
    ),
    "fault-empty-choices": Model(
        about="Sends chunks with empty `choices` before and after the answer, as Azure does.", fault=put.empty_choices
    ),
    "fault-null-content": Model(about="Sends deltas with `content: null` between the tokens.", fault=put.null_content),
    "fault-lone-surrogate": Model(
        about="Ends with an emoji split into two tokens, `\\ud83d` and `\\ude00`.", answer=answers.split_surrogates
    ),
}

_ACCOUNT = {
    "fault-usage-null": Model(about="Sends `usage: null` in every chunk, and no other usage.", fault=usages.null),
    "fault-usage-with-finish": Model(
        about="Gives usage in the chunk of the finish reason instead of one after it.", fault=usages.with_finish
    ),
    "fault-usage-every-chunk": Model(about="Gives the usage so far in each chunk.", fault=usages.every_chunk),
    "fault-usage-none": Model(about="Never sends usage, even if requested.", fault=usages.none),
    "fault-usage-odd": Model(
        about="Gives usage with strings and floats for numbers, no total, and details of its own.", fault=usages.odd
    ),
    "fault-length": Model(about="Finishes with the reason `length`.", answer=answers.count_and("length")),
    "fault-content-filter": Model(
        about="Finishes with the reason `content_filter` after some tokens.", answer=answers.count_and("content_filter")
    ),
}

FAULTS: dict[str, Model] = {**_SLOW, **_REFUSING, **_TRUNCATED, **_ENDLESS, **_FORM, **_ACCOUNT}
