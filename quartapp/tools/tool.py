"""A tool in Python: a typed function of the host app, with the JSON schema of its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import UnionType
from typing import Annotated, Any, Final, NotRequired, Union, get_args, get_origin, get_type_hints

import pydantic_core
from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from quartapp.core.events import ToolCall
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest, JsonObject

#: Returns whether a tool is offered to a principal, which is None without authentication. Sync or async.
Allow = Callable[[Any], Any]

#: Returns whether a call needs the approval of the user. It has the parameters of the tool.
NeedsApproval = bool | Callable[..., bool]

#: The names of functions that OpenAI's API accepts.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: The values of the parameters that are no arguments, by their types.
Context = Mapping[type, Any]

_CONTEXT_TYPES: Final = (Principal, ChatRequest, ToolCall)

#: The types of defaults in the schema.
_SHOWN: Final = (str, int, float, bool, type(None))

_NO_VALUES: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ToolError(Exception):
    """An error in a tool whose text goes to the model, so that it can call the tool otherwise or explain the error.

    The text of other exceptions is only in the log, because it may contain secrets.

    >>> str(ToolError("There is no city of that name. Ask the user for one nearby."))
    'There is no city of that name. Ask the user for one nearby.'
    """


class ToolOptions(TypedDict, total=False):
    """The options of `Chat.tool`, as PythonTool takes them."""

    name: str
    description: str
    allow: Allow
    needs_approval: NeedsApproval
    timeout_s: float


class PythonTool:
    """A function that a model may call, with its `name`, and its `definition` in OpenAI's form.

    If `timeout_s` is None, the setting CHAT_TOOL_TIMEOUT_S applies. `allow` decides to whom the tool is offered. If it
    `needs_principal`, a parameter is a Principal, not Principal or None, and it is offered to users alone.

    Parameters with the type Principal, ChatRequest or ToolCall are not part of the schema: they get the user, the
    request and the call.
    Raises TypeError for a function without types or with `yield`, and ValueError for a name that models cannot use.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        allow: Allow | None = None,
        needs_approval: NeedsApproval = False,
        timeout_s: float | None = None,
    ) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", ""))
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"tool {self.name}: a tool returns its result, and this function yields")
        if inspect.iscoroutinefunction(needs_approval):
            raise TypeError(f"tool {self.name}: needs_approval is True, False or a sync function, not an async one")
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"tool: {self.name!r} is no name for models: up to 64 letters, digits, _ and -; set name=")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"tool {self.name}: timeout_s is above 0, for example 30")
        self.allow = allow
        self.needs_approval = needs_approval
        self.timeout_s = timeout_s
        parameters = dict(_parameters(function, self.name))
        self._contexts = _contexts({each: kind for each, (kind, _) in parameters.items()})
        self._approval_contexts = _contexts(_hints(needs_approval)) if callable(needs_approval) else {}
        self.needs_principal = any(kind is Principal for kind, _ in parameters.values())
        documented = _Documentation(function)
        self._adapter = _adapter(self.name, parameters, self._contexts, documented.parameters)
        self.definition: JsonObject = {
            "type": "function",
            "function": {
                "name": self.name,
                "description": description or documented.text,
                "parameters": _schema(self._adapter),
            },
        }

    def arguments(self, text: str) -> dict[str, Any]:
        """Return the validated arguments in the JSON that a model wrote. Raises ToolError with each fault."""
        try:
            return dict(self._adapter.validate_json(text or "{}"))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            raise ToolError("Invalid arguments. " + " ".join(map(_fault, faults[:10]))) from None

    def waits_for_approval(self, arguments: Mapping[str, Any], context: Context) -> bool:
        """Return whether a call with these `arguments` needs the approval of the user."""
        needs = self.needs_approval
        if not callable(needs):
            return needs
        return bool(needs(**arguments, **{name: context[kind] for name, kind in self._approval_contexts.items()}))

    def bound(self, arguments: Mapping[str, Any], context: Context) -> Callable[[], Any]:
        """Return the function with its arguments, and with the values of its other parameters."""
        return partial(self.function, **arguments, **{name: context[kind] for name, kind in self._contexts.items()})


def to_text(result: Any) -> str:
    """Return the result of a tool as text for the model: a str unchanged, any other value as JSON.

    NaN and Infinity become strings. Raises TypeError for an iterator, which may never end, and
    PydanticSerializationError for any other value that is not JSON.
    """
    if isinstance(result, Iterator):
        raise TypeError(f"a tool returned {type(result).__qualname__}; it returns a list of the values")
    return result if isinstance(result, str) else pydantic_core.to_json(result, inf_nan_mode="strings").decode()


# -- the schema


def _parameters(function: Callable[..., Any], name: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield each parameter with its type and its default. Raises TypeError for one without a type."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise TypeError(f"tool {name}: a type cannot be read: {error}; define it at the top of its module") from error
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in _NO_VALUES:
            raise TypeError(f"tool {name}: {parameter} cannot be given by name, as models do")
        if parameter.name not in hints:
            raise TypeError(f"tool {name}: {parameter.name} needs a type, for example {parameter.name}: str")
        yield parameter.name, (hints[parameter.name], parameter.default)


def _contexts(hints: Mapping[str, Any]) -> dict[str, type]:
    """Return the parameters that are no arguments, with their types. They may be optional."""
    found = {name: _context_type(kind) for name, kind in hints.items() if name != "return"}
    return {name: kind for name, kind in found.items() if kind is not None}


def _context_type(kind: Any) -> type | None:
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((each for each in _CONTEXT_TYPES if each in parts), None)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters, or none if they cannot be read, for example those of a partial."""
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return {}


class _Documentation:
    """The text of a docstring, and the descriptions of the parameters in it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        import docstring_parser  # only projects with tools need it

        parsed = docstring_parser.parse(inspect.getdoc(function) or "")
        self.text = (parsed.description or "").strip()
        self.parameters = {each.arg_name: each.description or "" for each in parsed.params}


def _adapter(
    name: str, parameters: Mapping[str, tuple[Any, Any]], contexts: Collection[str], descriptions: Mapping[str, str]
) -> TypeAdapter[dict[str, Any]]:
    """Return the validator of the arguments. Missing ones are left out, because the function has the defaults."""
    fields: dict[str, Any] = {}
    for each, (kind, default) in parameters.items():
        if each in contexts:
            continue
        shown: JsonObject = {"default": default} if isinstance(default, _SHOWN) else {}
        kind = Annotated[kind, Field(description=descriptions.get(each) or None, json_schema_extra=shown)]
        fields[each] = kind if default is inspect.Parameter.empty else NotRequired[kind]
    make: Any = TypedDict
    try:
        return TypeAdapter(with_config(ConfigDict(extra="forbid"))(make("arguments", fields)))
    except PydanticUserError as error:
        raise TypeError(f"tool {name}: {error.message}") from error


def _schema(adapter: TypeAdapter[dict[str, Any]]) -> JsonObject:
    """Return the schema of the arguments without the titles, which models do not need."""
    schema = adapter.json_schema()
    schema.pop("title", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    return {"type": "object", "properties": {}, **schema}


def _fault(fault: Mapping[str, Any]) -> str:
    place = ".".join(map(str, fault["loc"]))
    return f"{place}: {fault['msg']}." if place else f"{fault['msg']}."
