"""JSON Schema of references, error sentences and server-sent events."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from quartapp.core.errors import CODE_PATTERN, ERROR_KINDS, MAX_MESSAGE_CHARS, NAMED_SENTENCES

Json = dict[str, Any]


def reference(name: str) -> Json:
    """Return a reference to the component of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def code_schema(codes: Collection[str], name: Callable[[str], str]) -> Json:
    """Return the schema of an error code: one of `codes`, or one of the host app. `name` is that of a protocol."""
    listed = list(dict.fromkeys(map(name, codes)))
    return _or_own(listed, {"pattern": CODE_PATTERN, "not": {"enum": sorted(set(map(name, ERROR_KINDS)))}})


def sentences(codes: Collection[str]) -> Json:
    """Return the schema of an error sentence: fixed, with the name of the invalid field, or one of the host app."""
    listed = [{"type": "string", "pattern": pattern} for code, pattern in NAMED_SENTENCES.items() if code in codes]
    ours = [{"pattern": pattern} for pattern in NAMED_SENTENCES.values()]
    fixed = {"enum": [kind.message for kind in ERROR_KINDS.values()]}
    own = {"minLength": 1, "maxLength": MAX_MESSAGE_CHARS, "not": {"anyOf": [fixed, *ours]}}
    schema = _or_own([ERROR_KINDS[code].message for code in codes], own)
    return {"anyOf": [*listed, *schema["anyOf"]]} if listed else schema


def _or_own(listed: list[str], own: Json) -> Json:
    values = [{"type": "string", "enum": listed}] if listed else []
    return {"anyOf": [*values, {"type": "string", **own}]}


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
