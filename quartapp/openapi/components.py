"""The JSON Schema components of the document: every record, request and error by its name."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType
from pydantic import BaseModel

from quartapp.core.errors import KINDS
from quartapp.openapi.operations import Section
from quartapp.openapi.schemas import Json


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


def components(sections: Sequence[Section]) -> Json:
    """Return the components of all sections by name."""
    unions = {name: union for section in sections for name, union in section.unions.items()}
    bodies = [Error, *(body for section in sections for body in section.bodies)]
    schemas, named = msgspec.json.schema_components(
        (*unions.values(), *bodies), ref_template="#/components/schemas/{name}"
    )
    for schema in named.values():
        _without_nulls(schema)
    found = {**named, **dict(zip(unions, schemas, strict=False))}
    named["Failed"]["properties"]["code"] = {"type": "string", "enum": list(KINDS)}
    for section in sections:
        found |= section.events
        for operation in section.operations.values():
            found |= {} if operation.body is None else _request_components(operation.body)
    return dict(sorted(found.items()))


def _without_nulls(schema: Json) -> None:
    """Remove null from optional fields: responses omit such fields, but msgspec describes what it would parse."""
    for name, field in schema.get("properties", {}).items():
        if "anyOf" in field and field.get("default", ...) is None:
            (schema["properties"][name],) = (kind for kind in field["anyOf"] if kind != {"type": "null"})


def _request_components(model: type[BaseModel]) -> Json:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}
