"""The shared vectors: for each wire format, what an answer says and the bytes that tell it.

A new case needs no `bytes`: `python -m tests.support.vectors` writes what the encoders make of all cases, and lays
the files out anew. What that changes is to be read before it is believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from quartapp.core.events import (
    Annotation,
    Delta,
    Done,
    Event,
    Failed,
    Image,
    Ping,
    Raw,
    Reasoning,
    Refusal,
    Start,
    ToolCall,
)
from quartapp.protocols.ai_sdk import encode as ai_sdk
from quartapp.protocols.chat_completions import encode as openai
from quartapp.protocols.common.encoding import to_json, to_json_lines
from quartapp.protocols.native import formats as native
from quartapp.protocols.native import whole

Json = dict[str, Any]
Encode = Callable[[Sequence[Event]], bytes]

FOLDER: Final = Path(__file__).parents[1] / "vectors"

#: When the completions of the OpenAI format began, in seconds since 1970.
CREATED: Final = 1_700_000_000


class Case(NamedTuple):
    """One answer: its events as an encoder is given them, and the bytes that stand in the file."""

    name: str
    batches: list[list[Event]]
    data: bytes
    include_usage: bool

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]


def encoder(format: str, case: Case) -> Encode:
    """What encodes the batches of one answer; for JSON, all of them at once."""
    makers: dict[str, Callable[[], Encode]] = {
        "text": lambda: native.encode_text,
        "ndjson": lambda: to_json_lines,
        "sse": lambda: native.encode_sse,
        "json": lambda: lambda events: to_json(whole.merge(events)),
        "openai": lambda: openai.ChunkEncoder(CREATED, include_usage=case.include_usage).encode,
        "ai_sdk": lambda: ai_sdk.PartEncoder().encode,
    }
    return makers[format]()


def encoded(format: str, case: Case) -> bytes:
    encode = encoder(format, case)
    return b"".join(map(encode, [case.events] if format == "json" else case.batches))


# -- from a file


def formats() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def source(format: str) -> str:
    return (FOLDER / f"{format}.json").read_text(encoding="utf-8")


def document(format: str) -> Json:
    read: Json = json.loads(source(format))
    return read


def load(format: str) -> list[Case]:
    return [read_case(case) for case in document(format)["cases"]]


def read_case(case: Json) -> Case:
    batches = [[_event(_expanded(record)) for record in batch] for batch in case["batches"]]
    data = "".join(map(_expanded, case.get("bytes", ()))).encode()
    return Case(case["name"], batches, data, case.get("include_usage", False))


def _expanded(value: Any) -> Any:
    """`value` with each `{"repeat": [text, times]}` written out."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {"repeat"}:
        return value["repeat"][0] * value["repeat"][1]
    return {name: _expanded(each) for name, each in value.items()}


def _event(record: Json) -> Event:
    if record["type"] == "raw":
        return Raw(record["payload"].encode())
    kinds = Start | Delta | Reasoning | Refusal | ToolCall | Annotation | Image | Ping | Done | Failed
    said: Event = msgspec.convert(record, kinds)
    return said


# -- to a file


def written(format: str) -> str:
    """The file of a format as the encoders would have it."""
    file = document(format)
    for case in file["cases"]:
        case["bytes"] = _lines(encoded(format, read_case(case)).decode(), _repeats(case["batches"]))
    return laid_out(file)


def _repeats(value: Any) -> list[Json]:
    if isinstance(value, dict):
        return [value] if value.keys() == {"repeat"} else _repeats([*value.values()])
    return [each for item in value for each in _repeats(item)] if isinstance(value, list) else []


def _lines(data: str, repeats: list[Json]) -> list[Any]:
    """`data` a line at a time, with what is said by a repeat cut out of it."""
    lines: list[Any] = re.findall(r"[^\n]*\n|[^\n]+", data)
    for repeat in repeats:
        long = _expanded(repeat)
        lines = [piece for line in lines for piece in _cut(line, long, repeat)]
    return lines


def _cut(line: Any, long: str, repeat: Json) -> list[Any]:
    if not isinstance(line, str) or long not in line:
        return [line]
    before, _, after = line.partition(long)
    return [piece for piece in (before, repeat, after) if piece]


def laid_out(file: Json) -> str:
    """The file with an event, and a line of bytes, on each line."""
    cases = ",\n".join(map(_case, file["cases"]))
    return f'{{\n  "media_type": {_json(file["media_type"])},\n  "cases": [\n{cases}\n  ]\n}}\n'


def _case(case: Json) -> str:
    fields = [f'"{name}": {_field(name, value)}' for name, value in case.items()]
    return "    {\n" + ",\n".join("      " + field for field in fields) + "\n    }"


def _field(name: str, value: Any) -> str:
    if name == "batches":
        return _list([_list(map(_json, batch), 8) for batch in value], 6)
    return _list(map(_json, value), 6) if name == "bytes" else _json(value)


def _list(items: Iterable[str], indent: int) -> str:
    margin = "\n" + " " * indent
    lines = ",".join(f"{margin}  {item}" for item in items)
    return f"[{lines}{margin}]" if lines else "[]"


def _json(value: Any) -> str:
    """`value` on one line; characters that nobody sees are escaped, the others stand as they are."""
    line = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)


if __name__ == "__main__":
    for each in formats():
        (FOLDER / f"{each}.json").write_text(written(each), encoding="utf-8")
