"""Marks in the state that servers attach to an answer. A mark names the server that gets the state back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from quartapp.core.request import JsonObject

#: The beginning of each mark.
PREFIX: Final = b"qa-"

_MARK: Final = re.compile(r"qa-[0-9a-f]{8}\.")

# Fields that clients do not read: signatures, encrypted thoughts. The text in other fields is shown by clients.
_OPAQUE: Final = frozenset({"thought_signature", "signature", "data", "encrypted_content"})

# State in which every text is opaque. In other state, only the fields above are.
_ALL_OPAQUE: Final = frozenset({"extra_content", "provider_specific_fields"})


class Origin(msgspec.Struct, frozen=True):
    """The server of an answer; `id` is eight hexadecimal digits that are unique to it.

    If `is_only`, no other server can get its state, and the state stays unchanged.
    """

    id: str = "00000000"
    is_only: bool = True

    def mark(self, state: JsonObject) -> JsonObject:
        """Return state with the server's mark before each opaque text.

        State of an only server is marked if it looks marked, because `unmark` removes one mark. Another chat behind
        this one sends such state.
        """
        texts = _opaque_texts(state)
        if not (any(map(_MARK.match, texts)) if self.is_only else texts):
            return state
        return {name: _changed(value, self._add_mark, name in _ALL_OPAQUE) for name, value in state.items()}

    def unmark(self, state: JsonObject) -> tuple[JsonObject, JsonObject]:
        """Return two parts of a state: the fields with this server's mark, without it, and the fields without any mark.

        A field with another server's mark is in neither part.
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
        return text.replace(self._mark, "")  # clients join the fragments of a text, and each has a mark


def _opaque_texts(state: JsonObject) -> list[str]:
    texts: list[str] = []

    def keep(text: str) -> str:
        texts.append(text)
        return text

    for name, value in state.items():
        _changed(value, keep, name in _ALL_OPAQUE)
    return texts


def _changed(value: Any, change: Callable[[str], str], is_opaque: bool) -> Any:
    """Return `value` with its opaque texts changed; `is_opaque` marks a text in `value` itself as one."""
    match value:
        case str() if is_opaque and value:
            return change(value)
        case dict():
            return {name: _changed(each, change, is_opaque or name in _OPAQUE) for name, each in value.items()}
        case list():
            return [_changed(each, change, is_opaque) for each in value]
        case _:
            return value
