"""The operations of the document: one row for each route and method, by the name of the view in the blueprint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from quartapp.core.errors import KINDS
from quartapp.openapi.components import Json, reference, sentences
from quartapp.protocols.ai_sdk.request import UIBody
from quartapp.protocols.chat_completions.encode import OPENAI_CODES
from quartapp.protocols.chat_completions.request import CompletionBody
from quartapp.protocols.native.formats import NDJSON, SSE, TEXT, WHOLE
from quartapp.protocols.native.request import ChatBody, ChatQuery


class Reply(NamedTuple):
    """A response with one status. `content` has a schema for each media type."""

    description: str
    content: Mapping[str, Json] = {}


class ErrorForm(NamedTuple):
    """The form of errors: a JSON `component` with the code, or the sentence in text/plain if it is None."""

    component: str | None
    statuses: Mapping[int, int] = {}
    names: Mapping[str, str] = {}

    def status(self, code: str) -> int:
        return self.statuses.get(KINDS[code].status, KINDS[code].status)

    def name(self, code: str) -> str:
        """Return the name of our `code` in this protocol."""
        return self.names.get(code, code)

    def content(self, codes: Collection[str]) -> Mapping[str, Json]:
        if self.component is None:
            return {"text/plain": sentences(codes)}
        names = list(dict.fromkeys(map(self.name, codes)))
        narrowed = {"properties": {"error": {"properties": {"code": {"enum": names}}}}}
        return {"application/json": {"allOf": [reference(self.component), narrowed]}}


OURS: Final = ErrorForm("Error")
OPENAIS: Final = ErrorForm("OpenAIError", {422: 400}, OPENAI_CODES)  # OpenAI has no 422
SENTENCE: Final = ErrorForm(None)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of a route. `example` is an example of the `body`. `errors` are the codes that it may send.

    `unauthorized` is added if the host app authenticates clients. `Accept` is no parameter, because OpenAPI describes
    it by the media types of the replies.
    """

    summary: str
    tag: str
    replies: Mapping[int, Reply]
    description: str = ""
    body: type[BaseModel] | None = None
    example: Json = field(default_factory=dict)
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    error_form: ErrorForm = OURS
    is_guarded: bool = True

    def all_replies(self, *, is_guarded: bool) -> dict[int, Reply]:
        """Return the replies and errors by status. The description of an error lists its codes."""
        codes: dict[int, list[str]] = {}
        for code in (*self.errors, *(("unauthorized",) if is_guarded and self.is_guarded else ())):
            codes.setdefault(self.error_form.status(code), []).append(code)
        refusals = {status: self._refusal(each) for status, each in codes.items()}
        return dict(sorted({**self.replies, **refusals}.items()))

    def _refusal(self, codes: list[str]) -> Reply:
        codes_and_sentences = "\n".join(f"- `{self.error_form.name(code)}`: {KINDS[code].message}" for code in codes)
        return Reply(codes_and_sentences, self.error_form.content(codes))


# -- errors by what raises them

BODY: Final = (
    "bad_request",
    "too_deep",
    "request_timeout",
    "too_large",
    "unsupported_media_type",
    "invalid_request",
)
QUERY: Final = ("forbidden", "too_large", "invalid_request")
ANSWER: Final = (
    "model_not_found",
    "context_too_long",
    "content_filtered",
    "upstream_busy",
    "upstream_error",
    "upstream_refused",
    "upstream_truncated",
    "upstream_unpaid",
    "overloaded",
    "shutting_down",
    "upstream_overloaded",
    "upstream_timeout",
    "deadline_exceeded",
)
#: Errors that hooks, `authenticate` and models of the host app may raise, and faults of any code.
HOST: Final = ("rate_limited", "budget_exceeded", "internal_error")
POST_ERRORS: Final = (*BODY, *ANSWER, "forbidden", *HOST)
GET_ERRORS: Final = (*QUERY, *ANSWER, *HOST)

# -- examples

_QUESTION: Final[Json] = {"message": "count to 5"}
_COMPLETION: Final[Json] = {
    "model": "mock",
    "messages": [{"role": "user", "content": "count to 5"}],
    "stream": True,
}
_UI_PARTS: Final = [{"type": "text", "text": "count to 5"}]
_UI: Final[Json] = {"id": "a-chat", "messages": [{"id": "1", "role": "user", "parts": _UI_PARTS}]}

# -- replies

_FILE: Final[Mapping[str, Json]] = {"*/*": {}}
_PAGE = {"text/html": {"type": "string"}}
_WHOLE = {WHOLE: reference("WholeAnswer")}
_STREAMS = {
    TEXT.media_type: {"type": "string"},
    NDJSON.media_type: reference("Record"),
    SSE.media_type: reference("RecordEvent"),
}
_STREAMED = Reply(
    "The streamed answer. text/plain is the text itself, aborted if the answer fails. The schema of "
    "`application/x-ndjson` is that of one line, the schema of `text/event-stream` that of one event. The last record "
    "of both is `done` or `error`; only an answer with `done` is complete.",
    {**_STREAMS, **_WHOLE},
)
_RECONNECTED = Reply(
    "No content. With `Last-Event-ID` an `EventSource` reconnects after the end of its answer, and 204 stops it."
)
_LAST_EVENT_ID = {
    "Last-Event-ID": "Sent by an `EventSource` after the end of its answer. It gets 204 and no second answer."
}

