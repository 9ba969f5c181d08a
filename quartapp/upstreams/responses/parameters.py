"""Chat completions' parameters as those of OpenAI's Responses API, and those it has none for."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from quartapp.core.errors import ChatError
from quartapp.protocols.common.documents import JsonObject

# What the API has no parameter for, or nothing in an answer of ours to tell it by, and what asks for none of it.
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


def check_extras_shape(extras: JsonObject) -> None:
    """Raise ChatError, invalid_request, for `text` or `reasoning` of a client that cannot hold further fields."""
    for name in ("text", "reasoning"):
        if not isinstance(extras.get(name, {}), dict):
            raise ChatError("invalid_request", path=name)


def check_params(params: JsonObject, dropped: Container[str]) -> None:
    """Raises ChatError, invalid_request, for what cannot be asked. What is `dropped` is never sent, and may be asked;
    but whoever asks for more answers than one is to get them."""
    for name, nothing in _CANNOT.items():
        if params.get(name, nothing) != nothing and (name not in dropped or name == "n"):
            raise ChatError("invalid_request", path=name, reason="unsupported")
    for index, tool in enumerate(params.get("tools", ())):
        if tool["type"] not in ("function", "custom") and "tools" not in dropped:  # its calls have no place here
            raise ChatError("invalid_request", path=f"tools.{index}.type")


def asked_params(params: JsonObject) -> JsonObject:
    """A client's parameters without those that may be given, and ask for nothing."""
    return {name: value for name, value in params.items() if name not in _CANNOT}


def response_params(params: JsonObject) -> JsonObject:
    """The parameters by the API's own names. Those it has not heard of are an entry's own, and sent as they are."""
    sent = {name: value for name, value in params.items() if name not in _MOVED}
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
    """What is `added` to each, over what an entry says of it in the API's own shape."""
    return {name: {**params.get(name, {}), **fields} for name, fields in added.items() if fields}


def _tool(tool: JsonObject) -> JsonObject:
    """Return a tool in the API's own form, in which its fields stand in the tool itself.

    Functions are strict here unless they say that they are not, and must say what they take.
    """
    match tool:
        case {"type": "function", "function": dict(function)}:
            return {"parameters": {"type": "object", "properties": {}}, "strict": False, **function, "type": "function"}
        case {"type": "custom", "custom": dict(custom)}:
            return {**custom, **_custom_format(custom), "type": "custom"}
        case _:
            return tool


def _custom_format(custom: JsonObject) -> JsonObject:
    """Return the format of a custom tool's text, whose grammar stands in the format itself here."""
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
