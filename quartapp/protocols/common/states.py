"""State that servers attach to an answer in pieces, put together as clients have to return it."""

from __future__ import annotations

from typing import Any, Final

State = dict[str, Any]

# What comes in pieces within an entry of a list; any other text in it comes whole.
_PIECES: Final = frozenset({"text", "thinking", "summary", "data"})


class Texts(list[str]):
    """A text still in its pieces: to join them as they come would take the square of their time."""


class _Entries(list[Any]):
    """Entries of a list that were put together here, so that more can be added in place."""


class _Entry(dict[str, Any]):
    """An object that was put together here, so that more can be added in place."""


def add_state(known: State, added: State) -> None:
    """Add what a chunk has of an answer's state to `known`, for `joined` to make the state of it.

    Texts are not joined unless they are pieces of one entry: servers that repeat one mean the same.
    """
    for name, value in added.items():
        theirs = known.get(name)
        if isinstance(theirs, dict) and isinstance(value, dict):
            known[name] = entry = theirs if isinstance(theirs, _Entry) else _Entry(theirs)
            add_state(entry, value)
        elif isinstance(theirs, list) and isinstance(value, list):
            known[name] = entries = theirs if isinstance(theirs, _Entries) else _Entries(theirs)
            _add_entries(entries, value)
        elif value is not None:
            known[name] = value


def joined(known: Any) -> Any:
    """Return what `add_state` has put together, with each text in one piece."""
    match known:
        case Texts():
            return "".join(known)
        case dict():
            return {name: joined(value) for name, value in known.items()}
        case list():
            return [joined(each) for each in known]
        case _:
            return known


def without_thought_mark(state: State) -> tuple[State, bool]:
    """Return state without Gemini's mark of a thought, which is no state, and whether it had one."""
    content = state.get("extra_content")
    google: Any = content.get("google") if isinstance(content, dict) else None
    if not isinstance(google, dict) or google.get("thought") is not True:
        return state, False
    theirs = {name: value for name, value in google.items() if name != "thought"}
    others = {name: value for name, value in content.items() if name != "google"} if content else {}
    content = others | ({"google": theirs} if theirs else {})
    rest = {name: value for name, value in state.items() if name != "extra_content"}
    return rest | ({"extra_content": content} if content else {}), True


def _add_entries(entries: _Entries, added: list[Any]) -> None:
    """Add what a chunk has of a list: more entries, or the next piece of the last one."""
    for piece in added:
        last = entries[-1] if entries else None
        if isinstance(last, dict) and isinstance(piece, dict) and _goes_on(last, piece):
            entries[-1] = entry = last if isinstance(last, _Entry) else _Entry(last)
            _add_piece(entry, piece)
        else:
            entries.append(piece)


def _goes_on(last: State, piece: State) -> bool:
    """Return whether `piece` is the next one of `last`. Thoughts come in pieces, and their signature comes last."""
    is_same = last.get("type") == piece.get("type") and last.get("index") == piece.get("index")
    return is_same and not last.get("signature") and not (last.get("data") and "index" not in last)


def _add_piece(entry: _Entry, piece: State) -> None:
    for name, value in piece.items():
        if name in _PIECES and isinstance(value, str):
            known = entry.get(name)
            texts = entry[name] = known if isinstance(known, Texts) else Texts()
            if isinstance(known, str):
                texts.append(known)
            texts.append(value)
        elif value is not None:
            entry[name] = value
