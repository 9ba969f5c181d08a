"""The streams in tests/streams: what each server sends, and the records that are to come of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from quartapp.core.errors import ERROR_KINDS as KINDS
from quartapp.core.events import Annotation, Delta, Done, Event, Failed, Image, Reasoning, Refusal, Start, ToolCall

Record = dict[str, Any]

FOLDER: Final = Path(__file__).parents[1] / "streams"

_THINK_TAGS = re.compile(rb"^: think_tags=(\w+)$", re.MULTILINE)
_MINTED_ID = re.compile(r"call_[0-9a-f]{24}")


@dataclass(frozen=True)
class Stream:
    """The body that a server sends, and the records of the answer that it is."""

    name: str
    body: bytes
    content_type: str
    think_tags: Any
    records: list[Record]

    @property
    def comment(self) -> str:
        """What the body says of itself."""
        if self.content_type == "application/json":
            return str(json.loads(self.body).get("comment", ""))
        first = re.split(rb"[\r\n]", self.body.removeprefix(b"\xef\xbb\xbf"), maxsplit=1)[0]
        return first.decode().partition(": ")[2]

    def events(self, start: Start) -> list[Event]:
        """The records as events of the answer that begins with `start`."""
        return [start, *(_event(record, start.id) for record in self.records)]


def _event(record: Record, id: str) -> Event:
    if record["type"] == "error":
        record = record | {"id": id, "message": KINDS[record["code"]].message}
    event: Event = msgspec.convert(record, Delta | Reasoning | Refusal | ToolCall | Annotation | Image | Done | Failed)
    return event


def load() -> dict[str, Stream]:
    bodies = [path for path in sorted(FOLDER.iterdir()) if path.suffix in (".sse", ".json")]
    return {path.stem: _load(path) for path in bodies}


def _load(path: Path) -> Stream:
    body = path.read_bytes()
    think_tags = _THINK_TAGS.search(body)
    return Stream(
        path.stem,
        body,
        "application/json" if path.suffix == ".json" else "text/event-stream",
        think_tags[1].decode() if think_tags else "leading",
        [json.loads(line) for line in path.with_suffix(".ndjson").read_text(encoding="utf-8").splitlines()],
    )


# -- what an answer says, however it was cut


def joined(pieces: Iterable[Event]) -> list[Event]:
    """Pieces of a kind that follow one another as one; ids that were made here as `call_*`."""
    joined: list[Event] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, ToolCall):
            if isinstance(last, ToolCall) and last.index == piece.index and piece.name is None:
                arguments = (last.arguments or "") + (piece.arguments or "")
                extra = (last.extra or {}) | (piece.extra or {})
                joined[-1] = ToolCall(last.index, last.id, last.name, arguments, last.kind, extra or None)
                continue
            id = None if piece.id is None else without_minted_ids(piece.id)
            piece = ToolCall(piece.index, id, piece.name, piece.arguments, piece.kind, piece.extra)
        elif isinstance(piece, Delta | Reasoning | Refusal) and type(piece) is type(last):
            joined[-1] = type(piece)(getattr(last, "text", "") + piece.text)
            continue
        joined.append(piece)
    return joined


def without_minted_ids(text: str) -> str:
    """`text` with each id that was made here as `call_*`."""
    return _MINTED_ID.sub("call_*", text)


def records(events: Iterable[Event]) -> list[Record]:
    """Events, in which those of a kind are joined, as the records of a file."""
    return [_record(event) for event in events]


def _record(event: Event) -> Record:
    said: Record = json.loads(msgspec.json.encode(event))
    return {
        name: value for name, value in said.items() if not (isinstance(event, Failed) and name in ("id", "message"))
    }
