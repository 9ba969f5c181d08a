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


def rejoined(state: JsonObject) -> JsonObject:
    """Return state from a client, with the pieces of each entry joined: many clients keep pieces as entries."""
    known: JsonObject = {}
    for name, value in state.items():
        for each in value if isinstance(value, list) else ():
            add_state(known, {name: [each]})
        known.setdefault(name, value)
    return joined(known)  # type: ignore[no-any-return]


class SentState:
    """The state in the chunks of one response, in a form that survives clients that join chunks.

    openai-python appends a repeated text to the first one, and fails on a second list whose entries have no `index`.
    """

    def __init__(self) -> None:
        self._fields: dict[tuple[object, ...], JsonObject] = {}
        self._held: dict[int, JsonObject] = {}

    def hold(self, state: JsonObject, choice: int) -> list[str]:
        """Keep the fields of `state` with entries without an index for the end of the choice, and return their names.

        `reasoning_details` are not kept, because some servers have the text of the reasoning there alone.
        """
        names = [name for name, value in state.items() if name != "reasoning_details" and _has_unnumbered(value)]
        for name in names:
            add_state(self._held.setdefault(choice, {}), {name: state[name]})
        return names

    def take(self, choice: int) -> JsonObject:
        """Return the state that was kept for a choice, joined."""
        return joined(self._held.pop(choice, {}))  # type: ignore[no-any-return]

    def drop_known(self, state: JsonObject, choice: int) -> bool:
        """Delete the fields of entries that are already sent with the same value. Return whether there were any."""
        has_known = False
        for name, entries in state.items():
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and isinstance(entry.get("index"), int):
                    fields = self._fields.setdefault((choice, name, entry["index"], entry.get("type")), {})
                    has_known = _drop_known(entry, fields) or has_known
        return has_known


def _has_unnumbered(value: Any) -> bool:
    match value:
        case dict():
            return any(map(_has_unnumbered, value.values()))
        case list():
            return any(isinstance(each, dict) and "index" not in each for each in value)
        case _:
            return False


def _drop_known(entry: JsonObject, sent: JsonObject) -> bool:
    own = {
        name: value
        for name, value in entry.items()
        if name not in _PIECES and name not in ("index", "type") and isinstance(value, str | int | float)
    }
    known = [name for name, value in own.items() if sent.get(name) == value]
    for name in known:
        del entry[name]
    sent |= own
    return bool(known)


def without_thought_mark(state: JsonObject) -> tuple[JsonObject, bool]:
    """Return the state without Gemini's mark of a thought, and whether it had the mark.

    A client may have added up the marks of several chunks: openai-python makes a number of them.
    """
    content = state.get("extra_content")
    google: Any = content.get("google") if isinstance(content, dict) else None
    if not isinstance(google, dict) or not isinstance(google.get("thought"), int) or not google["thought"]:
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
