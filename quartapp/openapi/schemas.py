"""JSON Schema of references, error sentences and server-sent events."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from quartapp.core.errors import ERROR_KINDS, NAMED_SENTENCES

Json = dict[str, Any]


def reference(name: str) -> Json:
    """Return a reference to the component of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def sentences(codes: Collection[str]) -> Json:
    """Return the schema of an error sentence: fixed, or with the name of the invalid field."""
    fixed = {"type": "string", "enum": [ERROR_KINDS[code].message for code in codes]}
    named = [{"type": "string", "pattern": pattern} for code, pattern in NAMED_SENTENCES.items() if code in codes]
    return {"anyOf": [fixed, *named]} if named else fixed


def event_schema(*names: str, data: Json) -> Json:
    """Return the schema of one server-sent event, as an `EventSource` passes it to the page.

    It is of one event, because OpenAPI 3.1 cannot describe a stream.
    """
    event = {"enum": list(names or ("message",))}
    return {
        "type": "object",
        "properties": {"event": event, "id": {"const": "0"}, "data": data},
        "required": ["data"],
    }


def json_text(schema: Json) -> Json:
    """Return the schema of a string that contains JSON of `schema`."""
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
