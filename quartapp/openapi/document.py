"""The OpenAPI document of one registration of a blueprint. quart-schema builds it and does not change the host app."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from pydantic import BaseModel
from quart import Quart
from quart_schema import Info, OpenAPIProvider, QuartSchema, Tag, hide
from werkzeug.routing import Rule

from quartapp.core.errors import ERROR_KINDS
from quartapp.openapi.schemas import Json, code_schema, reference, sentences
from quartapp.routes.protocol import ErrorForm, Operation, Protocol, Reply

# In a link into the page, which may name an operation, an underscore is read as a space.
_SPACES = re.compile(r"[._]")

#: The version of the wire contract, not of the package.
VERSION = "1"

_REQUEST_ID = {"description": "The id of the request, which the log contains too.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds to wait, if known.", "schema": {"type": "string"}}


class ErrorDetail(Struct):
    """The reason of a refusal: a code, its fixed sentence, the id of the request. `path` names the invalid field."""

    code: str
    message: str
    id: str
    path: str | UnsetType = UNSET
    retry_after_s: int | UnsetType = UNSET


class Error(Struct):
    """A refusal by the native routes."""

    error: ErrorDetail


def describe(app: Quart, prefix: str, protocols: Sequence[Protocol], *, is_guarded: bool) -> Json:
    """Return the document of the views of `app` whose endpoints begin with `prefix`, for example "team.chat.".

    If `is_guarded`, clients that are not authenticated are refused.
    """
    # QuartSchema does not get the app, because it would replace the JSON provider and the test client of the host app.
    schema = QuartSchema(
        None,
        info=Info(title="quartapp", version=VERSION, description="Streaming chat: one answer, every wire format."),
        tags=[Tag(name=protocol.tag, description=protocol.description) for protocol in protocols],
    )
    return _Provider(app, schema, prefix, protocols, is_guarded=is_guarded).schema()


def hidden(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return `view` with the mark that hides it from the document that the host app's quart-schema builds.

    The mark is an attribute, and a bound method cannot have one, so the view is wrapped.
    """
    return hide(update_wrapper(partial(view), view))


class _Provider(OpenAPIProvider):
    """A provider of the paths of our own rules, with each method as a protocol describes it."""

    def __init__(
        self, app: Quart, extension: QuartSchema, prefix: str, protocols: Sequence[Protocol], *, is_guarded: bool
    ) -> None:
        super().__init__(app, extension)
        self._prefix = prefix
        self._protocols = protocols
        self._rows = {key: (protocol, each) for protocol in protocols for key, each in protocol.operations.items()}
        self._is_guarded = is_guarded

    def schema(self) -> Json:
        document = super().schema()
        document["components"]["schemas"] = _components(self._protocols)
        return document

    def generate_rules(self) -> Iterable[Rule]:
        order = list(dict.fromkeys(name for name, _ in self._rows))
        ours = [rule for rule in self._app.url_map.iter_rules() if self._name(rule) in order]
        return sorted(ours, key=lambda rule: order.index(self._name(rule)))

    def generate_methods(self, rule: Rule) -> Iterable[str]:
        return [method for name, method in self._rows if name == self._name(rule)]

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        paths, _ = super().build_paths(rule)
        name = self._name(rule)
        for methods in paths.values():
            for method, built in methods.items():
                described = self._describe(*self._rows[name, method.upper()], built["parameters"])
                methods[method] = {"operationId": f"{method}-{_SPACES.sub('-', name)}", **described}
        return paths, {}

    def _name(self, rule: Rule) -> str:
        return rule.endpoint.removeprefix(self._prefix) if rule.endpoint.startswith(self._prefix) else ""

    def _describe(self, protocol: Protocol, operation: Operation, path_parameters: list[Json]) -> Json:
        codes = (*operation.errors, *(("unauthorized",) if self._is_guarded and operation.is_guarded else ()))
        replies = {**operation.replies, **_refusals(protocol.error_form, codes)}
        own = _own_refusal(protocol.error_form) if operation.is_guarded and "internal_error" in codes else {}
        body = {} if operation.body is None else {"requestBody": _body(operation.body, operation.example)}
        return {
            "summary": operation.summary,
            "description": operation.description or operation.summary,
            "tags": [protocol.tag],
            "parameters": [*path_parameters, *_query(operation.query), *_headers(operation.headers)],
            "responses": {str(status): _reply(status, reply) for status, reply in sorted(replies.items())} | own,
            **body,
        }


def _components(protocols: Sequence[Protocol]) -> Json:
    """Return the components of all protocols by name."""
    unions = {name: union for protocol in protocols for name, union in protocol.unions.items()}
    bodies = [Error, *(body for protocol in protocols for body in protocol.bodies)]
    schemas, named = msgspec.json.schema_components(
        (*unions.values(), *bodies), ref_template="#/components/schemas/{name}"
    )
    for schema in named.values():
        for name, field in schema.get("properties", {}).items():
            # Responses omit optional fields, but msgspec describes what it would parse.
            schema["properties"][name] = _without_null(field) if field.get("default", ...) is None else field
    found = {**named, **dict(zip(unions, schemas, strict=False))}
    for protocol in protocols:
        found |= protocol.events
        for operation in protocol.operations.values():
            found |= {} if operation.body is None else _request_components(operation.body)
    return dict(sorted(found.items()))


def _request_components(model: type[BaseModel]) -> Json:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _refusals(form: ErrorForm, codes: Iterable[str]) -> dict[int, Reply]:
    """Return the errors by status. The description of an error lists its codes."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(form.status(code), []).append(code)
    return {status: Reply(_list(form, each), _error_content(form, each)) for status, each in by_status.items()}


def _own_refusal(form: ErrorForm) -> Json:
    """Return the response with an error of the host app, for each other status."""
    reply = Reply("An error with a code of the host app.", _error_content(form, ()))
    return {"default": _reply(503, reply)}


def _list(form: ErrorForm, codes: Iterable[str]) -> str:
    return "\n".join(f"- `{form.name(code)}`: {ERROR_KINDS[code].message}" for code in codes)


def _error_content(form: ErrorForm, codes: Collection[str]) -> Mapping[str, Json]:
    if form.component is None:
        return {"text/plain": sentences(codes)}
    narrowed = {"properties": {"error": {"properties": {"code": code_schema(codes, form.name)}}}}
    return {"application/json": {"allOf": [reference(form.component), narrowed]}}


def _body(model: type[BaseModel], example: Json) -> Json:
    content = {"schema": reference(model.__name__), "example": example}
    return {"required": True, "content": {"application/json": content}}


def _query(model: type[BaseModel] | None) -> list[Json]:
    if model is None:
        return []
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(field)}
        for name, field in schema["properties"].items()
    ]


def _without_null(field: Json) -> Json:
    """Return the schema of an optional field without null, because a query and a response cannot contain null."""
    kinds = [kind for kind in field.get("anyOf", [field]) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _headers(headers: Mapping[str, str]) -> list[Json]:
    return [
        {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}
        for name, description in headers.items()
    ]


def _reply(status: int, reply: Reply) -> Json:
    headers = {"X-Request-ID": _REQUEST_ID} | ({"Retry-After": _RETRY_AFTER} if status in (429, 502, 503) else {})
    response: Json = {"description": reply.description, "headers": headers}
    if reply.content:
        response["content"] = {media_type: {"schema": schema} for media_type, schema in reply.content.items()}
    return response
