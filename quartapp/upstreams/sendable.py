"""Checks of an entry's headers and parameters: HTTP and JSON can carry them, and they contain no key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import PydanticCustomError

from quartapp.protocols.common.documents import JsonObject
from quartapp.settings.loader import is_unicode

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2

# Endings of the names of headers that carry a key, and beginnings of keys.
_KEY_NAME: Final = re.compile(r"(auth|authorization|cookie|credentials?|key|password|secret|token)$", re.IGNORECASE)
_KEY_VALUE: Final = re.compile(r"\s*((bearer|basic)\s|sk-)", re.IGNORECASE)

# Headers of the connection and of the body. The transport sets them.
_OUR_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# Fields that this package sets; an entry cannot override them.
_OUR_PARAMS: Final = frozenset({"model", "messages", "input", "stream", "n"})

# Python's default limit for converting an int to text.
_MAX_DIGITS: Final = 4300
_MAX_INT: Final = 10**_MAX_DIGITS

_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return `headers` if HTTP can carry them. Raises PydanticCustomError with the place of the fault."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise _fault("the name of a header has letters, digits and hyphens")  # not shown, because it may hold a key
        if name.lower() in _OUR_HEADERS:
            raise _fault("belongs to the connection, and is not to be set", name)
        if _KEY_NAME.search(name) or _KEY_VALUE.match(value):
            raise _fault("carries a key, which goes into the variable that key_env names", name)
        if not (value.isascii() and value.isprintable()):
            raise _fault("the value of a header is plain text of one line", name)
    if len({name.lower() for name in headers}) < len(headers):
        raise _fault("the same header twice")
    return headers


def check_params(params: JsonObject) -> JsonObject:
    """Return `params` if JSON can carry them. Raises PydanticCustomError with the place of the fault."""
    if not _OUR_PARAMS.isdisjoint(params):
        raise _fault("model, messages, input, stream and n are not parameters")
    for fault in _json_faults(params, ()):
        raise fault
    for name in _LIMITS:
        limit = params.get(name, 1)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise _fault("a limit of tokens is a whole number, and at least 1", name)
    return params


def check_allow(names: list[str]) -> list[str]:
    """Return `names` if clients may send these parameters. Raises PydanticCustomError with the place of the fault."""
    for index, name in enumerate(names):
        if name in _OUR_PARAMS or name in _LIMITS or name == "stream_options":
            raise _fault("a parameter of the chat itself, which clients send in its documented form", str(index))
    return names


def check_response_params(params: JsonObject) -> None:
    """Raise PydanticCustomError for parameters that have no form in the Responses API."""
    for name in ("text", "reasoning"):
        if not isinstance(params.get(name, {}), dict):
            raise _fault("should be a table", "params", name)
    tools = params.get("tools", [])
    if not isinstance(tools, list):
        raise _fault("should be a list", "params", "tools")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("function") or {}, dict):
            raise _fault("a tool is a table, and its function is one", "params", "tools", str(index))


def _json_faults(value: Any, place: tuple[str, ...]) -> Iterator[PydanticCustomError]:
    match value:
        case dict() if not all(isinstance(name, str) and is_unicode(name) for name in value):
            yield _fault("a name that is not text in Unicode", *place)  # not shown, because it may hold a key
        case dict():
            for name, each in value.items():
                yield from _json_faults(each, (*place, name))
        case list():
            for index, each in enumerate(value):
                yield from _json_faults(each, (*place, str(index)))
        case _:
            words = _value_fault(value)
            if words is not None:
                yield _fault(words, *place)


def _value_fault(value: Any) -> str | None:
    match value:
        case float() if not math.isfinite(value):
            return "not a finite number"
        case int() if abs(value) >= _MAX_INT:
            return f"a number of more than {_MAX_DIGITS} digits"
        case str() if not is_unicode(value):
            return "half of a character"
        case None | str() | bool() | int() | float():
            return None
        case _:
            return "not a value of JSON, a date or a time goes in quotes"


def _fault(words: str, *place: str) -> PydanticCustomError:
    """Return a fault at a place below the checked field."""
    return PydanticCustomError("unsendable", "{words}", {"words": words, "place": place})
