"""State that servers attach to an answer in pieces, put together as clients have to return it."""

from __future__ import annotations

from typing import Any, Final

State = dict[str, Any]

# What comes in pieces within an entry of a list; any other text in it comes whole.
_PIECES: Final = frozenset({"text", "thinking", "summary", "data"})


def add_state(known: State, added: State) -> None:
    """Add what a chunk has of an answer's state. Texts are not joined: servers that repeat one mean the same."""
    for name, value in added.items():
        theirs = known.get(name)
        if isinstance(theirs, dict) and isinstance(value, dict):
            known[name] = theirs = {**theirs}
            add_state(theirs, value)
        elif isinstance(theirs, list) and isinstance(value, list):
            known[name] = add_entries(theirs, value)
        elif value is not None:
            known[name] = value


def add_entries(entries: list[Any], added: list[Any]) -> list[Any]:
    """Return the entries of a list with those that a chunk adds: more of them, or the next piece of the last one."""
    joined = [*entries]
    for entry in added:
        last = joined[-1] if joined else None
        if isinstance(last, dict) and isinstance(entry, dict) and _goes_on(last, entry):
            joined[-1] = last | {name: _piece(name, last, value) for name, value in entry.items() if value is not None}
        else:
            joined.append(entry)
    return joined


def _goes_on(last: State, added: State) -> bool:
    """Return whether `added` is the next piece of `last`. Thoughts come in pieces, and their signature comes last."""
    same = all(last.get(name) == added.get(name) for name in ("type", "index"))
    return same and not last.get("signature") and not (last.get("data") and "index" not in last)


def _piece(name: str, last: State, value: Any) -> Any:
    return (last.get(name) or "") + value if name in _PIECES and isinstance(value, str) else value
