"""JSON values through a filter: the arguments and results of tools, sources, and the state of servers."""

from __future__ import annotations

import re
from typing import Any, Final

from quartapp.answer.filter.held_text import TextFunction
from quartapp.core.request import JsonObject
from quartapp.protocols.chat_completions.chunk import text_in
from quartapp.protocols.common.encoding import to_utf8
from quartapp.upstreams.common.lenient_json import parse, to_text

_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def filtered_json(text: str, function: TextFunction) -> str:
    """Return JSON `text` with each string, key and number in it filtered, encoded again.

    A text that is no JSON is filtered as a text. It may be JSON that the model has not finished, so its escapes are
    replaced if the filter finds something behind them.
    """
    try:
        return to_text(filtered_value(parse(to_utf8(text)), function))
    except (ValueError, RecursionError):
        plain = to_utf8(_ESCAPE.sub(_unescaped, text)).decode()
        output = function(plain)
        return function(text) if output == plain else output


def filtered_content(text: str, function: TextFunction) -> str:
    """Return the result of a tool, filtered: as JSON if it is an object or a list, otherwise as a text."""
    return filtered_json(text, function) if text.lstrip()[:1] in ("{", "[") else function(text)


def filtered_value(value: Any, function: TextFunction) -> Any:
    """Return a JSON value with each string, key and number in it filtered. A changed number becomes a string.

    A data URL is unchanged.
    """
    if isinstance(value, str):
        return function(value) if value[:5].lower() != "data:" else value
    if isinstance(value, dict):
        return {function(name): filtered_value(each, function) for name, each in value.items()}
    if isinstance(value, list):
        return [filtered_value(each, function) for each in value]
    if value is None or isinstance(value, bool):
        return value
    text = to_text(value)
    output = function(text)
    return value if output == text else output


def passed_state(state: JsonObject | None, function: TextFunction) -> JsonObject | None:
    """Return `state` of a server, or None if the filter would change it, because only the original is of use."""
    try:
        text = text_in([*(state or {}).values()])  # in several entries, which clients join
        return state if state and function(text) == text and filtered_value(state, function) == state else None
    except RecursionError:
        return None


def _unescaped(escape: re.Match[str]) -> str:
    digits, character = escape.groups()
    return chr(int(digits, 16)) if digits else _ESCAPED.get(character, character)
