"""Marks in the state that servers attach to an answer, by which it finds its way back to the server it came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from quartapp.protocols.common.documents import JsonObject

#: How each mark begins.
PREFIX: Final = b"qa-"

_MARK: Final = re.compile(r"qa-[0-9a-f]{8}\.")

# Where servers keep what no client reads: signatures, encrypted thoughts. Next to them stands text that clients show.
_OPAQUE: Final = frozenset({"thought_signature", "signature", "data", "encrypted_content"})

# State in which every text is opaque. In any other it stands in the fields above alone.
_ALL_OPAQUE: Final = frozenset({"extra_content", "provider_specific_fields"})


class Origin(msgspec.Struct, frozen=True):
    """The server that an answer comes from; `id` is eight hexadecimal digits that another server does not have.

    If `is_only`, no other server can get its state, and what it sends stays unchanged.
    """

    id: str = "00000000"
    is_only: bool = True

    def mark(self, state: JsonObject) -> JsonObject:
        """Return state by its fields' names, with the server's mark before each opaque text in it.

        An only server's state is marked if it looks marked, as that of another chat behind this one does, because
        `unmark` takes one mark away.
        """
        texts = _opaque_texts(state)
        if not (any(map(_MARK.match, texts)) if self.is_only else texts):
            return state
        return {name: _changed(value, self._add_mark, name in _ALL_OPAQUE) for name, value in state.items()}

    def unmark(self, state: JsonObject) -> tuple[JsonObject, JsonObject]:
        """Return the part of a state that this server has marked, without marks, and the part without any mark.

        A field that another server has marked is in neither.
        """
        own: JsonObject = {}
        unmarked: JsonObject = {}
        for name, value in state.items():
            marks = {mark[0] if mark else None for mark in map(_MARK.match, _opaque_texts({name: value}))}
            if marks <= {None}:
                unmarked[name] = value
            elif marks <= {None, self._mark}:
                own[name] = _changed(value, self._remove_mark, name in _ALL_OPAQUE)
        return own, unmarked

    @property
    def _mark(self) -> str:
        return f"qa-{self.id}."

    def _add_mark(self, text: str) -> str:
        return self._mark + text

    def _remove_mark(self, text: str) -> str:
        return text.replace(self._mark, "")  # clients join the pieces of a text, and each had a mark


def _opaque_texts(state: JsonObject) -> list[str]:
    texts: list[str] = []

    def keep(text: str) -> str:
        texts.append(text)
        return text

    for name, value in state.items():
        _changed(value, keep, name in _ALL_OPAQUE)
    return texts


def _changed(value: Any, change: Callable[[str], str], is_opaque: bool) -> Any:
    """Return `value` with its opaque texts changed; `is_opaque` says whether a text in it is one."""
    match value:
        case str() if is_opaque and value:
            return change(value)
        case dict():
            return {name: _changed(each, change, is_opaque or name in _OPAQUE) for name, each in value.items()}
        case list():
            return [_changed(each, change, is_opaque) for each in value]
        case _:
            return value
