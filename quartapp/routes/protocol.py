"""The types by which a protocol describes itself: its routes, its errors, and its part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from quart import Response

from quartapp.core.errors import ERROR_KINDS
from quartapp.core.request import JsonObject
from quartapp.routes.replies import Render, render


class Reply(NamedTuple):
    """A response with one status. `content` has a schema for each media type."""

    description: str
    content: Mapping[str, JsonObject] = {}


class ErrorForm(NamedTuple):
    """The form of errors: a JSON `component` of the OpenAPI document, or the sentence in text/plain if it is None.

    `statuses` replaces statuses, and `names` replaces codes. If the `error` of the component is an object, its `code`
    is such a name.
    """

    component: str | None
    statuses: Mapping[int, int] = {}
    names: Mapping[str, str] = {}

    def status(self, code: str) -> int:
        return self.statuses.get(ERROR_KINDS[code].status, ERROR_KINDS[code].status)

    def name(self, code: str) -> str:
        """Return the name of our `code` in this protocol."""
        return self.names.get(code, code)


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
    example: JsonObject = field(default_factory=dict)
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    is_guarded: bool = True


class Route(NamedTuple):
    """A path, its view, and its operations by method; for example `Route("/models", models, {"GET": Operation(…)})`.

    The view takes the RouteContext and the parameters of the path. Its name is the name of the endpoint. GET has HEAD
    too, unless `has_head` is false.
    """

    path: str
    view: Callable[..., Awaitable[Response]]
    operations: Mapping[str, Operation]
    has_head: bool = True

    @property
    def name(self) -> str:
        return self.view.__name__

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the allowed methods in alphabetical order, without OPTIONS."""
        head = ["HEAD"] if "GET" in self.operations and self.has_head else []
        return tuple(sorted([*self.operations, *head]))


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One protocol of clients.

    With a `name`, its routes are below `prefix` in a nested blueprint of that name, with errors by `render`. Otherwise
    they belong to the blueprint of the chat. `bodies` and the members of `unions` are msgspec types, and become
    components of the OpenAPI document. `events` are the schemas of server-sent events.
    """

    tag: str
    description: str
    routes: tuple[Route, ...]
    name: str = ""
    prefix: str = ""
    render: Render = render
    error_form: ErrorForm = NATIVE_ERRORS
    bodies: tuple[type, ...] = ()
    unions: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, JsonObject] = field(default_factory=dict)

    @property
    def operations(self) -> Mapping[tuple[str, str], Operation]:
        """Return the operations by the endpoint of the route, relative to the chat's blueprint, and by method."""
        start = f"{self.name}." if self.name else ""
        return {
            (start + route.name, method): operation
            for route in self.routes
            for method, operation in route.operations.items()
        }


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
