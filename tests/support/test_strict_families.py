"""The strict servers refuse what the real ones refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.support.strict_families import FAMILIES, STEPS, Custom, Family, Step, question

NAME = "c"
#: The texts of state by their fields. A server notices a change of each.
STATE = {"thought_signature", "reasoning_content", "signature", "text", "thinking", "data", "encrypted_content"}


def body_of(family: Family, others: Family | None = None) -> tuple[dict[str, Any], list[Step]]:
    """Return a conversation as `family` accepts it, whose second question was answered by `others`."""
    steps = [Step(others or family if 3 <= number < 6 else family, NAME, number) for number in range(STEPS)]
    items: list[Any] = []
    for step in steps:
        items += [question(NAME, step.number // 3)] if step.number % 3 == 0 else []
        items += family.step_items(step) + [family.result_item(call) for call in step.calls]
    items.append(question(NAME, STEPS // 3))
    field = "input" if family.name == "responses" else "messages"
    return {"model": "m", "stream": True, field: json.loads(json.dumps(items))}, steps


def places_of(document: Any, names: set[str]) -> list[tuple[Any, str]]:
    """Return each object in `document` with a field of these names."""
    found = [(document, name) for name in names & document.keys()] if isinstance(document, dict) else []
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return found + [place for each in inner for place in places_of(each, names)]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_server_accepts_its_own_state_alone(family: Family) -> None:
    body, steps = body_of(family)
    assert family.fault_in(body, NAME, steps) is None
    count = len(places_of(body, STATE))
    assert count >= STEPS or isinstance(family, Custom)
    for number in range(0, count, 7):  # 7 has no factor in common with the steps
        for change in (lambda text: text + "x", lambda text: None):
            changed = deepcopy(body)
            holder, name = places_of(changed, STATE)[number]
            holder[name] = change(holder[name])
            assert family.fault_in(changed, NAME, steps) is not None


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_server_refuses_state_of_another_server(family: Family) -> None:
    for others in FAMILIES.values():
        body, steps = body_of(others)
        if others is family or ("messages" in body) != (family.name != "responses") or not places_of(body, STATE):
            continue
        foreign = [Step(others, NAME, step.number) for step in steps]
        if family.name == "deepseek":
            for turn in body["messages"]:
                turn.setdefault("reasoning_content", "hm")
        assert family.fault_in(body, NAME, foreign) is not None


@pytest.mark.parametrize("spoil", [list.pop, list.reverse, lambda items: items.insert(1, items[0])])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_server_refuses_another_order(family: Family, spoil: Callable[[list[Any]], Any]) -> None:
    body, steps = body_of(family)
    spoil(body["input" if family.name == "responses" else "messages"])
    assert family.fault_in(body, NAME, steps) is not None
