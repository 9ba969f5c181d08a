"""The names of the mock model: the documented ones, parameters in range, and every other name."""

from __future__ import annotations

from pathlib import Path

import pytest

from quartapp.mock import CATALOGUE, DEFAULT_MODEL, offers
from quartapp.mock.catalogue import ALL, Parameter
from quartapp.mock.player import Head, Pause
from tests.support.mock_model import ask, steps

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "mock.md"
ENDLESS = ("fault-stall", "fault-endless-error", "fault-endless-line", "fault-endless-body", "fault-endless-comments")


def documented() -> list[list[str]]:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def described(parameter: Parameter | None) -> str:
    if parameter is None:
        return ""
    text = f"{parameter.symbol} = {parameter.default}, {parameter.low} to {parameter.high}"
    return f"{text}, decimals" if parameter.decimals else text


def test_the_docs_list_every_model_with_its_sentence() -> None:
    assert {cells[0].strip("`"): cells[-1] for cells in documented()} == CATALOGUE


def test_the_docs_list_every_parameter_with_its_range() -> None:
    documented_parameters = {cells[0].strip("`"): cells[1] for cells in documented() if len(cells) == 3}
    assert documented_parameters == {
        name: described(model.parameter) for name, model in ALL.items() if name.startswith("fault-")
    }


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_model_is_offered_and_opens_with_a_head(name: str) -> None:
    assert offers(name)
    opening = next(step for step in steps(name) if not isinstance(step, Pause))
    assert isinstance(opening, Head)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ENDLESS])
async def test_every_model_answers_with_one_object_or_refuses(name: str) -> None:
    parameter = ALL[name].parameter
    without_waiting = f"{name}:0" if parameter and parameter.symbol == "S" else name
    reply = await ask(without_waiting, stream=False)
    assert reply.is_complete
    if reply.status == 200:
        assert reply.json["object"] == "chat.completion"
        assert reply.json["choices"][0]["message"]["role"] == "assistant"


@pytest.mark.parametrize(
    "name",
    ["fault-drop:0", "fault-drop:100000", "fault-pauses:0.25", "fault-status:400", "fault-status:599", "fault-big:64"],
)
def test_a_parameter_in_range_is_offered(name: str) -> None:
    assert offers(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-5",
        "Mock",
        "mock:1",
        "fault-no-done:1",
        "fault-drop:",
        "fault-drop:-1",
        "fault-drop:1.5",
        "fault-drop:100001",
        "fault-drop:1:2",
        "fault-drop: 1",
        "fault-drop:٣",
        "fault-pauses:3601",
        "fault-pauses:nan",
        "fault-pauses:1e3",
        "fault-status:200",
        "fault-status:600",
        "fault-big:0",
        "fault-big:65",
        "fault-flood:0",
    ],
)
def test_an_unknown_name_or_a_parameter_out_of_range_is_not_offered(name: str) -> None:
    assert not offers(name)


def test_the_default_model_is_in_the_catalogue() -> None:
    assert DEFAULT_MODEL in CATALOGUE
