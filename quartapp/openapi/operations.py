"""The types that describe the routes of a protocol, the errors of routes, and the section of the pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from quartapp.core.errors import KINDS
from quartapp.openapi.schemas import Json, reference, sentences


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


NATIVE_ERRORS: Final = ErrorForm("Error")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of a route. `example` is an example of the `body`. `errors` are the codes that it may send.

    `unauthorized` is added if the host app authenticates clients. `Accept` is no parameter, because OpenAPI describes
    it by the media types of the replies.
    """

    summary: str
    replies: Mapping[int, Reply]
    description: str = ""
    body: type[BaseModel] | None = None
    example: Json = field(default_factory=dict)
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    is_guarded: bool = True

    def all_replies(self, form: ErrorForm, *, is_guarded: bool) -> dict[int, Reply]:
        """Return the replies and errors by status. The description of an error lists its codes."""
        codes: dict[int, list[str]] = {}
        for code in (*self.errors, *(("unauthorized",) if is_guarded and self.is_guarded else ())):
            codes.setdefault(form.status(code), []).append(code)
        refusals = {status: _refusal(form, each) for status, each in codes.items()}
        return dict(sorted({**self.replies, **refusals}.items()))


def _refusal(form: ErrorForm, codes: list[str]) -> Reply:
    codes_and_sentences = "\n".join(f"- `{form.name(code)}`: {KINDS[code].message}" for code in codes)
    return Reply(codes_and_sentences, form.content(codes))


@dataclass(frozen=True, kw_only=True)
class Section:
    """The part of the document that describes one protocol.

    `operations` has a row for each route and method, by the name of the view in the blueprint. The rows refer to the
    components: `bodies` and the members of `unions` are msgspec types, `events` are schemas of server-sent events.
    """

    tag: str
    description: str
    error_form: ErrorForm = NATIVE_ERRORS
    operations: Mapping[tuple[str, str], Operation]
    bodies: tuple[type, ...] = ()
    unions: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, Json] = field(default_factory=dict)


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

# -- the pages

_FILE: Final[Mapping[str, Json]] = {"*/*": {}}
_PAGE: Final[Mapping[str, Json]] = {"text/html": {"type": "string"}}

_FILES: Final[Mapping[str, Any]] = {
    "replies": {
        200: Reply("The file.", _FILE),
        206: Reply("The part that `Range` requests.", _FILE),
        304: Reply("The copy of the client, which `If-None-Match` names, is current."),
    },
    "errors": ("bad_request", "not_found", "internal_error"),
}

_FAULT: Final = ("internal_error",)

PAGES: Final = Section(
    tag="pages",
    description="Pages, their files, and this document.",
    operations={
        ("page", "GET"): Operation(
            is_guarded=False, errors=_FAULT, summary="The page to chat on.", replies={200: Reply("The page.", _PAGE)}
        ),
        ("static", "GET"): Operation(is_guarded=False, summary="A file of the page.", **_FILES),
        ("openapi", "GET"): Operation(
            errors=_FAULT,
            summary="This document.",
            replies={200: Reply("OpenAPI 3.1.", {"application/json": {"type": "object"}})},
        ),
        ("docs", "GET"): Operation(
            errors=_FAULT, summary="This document as a page.", replies={200: Reply("The page.", _PAGE)}
        ),
        ("viewer_file", "GET"): Operation(summary="A file of the page of this document.", **_FILES),
    },
)
