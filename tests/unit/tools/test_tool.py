"""The schema of a tool from its function, the validation of arguments, and its results as text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from quartapp import ChatRequest, Principal, ToolCall, ToolError
from quartapp.tools.tool import Context, PythonTool, to_text


class Place(BaseModel):
    city: str
    country: str = "NO"


def forecast(
    place: Place,
    days: Annotated[int, Field(ge=1, le=7)],
    unit: Literal["c", "f"] = "c",
    since: date | None = None,
) -> str:
    """Return the forecast for a place.

    It has a line for each day.

    Args:
        place: The place.
        days: Number of days.
    """
    return f"{place.city} {days} {unit} {since}"


def google(city: str) -> str:
    """Return the weather.

    Args:
        city: Name of the city.
    """
    return city


def numpy(city: str) -> str:
    """Return the weather.

    Parameters
    ----------
    city : str
        Name of the city.
    """
    return city


def sphinx(city: str) -> str:
    """Return the weather.

    :param city: Name of the city.
    """
    return city


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    schema: dict[str, Any] = PythonTool(function).definition["function"]["parameters"]
    return schema


def test_the_schema_has_the_types_the_bounds_and_the_descriptions() -> None:
    tool = PythonTool(forecast)
    assert tool.definition["type"] == "function"
    function = tool.definition["function"]
    assert (function["name"], function["description"]) == (
        "forecast",
        "Return the forecast for a place.\n\nIt has a line for each day.",
    )
    properties = function["parameters"]["properties"]
    assert properties["days"] == {"type": "integer", "minimum": 1, "maximum": 7, "description": "Number of days."}
    assert properties["unit"] == {"type": "string", "enum": ["c", "f"], "default": "c"}
    assert properties["place"]["description"] == "The place."
    assert function["parameters"]["required"] == ["place", "days"]
    assert function["parameters"]["additionalProperties"] is False
    json.dumps(tool.definition)


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_descriptions_come_from_docstrings_of_each_style(function: Callable[..., Any]) -> None:
    tool = PythonTool(function).definition["function"]
    assert tool["description"] == "Return the weather."
    assert tool["parameters"]["properties"]["city"]["description"] == "Name of the city."


def test_a_function_without_parameters_has_an_empty_object() -> None:
    def now() -> str:
        return "noon"

    assert schema_of(now) == {"type": "object", "properties": {}, "additionalProperties": False}
    assert PythonTool(now).arguments("") == {}


def test_name_and_description_can_be_given() -> None:
    function = PythonTool(google, name="weather-2", description="Look it up.").definition["function"]
    assert (function["name"], function["description"]) == ("weather-2", "Look it up.")


def test_arguments_are_validated_and_converted() -> None:
    arguments = PythonTool(forecast).arguments('{"place": {"city": "Oslo"}, "days": 2, "since": "2026-01-02"}')
    assert arguments == {"place": Place(city="Oslo"), "days": 2, "since": date(2026, 1, 2)}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        ("null", "should be an object"),
        ('"Oslo"', "should be an object"),
        ("{}", "place: Field required. days: Field required."),
        ('{"place": {"city": 1}, "days": 9}', "place.city: Input should be a valid string. days: "),
        ('{"place": {"city": "a"}, "days": 1, "hours": 2}', "hours: Extra inputs are not permitted."),
        ("NaN", "should be an object"),
        ('{"place": {"city": "a"}, "days": 1e999}', "days: "),
        ("[" * 10_000, "Invalid JSON"),
    ],
)
def test_each_fault_in_arguments_is_named_for_the_model(text: str, fault: str) -> None:
    with pytest.raises(ToolError, match=r"^Invalid arguments\. ") as raised:
        PythonTool(forecast).arguments(text)
    assert fault in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_defaults_are_those_of_the_function() -> None:
    tool = PythonTool(forecast)
    arguments = tool.arguments('{"place": {"city": "Oslo"}, "days": 2}')
    assert tool.bound(arguments, {})() == "Oslo 2 c None"


def test_the_user_the_request_and_the_call_are_no_arguments() -> None:
    def orders(
        number: int, user: Principal, request: ChatRequest, call: ToolCall, guest: Principal | None = None
    ) -> str:
        return f"{number} {user.id} {request.model} {call.id} {guest.id if guest else None}"

    tool = PythonTool(orders)
    assert list(schema_of(orders)["properties"]) == ["number"]
    with pytest.raises(ToolError):
        tool.arguments('{"number": 1, "user": {"id": "eve"}}')
    context: Context = {
        Principal: Principal("ann"),
        ChatRequest: ChatRequest([], "m"),
        ToolCall: ToolCall(0, "c1", "orders"),
    }
    assert tool.bound({"number": 1}, context)() == "1 ann m c1 ann"
    assert tool.needs_principal


@pytest.mark.parametrize("kind", ["Principal | None", "ChatRequest", "str"])
def test_a_tool_without_a_required_principal_is_for_anyone(kind: str) -> None:
    def tool(value: Any) -> str:
        return str(value)

    tool.__annotations__["value"] = {"Principal | None": Principal | None, "ChatRequest": ChatRequest, "str": str}[kind]
    assert not PythonTool(tool).needs_principal


def untyped(city) -> str:  # type: ignore[no-untyped-def]
    return str(city)


def positional(city: str, /) -> str:
    return city


def variadic(*cities: str) -> str:
    return "".join(cities)


def keywords(**cities: str) -> str:
    return "".join(cities)


def unknown(city: Missing) -> str:  # type: ignore[name-defined]  # noqa: F821
    return str(city)


def unserializable(city: PythonTool) -> str:
    return city.name


@pytest.mark.parametrize("function", [untyped, positional, variadic, keywords, unknown, unserializable])
def test_a_function_that_models_cannot_call_is_refused_with_its_name(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=f"^tool {function.__name__}: "):
        PythonTool(function)


@pytest.mark.parametrize("name", ["", "two words", "a" * 65, "naïve", "a.b"])
def test_a_name_that_models_cannot_use_is_refused(name: str) -> None:
    function = partial(google) if name == "" else google  # a partial has no name
    with pytest.raises(ValueError, match="is no name for models"):
        PythonTool(function, name=name or None)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_time_limit_is_above_zero(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s is above 0"):
        PythonTool(google, timeout_s=timeout_s)


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("a", "a"),
        ("", ""),
        (None, "null"),
        (1, "1"),
        ({"a": [1, "é"]}, '{"a":[1,"é"]}'),
        (Place(city="Oslo"), '{"city":"Oslo","country":"NO"}'),
        (Point(1), '{"x":1}'),
        (date(2026, 1, 2), '"2026-01-02"'),
    ],
)
def test_a_result_is_text_or_json(result: Any, text: str) -> None:
    assert to_text(result) == text


def test_an_approval_is_needed_always_never_or_by_the_arguments() -> None:
    arguments = {"city": "Oslo"}
    assert not PythonTool(google).waits_for_approval(arguments, {})
    assert PythonTool(google, needs_approval=True).waits_for_approval(arguments, {})
    by_city = PythonTool(google, needs_approval=lambda city: city == "Oslo")
    assert by_city.waits_for_approval(arguments, {})
    assert not by_city.waits_for_approval({"city": "Bern"}, {})


def test_the_function_that_decides_on_an_approval_gets_the_user_too() -> None:
    def is_guest(city: str, user: Principal | None) -> bool:
        return user is None

    tool = PythonTool(google, needs_approval=is_guest)
    assert tool.waits_for_approval({"city": "Oslo"}, {Principal: None})
    assert not tool.waits_for_approval({"city": "Oslo"}, {Principal: Principal("ann")})