_own = partial(Operation, tag="chat")
_openai = partial(Operation, tag="openai", error_form=OPENAIS)
_ai_sdk = partial(Operation, tag="ai-sdk", error_form=SENTENCE)
_public = partial(Operation, tag="pages", is_guarded=False, errors=("internal_error",))
_about = partial(Operation, tag="pages", errors=("internal_error",))

_FILES: Final[Mapping[str, Any]] = {
    "replies": {
        200: Reply("The file.", _FILE),
        206: Reply("The part that `Range` requests.", _FILE),
        304: Reply("The copy of the client, which `If-None-Match` names, is current."),
    },
    "errors": ("bad_request", "not_found", "internal_error"),
}

TAGS: Final[Mapping[str, str]] = {
    "chat": "The native protocol.",
    "openai": "OpenAI's API, for its clients.",
    "ai-sdk": "The UI message stream of Vercel's AI SDK, for `useChat`.",
    "pages": "Pages, their files, and this document.",
}

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("stream", "POST"): _own(
        summary="Streams an answer.",
        description="`Accept` selects the format. `stream: false` requests one JSON object.",
        body=ChatBody,
        example=_QUESTION,
        replies={200: _STREAMED},
        errors=("not_acceptable", *POST_ERRORS),
    ),
    ("stream", "GET"): _own(
        summary="Streams an answer to an EventSource.",
        description="Refused to prefetches, and to pages of other sites that `CHAT_ORIGINS` does not name.",
        query=ChatQuery,
        headers=_LAST_EVENT_ID,
        replies={200: _STREAMED, 204: _RECONNECTED},
        errors=("not_acceptable", *GET_ERRORS),
    ),
    ("chat", "POST"): _own(
        summary="Answers in one JSON object.",
        body=ChatBody,
        example=_QUESTION,
        replies={200: Reply("The complete answer.", _WHOLE)},
        errors=("not_acceptable", *POST_ERRORS),
    ),
    ("chat", "GET"): _own(
        summary="Answers a query in one JSON object.",
        description="Refused to prefetches, and to pages of other sites that `CHAT_ORIGINS` does not name.",
        query=ChatQuery,
        replies={200: Reply("The complete answer.", _WHOLE)},
        errors=("not_acceptable", *GET_ERRORS),
    ),
    ("models", "GET"): _own(
        summary="The models that a request may name, and the limits of a request.",
        replies={200: Reply("Their list, the default, and the limits.", {"application/json": reference("Offer")})},
        errors=("forbidden", *HOST),
    ),
    ("openai.completions", "POST"): _openai(
        summary="OpenAI's chat completions.",
        description="With `stream: true` as server-sent events, the last of which is `[DONE]`, or an error.",
        body=CompletionBody,
        example=_COMPLETION,
        replies={200: Reply("The answer.", {WHOLE: reference("Completion"), SSE.media_type: reference("ChunkEvent")})},
        errors=POST_ERRORS,
    ),
    ("openai.models", "GET"): _openai(
        summary="The models that a request may name.",
        replies={200: Reply("Their list.", {"application/json": reference("ModelList")})},
        errors=("forbidden", *HOST),
    ),
    ("openai.model", "GET"): _openai(
        summary="One model that a request may name.",
        replies={200: Reply("The model.", {"application/json": reference("ModelCard")})},
        errors=("model_not_found", "forbidden", *HOST),
    ),
    ("ai_sdk.ui", "POST"): _ai_sdk(
        summary="The UI message stream, version 1.",
        description="The last event is `[DONE]`, after a failure too, which `error` and `finish` report before it.",
        body=UIBody,
        example=_UI,
        replies={200: Reply("The streamed answer.", {SSE.media_type: reference("UIMessageChunkEvent")})},
        errors=POST_ERRORS,
    ),
    ("ai_sdk.resume", "GET"): _ai_sdk(
        summary="Asks for an answer that is still open.",
        replies={204: Reply("No answer is open, because an answer ends with its connection.")},
        errors=("forbidden", *HOST),
    ),
    ("page", "GET"): _public(summary="The page to chat on.", replies={200: Reply("The page.", _PAGE)}),
    ("static", "GET"): _public(summary="A file of the page.", **_FILES),
    ("openapi", "GET"): _about(
        summary="This document.",
        replies={200: Reply("OpenAPI 3.1.", {"application/json": {"type": "object"}})},
    ),
    ("docs", "GET"): _about(summary="This document as a page.", replies={200: Reply("The page.", _PAGE)}),
    ("viewer_file", "GET"): Operation(tag="pages", summary="A file of the page of this document.", **_FILES),
}
