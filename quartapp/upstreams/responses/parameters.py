"""Parameters of OpenAI's Responses API from those of chat completions, and a check for those without an equivalent."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from quartapp.core.errors import ChatError
from quartapp.core.request import JsonObject, without

# Parameters without an equivalent in the API or in our events, each with the value that requests nothing.
_CANNOT: Final[Mapping[str, Any]] = {
    "n": 1,
    "stop": None,
    "seed": None,
    "logit_bias": {},
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
}

_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_MOVED: Final = frozenset({*_LIMITS, "tools", "tool_choice", "response_format", "verbosity", "reasoning_effort"})


def fault_in_params(params: JsonObject) -> tuple[str, ...] | None:
    """Return a sentence and the path of the first of an entry's `params` without a form in the API, or None."""
    for name in ("text", "reasoning"):
        if not isinstance(params.get(name, {}), dict):
            return "should be a table", name
    tools = params.get("tools", [])
    if not isinstance(tools, list):
        return "should be a list", "tools"
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("function") or {}, dict):
            return "a tool is a table, and its function is one", "tools", str(index)
    return None


def check_extras_shape(extras: JsonObject) -> None:
    """Raise ChatError, invalid_request, for `text` or `reasoning` of a client that is not an object."""
    for name in ("text", "reasoning"):
        if not isinstance(extras.get(name, {}), dict):
            raise ChatError("invalid_request", path=name)


def check_params(params: JsonObject, dropped: Container[str]) -> None:
    """Raise ChatError, invalid_request, for a parameter without an equivalent.

    A `dropped` parameter is never sent, so clients may set it. `n` is the exception, because a client expects `n`
    answers.
    """
    for name, nothing in _CANNOT.items():
        if params.get(name, nothing) != nothing and (name not in dropped or name == "n"):
            raise ChatError("invalid_request", path=name, reason="unsupported")
    for index, tool in enumerate(params.get("tools", ())):
        if tool["type"] not in ("function", "custom") and "tools" not in dropped:  # no event for its calls
            raise ChatError("invalid_request", path=f"tools.{index}.type")


def without_defaults(params: JsonObject) -> JsonObject:
    """Return a client's parameters without those that have no equivalent and request nothing."""
    return without(params, _CANNOT)


def response_params(params: JsonObject) -> JsonObject:
    """Return the parameters by the API's names. Unknown ones come from an entry, and stay unchanged."""
    sent = without(params, _MOVED)
    limits = [params[name] for name in _LIMITS if name in params]
    if limits:
        sent["max_output_tokens"] = min(limits)
    if "tools" in params:
        sent["tools"] = [_tool(tool) for tool in params["tools"]]
    if "tool_choice" in params:
        sent["tool_choice"] = _tool_choice(params["tool_choice"])
    text = _named(params, response_format="format", verbosity="verbosity")
    if "format" in text:
        text["format"] = _format(text["format"])
    reasoning = _named(params, reasoning_effort="effort")
    return sent | _merged(params, text=text, reasoning=reasoning)


def _named(params: JsonObject, **names: str) -> JsonObject:
    return {name: params[given] for given, name in names.items() if given in params}


def _merged(params: JsonObject, **added: JsonObject) -> JsonObject:
    """Return the fields of `added`, merged into the entry's own objects of the same names."""
    return {name: {**params.get(name, {}), **fields} for name, fields in added.items() if fields}


def _tool(tool: JsonObject) -> JsonObject:
    """Return a tool in the API's form, with its fields in the tool itself.

    In the API, functions are strict unless `strict` is false, and need `parameters`.
    """
    match tool:
        case {"type": "function", "function": dict(function)}:
            return {"parameters": {"type": "object", "properties": {}}, "strict": False, **function, "type": "function"}
        case {"type": "custom", "custom": dict(custom)}:
            return {**custom, **_custom_format(custom), "type": "custom"}
        case _:
            return tool


def _custom_format(custom: JsonObject) -> JsonObject:
    """Return the format of a custom tool's text. In the API, the grammar's fields are in the format itself."""
    match custom:
        case {"format": {"type": "grammar", "grammar": dict(grammar)}}:
            return {"format": {**grammar, "type": "grammar"}}
        case _:
            return {}


def _tool_choice(choice: str | JsonObject) -> str | JsonObject:
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "function", "name": name}
        case {"type": "custom", "custom": {"name": str(name)}}:
            return {"type": "custom", "name": name}
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*tools]}}:
            return {"type": "allowed_tools", "mode": mode, "tools": [_tool_choice(tool) for tool in tools]}
        case _:
            return choice


def _format(given: JsonObject) -> JsonObject:
    match given:
        case {"type": "json_schema", "json_schema": dict(schema)}:
            return {**schema, "type": "json_schema"}
        case _:
            return given
