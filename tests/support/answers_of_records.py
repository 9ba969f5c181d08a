"""A client of the native protocol that keeps an answer as docs/reference/protocol.md describes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import aiohttp

Json = dict[str, Any]


async def read_records(session: aiohttp.ClientSession, body: Json, accept: str) -> list[Json]:
    """Return the records of an answer, the one object of JSON, or no record of a refusal."""
    async with session.post("/api/stream", json=body, headers={"Accept": accept}) as response:
        text = await response.text()
        if response.status != 200:
            return []
        lines = [line.removeprefix("data: ") for line in text.split("\n")]
        return [json.loads(line) for line in lines if line.startswith("{")]


def turn_of(records: Sequence[Json]) -> Json:
    """Return the message that the page on the protocol makes of the records, or of the one object."""
    turn: Json = {"role": "assistant", "content": "", "reasoning": "", "tool_calls": []}
    for record in records:
        match record.get("type"):
            case "delta":
                turn["content"] += record["text"]
            case "reasoning":
                turn["reasoning"] += record["text"]
            case "tool_call":
                _add_fragment(turn["tool_calls"], record)
            case "done":
                turn |= {"extra": record.get("extra")}
            case None:
                turn |= {name: record.get(name) for name in ("reasoning", "tool_calls", "extra")}
                turn["content"] = record["text"]
    return turn


def _add_fragment(calls: list[Json], record: Json) -> None:
    if record["index"] == len(calls):
        calls.append({"arguments": "", "extra": {}})
    call = calls[record["index"]]
    call |= {name: record[name] for name in ("id", "name", "kind") if name in record}
    call["arguments"] += record.get("arguments", "")
    call["extra"] |= record.get("extra", {})
