"""Parsers of strict JSON, and checks of a document against its model."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from quartapp.core.errors import ChatError, Reason
from quartapp.core.request import JsonObject
from quartapp.settings.settings import Settings


class Strict(BaseModel):
    """A document that accepts only known fields, and converts no types."""

    model_config = ConfigDict(strict=True, extra="forbid")


Document = TypeVar("Document", bound=Strict)


def parse_document(kind: type[Document], body: bytes, settings: Settings, *, depth_around: int = 0) -> Document:
    """Parse `body` into a document. `depth_around` is the number of levels that the protocol adds around client JSON.

    Raises ChatError: bad_request, too_deep, too_large, invalid_request.
    """
    document = parse_json(body, settings.max_json_depth + depth_around, settings.max_json_values)
    if not isinstance(document, dict):
        raise ChatError("invalid_request", path="")
    messages = document.get("messages")
    if isinstance(messages, list) and len(messages) > settings.max_messages:
        raise ChatError("too_large", path="messages")
    return check_document(kind, document)


def check_document(kind: type[Document], document: JsonObject) -> Document:
    """Return `document` as an instance of `kind`. Raises ChatError: invalid_request."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = _first_fault(error.errors(include_url=False, include_input=False, include_context=False))
        raise ChatError("invalid_request", path=_path(first), reason=_REASONS.get(first["type"], "invalid")) from None


def safe_path(path: str) -> str:
    """Return at most 100 characters of `path`, all of them safe, because a client chooses names of unknown fields."""
    return _UNSAFE.sub("?", path)[:100]


def parse_json(body: bytes, max_depth: int, max_values: int) -> Any:
    """Parse `body` as strict JSON: UTF-8 without a BOM, no NaN or infinity, no lone surrogate, within the limits.

    Raises ChatError: bad_request, too_deep, too_large.
    """
    try:
        document = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings=False)
    except ValueError as error:
        # The recursion limit of the parser (200) is above any max_json_depth.
        raise ChatError("too_deep" if "recursion limit" in str(error) else "bad_request") from None
    _check_tree(document, max_depth, max_values)
    return document


def _check_tree(document: Any, max_depth: int, max_values: int) -> None:
    """Check the depth and the number of values, level by level.

    Values are counted first, because many of them cost more to check than to send.
    """
    level, count = [document], 0
    for depth in itertools.count():
        count += len(level)
        if count > max_values:
            raise ChatError("too_large", path="")
        if not all(map(math.isfinite, [value for value in level if isinstance(value, float)])):
            raise ChatError("bad_request")  # 1e999 is valid JSON
        nested = [value for value in level if isinstance(value, dict | list)]
        if not nested:
            return
        if depth == max_depth:
            raise ChatError("too_deep")
        level = [item for value in nested for item in (value.values() if isinstance(value, dict) else value)]


def _path(first: ErrorDetails) -> str:
    """Return the path of a fault, for example `messages.0.role`."""
    if first["type"] == "extra_forbidden":
        parts = [*_own_parts(first["loc"][:-1]), first["loc"][-1]]
    else:
        parts = _own_parts(first["loc"])
    if first["type"] in _UNKNOWN_TAG:
        parts.append("type")
    return safe_path(".".join(map(str, parts)))


def _first_fault(faults: list[ErrorDetails]) -> ErrorDetails:
    """Return the first fault. In a union, return the first fault of the branch that matched most levels."""
    first = faults[0]["loc"]
    at = next((index for index, part in enumerate(first) if _UNION_BRANCH.match(str(part))), None)
    if at is None:
        return faults[0]
    tried = [fault for fault in faults if fault["loc"][:at] == first[:at] and len(fault["loc"]) > at]
    furthest = max(tried, key=lambda fault: len(fault["loc"]))["loc"][at]
    return next(fault for fault in tried if fault["loc"][at] == furthest)


def _own_parts(loc: Sequence[int | str]) -> list[int | str]:
    """Return the parts of a path that are in the document, without branches of unions and tags in lists."""
    parts: list[int | str] = []
    tag_at = -1
    for index, part in enumerate(loc):
        if _UNION_BRANCH.match(str(part)):
            tag_at = index + 2 if _TAGGED_LIST.match(str(part)) else tag_at
        elif index != tag_at:
            parts.append(part)
    return parts


# pydantic adds the branch of a union to the path, for example `constrained-str` or `Typed`.
_UNION_BRANCH = re.compile(r"str$|bool$|constrained-|list\[|dict\[|literal\[|Typed$")
# Inside such a branch it adds the index of the item, and then the tag that selected its kind.
_TAGGED_LIST = re.compile(r"list\[tagged-union\[")
_REASONS: Mapping[str, Reason] = {"extra_forbidden": "unknown", "missing": "missing"}
_UNKNOWN_TAG = ("union_tag_invalid", "union_tag_not_found")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
