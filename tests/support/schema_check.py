"""Checks the replies of the routes against the document that they serve."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

Json = dict[str, Any]

#: An upstream may put more into its chunks than we know, and so into what is merged of them.
OPEN = frozenset(
    {"Chunk", "ChunkChoice", "Completion", "CompletionChoice", "CompletionMessage", "CompletionToolCall", "Function"}
)
#: Any refusal, for what the document does not have: other paths, other methods.
REFUSAL = {"anyOf": [{"$ref": "#/components/schemas/Error"}, {"$ref": "#/components/schemas/OpenAIError"}]}


@cache
def document() -> Json:
    """The document of a blueprint without a prefix that asks who asks, so that 401 is in it."""
    # Not before the tests' environment is clean, which it is not yet when this module is imported.
    from quartapp import create_app
    from quartapp.blueprint import PROTOCOLS
    from quartapp.openapi.document import describe

    return describe(create_app(), "chat.", PROTOCOLS, is_guarded=True)


def hold_to_schema(
    method: str,
    path: str,
    status: int,
    content_type: str,
    body: bytes,
    *,
    is_whole: bool = True,
    prefix: str = "",
) -> None:
    """Raises AssertionError for a status, a content type or a body that the document does not have.

    `path` is without its query. Of a body that is not whole, cut off somewhere, only what is complete in it counts.
    """
    said = f"{method} {path} answered {status}"
    operation = _operation(method, path.removeprefix(prefix))
    if operation is None or (method == "HEAD" and status == 405):
        assert status in ((200, 204) if method == "OPTIONS" else (404, 405)), f"{said}, and is not in the document"
        told: Json = {"application/json": {"schema": REFUSAL}, "text/plain": {"schema": {"type": "string"}}}
    else:
        described = operation["responses"]
        fallback = described.get("default") if status >= 400 else None
        found_reply = described.get(str(status), fallback)
        assert found_reply is not None, f"{said}, which is not in the document"
        told = found_reply.get("content", {})
    if body:
        media_type = content_type.partition(";")[0].strip().lower()
        found = told.get(media_type, told.get("*/*"))
        assert found is not None, f"{said} as {content_type!r}, which is not in the document"
        check_body(media_type, body, found.get("schema", {}), is_whole=is_whole)


def check_body(media_type: str, body: bytes, schema: Json, *, is_whole: bool = True) -> None:
    """Raises AssertionError for what `schema` does not have; it is that of one event, or line, of a stream."""
    validator = _validator(json.dumps(schema))
    for value in _values(media_type, body, is_whole):
        for error in validator.iter_errors(value):
            raise AssertionError(f"{error.message} at {error.instance_path} of {value!r}")


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": {"schemas": _closed()}})


def _values(media_type: str, body: bytes, is_whole: bool) -> Iterator[Any]:
    if media_type == "text/event-stream":
        yield from map(_with_json, events(body.decode(errors="strict" if is_whole else "replace"), is_whole))
    elif media_type == "application/x-ndjson":
        *lines, rest = body.split(b"\n")
        assert not (is_whole and rest), f"the last line has no end: {rest!r}"
        yield from map(_strict_json, lines)
    elif media_type == "application/json":
        if is_whole:
            yield _strict_json(body)
    elif media_type.startswith("text/"):
        yield body.decode(errors="strict" if is_whole else "replace")


def events(text: str, is_whole: bool = True) -> Iterator[Mapping[str, str]]:
    """The events of a stream, by the rules of the HTML standard; `id` only where an event has one of its own."""
    *blocks, rest = re.split(r"(?:\r\n|\r(?!\n)|\n){2}", text)
    assert not (is_whole and rest), f"the last event has no end: {rest!r}"
    for block in blocks:
        fields: dict[str, str] = {"event": "message"}
        for line in re.split(r"\r\n|\r|\n", block):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            assert name in ("", "id", "event", "data"), f"no field of an event: {line!r}"
            if name == "data" and "data" in fields:
                value = f"{fields['data']}\n{value}"
            if name:
                fields[name] = value
        if "data" in fields:
            yield fields


def _strict_json(text: str | bytes) -> Any:
    return json.loads(text.decode() if isinstance(text, bytes) else text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def _with_json(event: Mapping[str, str]) -> Json:
    """An event with its data read, unless that is no JSON, as `[DONE]` is none."""
    try:
        return {**event, "data": _strict_json(event["data"])}
    except ValueError:
        return dict(event)


def _with_json_read(schema: Any) -> Any:
    """The schema of what `_with_json` makes: a text that holds JSON gives way to that JSON, `contentSchema`."""
    if isinstance(schema, list):
        return [_with_json_read(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return schema.get("contentSchema") or {name: _with_json_read(each) for name, each in schema.items()}


@cache
def _closed() -> Json:
    """The components with nothing allowed in them that they do not name, so that no field slips out unnoticed."""
    schemas: Json = _with_json_read(document()["components"]["schemas"])
    return {
        name: {**schema, "additionalProperties": False} if _can_close(name, schema) else schema
        for name, schema in schemas.items()
    }


def _can_close(name: str, schema: Json) -> bool:
    return schema.get("type") == "object" and name not in OPEN and "additionalProperties" not in schema


def _operation(method: str, path: str) -> Json | None:
    """What the document says of `method` at `path`; a path without parameters counts before one with them."""
    for template in sorted(document()["paths"], key=lambda template: "{" in template):
        pattern = re.sub(r"\\{\w+\\}", "[^?]+", re.escape(template))
        if re.fullmatch(pattern, path):
            operation: Json | None = document()["paths"][template].get("get" if method == "HEAD" else method.lower())
            return operation
    return None
