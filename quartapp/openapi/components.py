"""The JSON Schema components of the document: every record, request and error by its name."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from quartapp.core.errors import KINDS, NAMED_SENTENCES
from quartapp.core.events import Annotation, Delta, Done, Failed, Image, Ping, Reasoning, Refusal, Start, ToolCall
from quartapp.openapi.bodies import Chunk, Completion, Error, ModelCard, ModelList, OpenAIError
from quartapp.protocols.ai_sdk.request import UIBody
from quartapp.protocols.ai_sdk.types import UIMessageChunk
from quartapp.protocols.chat_completions.request import CompletionBody
from quartapp.protocols.common.offer import Offer
from quartapp.protocols.native.request import ChatBody
from quartapp.protocols.native.whole import WholeAnswer

Json = dict[str, Any]

Record = Start | Delta | Reasoning | Refusal | ToolCall | Annotation | Image | Ping | Done | Failed

_UNIONS: Final[Json] = {"Record": Record, "UIMessageChunk": UIMessageChunk}
_BODIES: Final = (WholeAnswer, Offer, Error, OpenAIError, Chunk, Completion, ModelCard, ModelList)
_REQUESTS: Final[tuple[type[BaseModel], ...]] = (ChatBody, CompletionBody, UIBody)


def reference(name: str) -> Json:
    """Return a reference to the component of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def sentences(codes: Collection[str]) -> Json:
    """Return the schema of an error sentence: fixed, or with the name of the invalid field."""
    fixed = {"type": "string", "enum": [KINDS[code].message for code in codes]}
    named = [{"type": "string", "pattern": pattern} for code, pattern in NAMED_SENTENCES.items() if code in codes]
    return {"anyOf": [fixed, *named]} if named else fixed


@cache
def components() -> Json:
    """Return all components by name. The dict is cached: do not change it."""
    unions, named = msgspec.json.schema_components(
        (*_UNIONS.values(), *_BODIES), ref_template="#/components/schemas/{name}"
    )
    for schema in named.values():
        _without_nulls(schema)
    named["Failed"]["properties"]["code"] = {"type": "string", "enum": list(KINDS)}
    named["WholeAnswer"]["required"].append("text")
    found = {**named, **dict(zip(_UNIONS, unions, strict=False)), **_events()}
    for model in _REQUESTS:
        found |= _request_components(model)
    return dict(sorted(found.items()))


def _without_nulls(schema: Json) -> None:
    """Remove null from optional fields: responses omit such fields, but msgspec describes what it would parse."""
    for name, field in schema.get("properties", {}).items():
        if "anyOf" in field and field.get("default", ...) is None:
            (schema["properties"][name],) = (kind for kind in field["anyOf"] if kind != {"type": "null"})


def _request_components(model: type[BaseModel]) -> Json:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _events() -> Json:
    """Return the schemas of server-sent events, as an `EventSource` passes them to the page.

    Each schema is of one event, because OpenAPI 3.1 cannot describe a stream.
    """
    done = {"const": "[DONE]"}
    return {
        "RecordEvent": _event("start", "message", "ping", "end", data=_json_text(reference("Record"))),
        "ChunkEvent": _event(
            data={"anyOf": [done, _json_text({"anyOf": [reference("OpenAIError"), reference("Chunk")]})]}
        ),
        "UIMessageChunkEvent": _event(data={"anyOf": [done, _json_text(reference("UIMessageChunk"))]}),
    }


def _event(*names: str, data: Json) -> Json:
    event = {"enum": list(names or ("message",))}
    return {
        "type": "object",
        "properties": {"event": event, "id": {"const": "0"}, "data": data},
        "required": ["data"],
    }


def _json_text(schema: Json) -> Json:
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
