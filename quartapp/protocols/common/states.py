"""State that servers attach to an answer in pieces, merged into the form that clients have to send back."""

from __future__ import annotations

from typing import Any, Final

from quartapp.core.request import JsonObject, without

# The texts that arrive in pieces within an entry of a list. Other texts arrive complete.
_PIECES: Final = frozenset({"text", "thinking", "summary", "data"})


class TextPieces(list[str]):
    """The pieces of a text. They are joined once, because joining each piece takes quadratic time."""


class _Entries(list[Any]):
    """A list that was created here, so that entries can be added in place."""


class _Entry(dict[str, Any]):
    """An object that was created here, so that fields can be added in place."""


def add_state(known: JsonObject, added: JsonObject) -> None:
    """Merge the state in a chunk into `known`. After the last chunk, `joined` returns the complete state.

    Texts are joined only if they are pieces of one list entry, because servers repeat other texts.
    """
    for name, value in added.items():
        current = known.get(name)
        if isinstance(current, dict) and isinstance(value, dict):
            known[name] = entry = current if isinstance(current, _Entry) else _Entry(current)
            add_state(entry, value)
        elif isinstance(current, list) and isinstance(value, list):
            known[name] = entries = current if isinstance(current, _Entries) else _Entries(current)
            _add_entries(entries, value)
        elif value is not None:
            known[name] = value


def joined(known: Any) -> Any:
    """Return the state that `add_state` has merged, with its texts joined."""
    match known:
        case TextPieces():
            return "".join(known)
        case dict():
            return {name: joined(value) for name, value in known.items()}
        case list():
            return [joined(each) for each in known]
        case _:
            return known


def without_thought_mark(state: JsonObject) -> tuple[JsonObject, bool]:
    """Return the state without Gemini's mark of a thought, and whether it had the mark."""
    content = state.get("extra_content")
    google: Any = content.get("google") if isinstance(content, dict) else None
    if not isinstance(google, dict) or google.get("thought") is not True:
        return state, False
    theirs = without(google, {"thought"})
    content = without(content or {}, {"google"}) | ({"google": theirs} if theirs else {})
    return without(state, {"extra_content"}) | ({"extra_content": content} if content else {}), True


def _add_entries(entries: _Entries, added: list[Any]) -> None:
    """Add the entries in a chunk to a list: new ones, or the next piece of the last one."""
    for piece in added:
        last = entries[-1] if entries else None
        if isinstance(last, dict) and isinstance(piece, dict) and _continues(last, piece):
            entries[-1] = entry = last if isinstance(last, _Entry) else _Entry(last)
            _add_piece(entry, piece)
        else:
            entries.append(piece)


def _continues(last: JsonObject, piece: JsonObject) -> bool:
    """Return whether `piece` continues `last`. Thoughts arrive in pieces, and their signature arrives last."""
    is_same = last.get("type") == piece.get("type") and last.get("index") == piece.get("index")
    return is_same and not last.get("signature") and not (last.get("data") and "index" not in last)


def _add_piece(entry: _Entry, piece: JsonObject) -> None:
    for name, value in piece.items():
        if name in _PIECES and isinstance(value, str):
            known = entry.get(name)
            texts = entry[name] = known if isinstance(known, TextPieces) else TextPieces()
            if isinstance(known, str):
                texts.append(known)
            texts.append(value)
        elif value is not None:
            entry[name] = value
