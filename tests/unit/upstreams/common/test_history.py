"""The state of earlier answers in a request: each server gets its own state, and never another server's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from quartapp.core.errors import ChatError
from quartapp.core.request import ChatRequest
from quartapp.protocols.native.request import parse
from quartapp.settings.settings import Settings
from quartapp.upstreams.common.history import ReturnedState, without_state
from quartapp.upstreams.entry import Entry
from quartapp.upstreams.origins import Origins

SIGNATURE = {"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "hi"}
RESULT = {"role": "tool", "content": "1", "tool_call_id": "c1"}


def entry(url: str = "https://a.example/v1", kind: Any = "compatible", **fields: Any) -> Entry:
    return Entry(kind=kind, base_url=url, **fields)


OTHER = entry("https://b.example/v1")


def request_with(state: dict[str, Any] | None = None, thoughts: str | None = "hm") -> ChatRequest:
    """Return a question after an answer with state in its call and thoughts next to it."""
    turn = {"role": "assistant", "content": "a", "reasoning": thoughts, "tool_calls": [{**CALL, **(state or {})}]}
    return parse(json.dumps({"messages": [USER, turn, RESULT]}).encode(), Settings())


def returned(origin: Entry, others: Sequence[Entry] = (), max_chars: int = 1000) -> ReturnedState:
    return Origins([origin, *others]).returned(origin, max_chars=max_chars)


def sent(request: ChatRequest, origin: Entry, *others: Entry) -> dict[str, Any]:
    """Return the turn of the assistant, as the server of `origin` receives it."""
    return returned(origin, others).messages(request.messages)[1]


TURN = {"role": "assistant", "content": "a", "tool_calls": [CALL]}


def test_the_only_server_gets_state_that_nothing_marks() -> None:
    mock, openais = Entry(kind="mock"), Entry(kind="openai", key_env="K")
    for others in ([], [entry(model="another")], [mock], [openais]):
        assert sent(request_with(SIGNATURE), entry(), *others) == TURN | {"tool_calls": [CALL | SIGNATURE]}


@pytest.mark.parametrize(
    "other", [OTHER, entry(key_env="K"), entry(headers={"a": "b"}), Entry(kind="responses", key_env="K")]
)
def test_with_several_servers_state_without_a_mark_is_sent_where_the_entry_lists_it(other: Entry) -> None:
    assert sent(request_with(SIGNATURE), entry(), other) == TURN
    listed = entry(returns=["extra_content"])
    assert sent(request_with(SIGNATURE), listed, other) == TURN | {"tool_calls": [CALL | SIGNATURE]}


def test_marked_state_goes_to_its_own_server_whatever_the_entries_list() -> None:
    here, there = entry(returns=["extra_content"]), entry("https://b.example/v1", returns=["extra_content"])
    marked = returned(here, [there]).origin.mark(SIGNATURE)
    assert marked != SIGNATURE
    assert sent(request_with(marked), here, there) == TURN | {"tool_calls": [CALL | SIGNATURE]}
    assert sent(request_with(marked), entry(returns=[]), there) == TURN | {"tool_calls": [CALL | SIGNATURE]}
    assert sent(request_with(marked), there, here) == TURN
    assert sent(request_with(marked), there) == TURN  # nor after its server was removed from the table


def test_openais_chat_completions_get_no_state() -> None:
    assert sent(request_with(SIGNATURE), Entry(kind="openai", key_env="K")) == TURN
    azure = Entry(kind="azure", base_url="https://a.example")
    assert sent(request_with(SIGNATURE), azure) == TURN


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_go_back_in_a_conversation_with_tools_where_the_entry_lists_them(name: Any) -> None:
    listed = entry(returns=[name])
    assert sent(request_with(), listed, OTHER) == TURN | {name: "hm"}
    assert sent(request_with(thoughts=None), listed) == TURN | {name: " "}
    assert sent(request_with(), entry()) == TURN
    request = parse(b'{"messages": [{"role": "assistant", "content": "a", "reasoning": "hm"}]}', Settings())
    turn = {"role": "assistant", "content": "a"}
    assert returned(listed).messages(request.messages) == [turn]
    assert returned(listed).messages(request.messages, has_tools=True) == [turn | {name: "hm"}]


def test_each_turn_gets_its_thoughts_once_one_has_a_call() -> None:
    listed = entry(returns=["reasoning_content"])
    answers = [{"role": "assistant", "content": "a", "reasoning": "so"}, {"role": "assistant", "content": "b"}]
    turns = [*request_with().messages, *parse(json.dumps({"messages": answers}).encode(), Settings()).messages]
    sent_turns = [turn for turn in returned(listed).messages(turns) if turn["role"] == "assistant"]
    assert [turn["reasoning_content"] for turn in sent_turns] == ["hm", "so", " "]
    with pytest.raises(ChatError, match="too_large"):
        returned(listed, max_chars=40).check(ChatRequest(turns))
    returned(listed, max_chars=40).check(ChatRequest(turns[3:]))
    with pytest.raises(ChatError, match="too_large"):
        returned(listed, max_chars=20).check(ChatRequest(turns[3:]), has_tools=True)


@pytest.mark.parametrize(
    "url", ["https://api.deepseek.com", "https://api.moonshot.ai/v1", "https://api.moonshot.cn/v1"]
)
def test_servers_that_refuse_a_call_without_its_thoughts_get_them(url: str) -> None:
    assert sent(request_with(), entry(url), OTHER)["reasoning_content"] == "hm"
    assert "reasoning_content" not in sent(request_with(), entry(url, returns=[]))


def test_state_of_a_turn_goes_back_with_it() -> None:
    details = [{"type": "reasoning.encrypted", "data": "ZGF0YQ=="}]
    turn = {"role": "assistant", "content": "a", "reasoning_details": details}
    request = parse(json.dumps({"messages": [USER, turn, USER]}).encode(), Settings())
    assert returned(entry()).messages(request.messages)[1] == turn


def test_more_state_than_the_limit_is_refused() -> None:
    listed = entry(returns=["reasoning_content"])
    returned(listed, max_chars=1000).check(request_with(thoughts="a" * 900))
    with pytest.raises(ChatError, match="too_large"):
        returned(listed, max_chars=1000).check(request_with(thoughts="a" * 1000))
    returned(entry(), max_chars=10).check(request_with(thoughts="a" * 1000))  # it is not sent


def test_a_project_s_own_model_gets_no_state() -> None:
    request = without_state(request_with(SIGNATURE))
    assert request.messages == [USER, TURN, RESULT]
    assert without_state(request) is request


# -- the Responses API

ITEM = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "ZW5j"}


def items(given: Any, **fields: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    state = {"extra_content": {"openai": {"reasoning_items": given, **fields}}}
    [call] = request_with(state).messages[1]["tool_calls"]
    return returned(Entry(kind="responses", key_env="K")).items(call)


def test_reasoning_items_come_back_before_their_call() -> None:
    assert items([ITEM]) == ([], [ITEM])


def test_reasoning_items_come_back_on_their_side_of_the_text() -> None:
    second = ITEM | {"id": "rs_2"}
    assert items([ITEM, second], before_text=1) == ([ITEM], [second])
    assert items([ITEM, second], before_text=9) == ([ITEM, second], [])
    for place in (-1, "1", None, 0.5):
        assert items([ITEM, second], before_text=place) == ([], [ITEM, second])


@pytest.mark.parametrize(
    "given",
    [
        "x",
        {},
        [1],
        [{"type": "item_reference", "id": "rs_1"}],
        [{"type": "message", "role": "system", "content": "a", "encrypted_content": "x"}],
        [{**ITEM, "encrypted_content": None}],
    ],
)
def test_other_items_are_not_accepted_as_reasoning(given: Any) -> None:
    assert items(given) == ([], [])


def test_a_reasoning_item_has_the_fields_of_one() -> None:
    assert items([{**ITEM, "file_url": "https://x.example"}]) == ([], [ITEM])
