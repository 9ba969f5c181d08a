"""Tool calls in a conversation: the formats that are accepted, and what is sent of calls that never got a result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quartapp.protocols.common.calls import NO_RESULT
from quartapp.protocols.native.request import parse
from quartapp.settings.settings import Settings

SIGNED = {"google": {"thought_signature": "c2lnbmVk"}}
USER = {"role": "user", "content": "hi"}


def sent(*turns: dict[str, Any]) -> list[dict[str, Any]]:
    body = json.dumps({"messages": [USER, *turns]}).encode()
    return parse(body, Settings()).messages[1:]


def call(id: str = "c1", arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}, **fields}


def custom(id: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "custom", "custom": {"name": "f", "input": "x = 1"}, **fields}


def calling(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **fields}


def result(id: str = "c1", content: str = "1") -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": id}


# -- formats


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (call(extra_content=SIGNED), call(extra={"extra_content": SIGNED})),
        (call(extra={"extra_content": SIGNED}), call(extra={"extra_content": SIGNED})),
        (call(index=0, unknown={"a": 1}), call()),
        (call(arguments=""), call()),
        (custom(), custom()),
        (custom(extra_content=SIGNED), custom(extra={"extra_content": SIGNED})),
        ({"id": "c1", "name": "f", "arguments": "{}"}, call()),
        ({"id": "c1", "name": "f", "extra": {"extra_content": SIGNED}}, call(extra={"extra_content": SIGNED})),
        ({"id": "c1", "name": "f", "arguments": "x = 1", "kind": "custom"}, custom()),
        (call("a" * 5000), call("a" * 5000)),
    ],
)
def test_a_call_is_accepted_in_each_format_in_which_it_was_sent(given: dict[str, Any], taken: dict[str, Any]) -> None:
    assert sent(calling(given), result(given["id"])) == [calling(taken), result(given["id"])]


def test_state_of_a_turn_is_accepted_in_each_format_in_which_it_was_sent() -> None:
    details = [{"type": "reasoning.encrypted", "data": "ZGF0YQ=="}]
    given = {"reasoning_content": "hm", "reasoning_details": details, "unknown": 1, "audio": {"id": "a"}}
    kept = {"reasoning": "hm", "reasoning_details": details}
    turn = {"role": "assistant", "content": "a"}
    assert sent(turn | given) == [turn | {"extra": kept}]
    own_fields = {"reasoning": "hm", "extra": {"reasoning_details": details, "unknown": 1}}
    assert sent(turn | own_fields) == [turn | {"extra": kept}]


def test_citations_and_images_of_an_earlier_answer_are_accepted_and_not_sent() -> None:
    turn = {"role": "assistant", "content": "a"}
    cited = {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    openai_fields = {"annotations": [cited], "images": [image]}
    own_fields = {
        "annotations": [{"kind": "url_citation", "url": "https://a.example/"}],
        "images": [image["image_url"]],
    }
    assert sent(USER, turn | openai_fields, USER) == sent(USER, turn | own_fields, USER) == [USER, turn, USER]


@pytest.mark.parametrize("content", ["", None, []])
@pytest.mark.parametrize("calls", [[], None])
def test_an_empty_answer_is_accepted_and_not_sent(content: Any, calls: Any) -> None:
    assert sent({"role": "assistant", "content": content, "tool_calls": calls}, USER) == [USER]


# -- results


def test_a_turn_without_any_result_loses_its_calls_and_their_state() -> None:
    assert sent(calling(call(), call("c2")), USER) == [USER]
    text_turn = {"role": "assistant", "content": "Let me see."}
    assert sent(calling(call()) | text_turn | {"reasoning": "hm"}, USER) == [text_turn, USER]


def test_a_call_without_a_result_next_to_one_with_it_gets_a_fixed_one() -> None:
    turn = calling(call(extra_content=SIGNED), call("c2", '{"half'), call("c3", "{}"))
    assert sent(turn, result("c3"), USER) == [
        calling(call(extra={"extra_content": SIGNED}), call("c2"), call("c3")),
        result("c3"),
        result("c1", NO_RESULT),
        result("c2", NO_RESULT),
        USER,
    ]


def test_a_result_counts_for_the_turn_that_it_follows() -> None:
    assert sent(calling(call()), result(), calling(call()), USER) == [calling(call()), result(), USER]


@pytest.mark.parametrize("between", [[USER], [{"role": "assistant", "content": "Wait."}, USER]])
def test_a_late_result_is_moved_to_its_call(between: list[dict[str, Any]]) -> None:
    late = [calling(call(), call("c2")), result("c2"), *between, result(), USER]
    assert sent(*late) == [calling(call(), call("c2")), result("c2"), result(), *between, USER]


def test_a_late_result_belongs_to_the_latest_call_of_its_id() -> None:
    turns = [calling(call()), result(), calling(call()), USER, result(content="2")]
    assert sent(*turns) == [*turns[:3], result(content="2"), USER]


def test_a_result_without_a_call_before_it_is_not_sent() -> None:
    assert sent(result(), calling(call()), result(), result(content="2"), result("nope"), USER) == [
        calling(call()),
        result(),
        USER,
    ]


def test_calls_of_one_turn_and_one_id_have_a_result_each() -> None:
    turns = [calling(call(), call()), result(), result(content="2")]
    assert sent(*turns) == turns


def test_state_of_a_turn_comes_without_the_mark_of_a_thought() -> None:
    google = {"thought_signature": "s"}
    turn = {"role": "assistant", "content": "a", "extra_content": {"google": google | {"thought": 2}}}
    assert sent(USER, turn, USER)[1]["extra"] == {"extra_content": {"google": google}}
