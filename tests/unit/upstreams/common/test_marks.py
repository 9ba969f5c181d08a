"""Marks in the state of servers: each server gets its own state back as it sent it, and no other server's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartapp.upstreams.common.marks import Origin

ONE, OTHER = Origin("00000001", is_only=False), Origin("00000002", is_only=False)
ONLY = Origin("00000003")

_NAMES = st.sampled_from(["thought_signature", "signature", "data", "text", "type", "index", "encrypted_content"])
_TEXTS = st.text(max_size=5) | st.sampled_from(["qa-00000001.", "qa-00000002.AA", "qa-00000001.qa-00000002."])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)
STATES = st.dictionaries(
    st.sampled_from(["extra_content", "reasoning_details", "thinking_blocks", "provider_specific_fields"]), _VALUES
)


def back(origin: Origin, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state that `origin` gets back if it accepts state of unknown origin too."""
    own, unmarked = origin.unmark(state)
    assert not own.keys() & unmarked.keys()
    return own | unmarked


@given(state=STATES)
def test_state_comes_back_as_its_server_sent_it(state: dict[str, Any]) -> None:
    chained = ONLY.mark(state)  # a chat behind a chat marks it too
    assert back(ONLY, chained) == state
    plain = Origin("00000009", is_only=False)
    assert back(plain, plain.mark(state)) == state


@given(state=STATES)
def test_no_other_server_gets_an_opaque_text(state: dict[str, Any]) -> None:
    for name, value in OTHER.unmark(ONE.mark(state))[1].items():
        assert value == state[name]
        assert ONE.mark({name: value}) == {name: value}  # there is nothing opaque in it


def test_an_only_servers_state_stays_unchanged() -> None:
    state = {"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}
    assert ONLY.mark(state) is state


def test_text_that_clients_show_has_no_mark() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "c2ln"}, {"type": "x", "data": "ZGF0YQ=="}]
    assert ONE.mark({"reasoning_details": details}) == {
        "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "signature": "qa-00000001.c2ln"},
            {"type": "x", "data": "qa-00000001.ZGF0YQ=="},
        ]
    }


@pytest.mark.parametrize("origin", [OTHER, ONLY])
def test_state_of_another_server_is_dropped(origin: Origin) -> None:
    state = ONE.mark({"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}})
    assert origin.unmark(state | {"thinking_blocks": []}) == ({}, {"thinking_blocks": []})


def test_texts_that_a_client_joined_come_back_without_the_marks_between() -> None:
    joined = {"extra_content": {"google": {"thought_signature": "qa-00000001.AAqa-00000001.BB"}}}
    assert ONE.unmark(joined) == ({"extra_content": {"google": {"thought_signature": "AABB"}}}, {})
