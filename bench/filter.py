"""`python -m bench.filter`: the cost of an output filter for a token, without servers and clients."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from typing import Any

from quartapp.answer.filter.stream import OutputFilter, filtered
from quartapp.core.events import Batch, Batches, Delta, Piece, Raw

TOKENS = 20_000
KEY = re.compile(r"sk-\w{1,60}")


def redact(text: str, principal: Any) -> str:
    return KEY.sub("***", text)


def chunk(text: str) -> Raw:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return Raw(json.dumps({**head, "choices": [choice]}).encode(), text)


async def seconds(pieces: Sequence[Piece], filters: Sequence[OutputFilter], each: int) -> float:
    """Return the time for an answer of `pieces`, of which each read of the upstream has `each`."""

    async def model() -> Batches:
        for start in range(0, len(pieces), each):
            yield Batch(0, list(pieces[start : start + each]))

    began = time.perf_counter()
    async for _ in filtered(model, filters, None)():
        pass
    return time.perf_counter() - began


async def main() -> None:
    texts = [f"word{number % 97} " for number in range(TOKENS)]
    events: dict[str, list[Piece]] = {"records": [*map(Delta, texts)], "/v1": [*map(chunk, texts)]}
    for name, pieces in events.items():
        for each in (1, 20):
            for window in (64, 1024):
                filters = [OutputFilter(redact, window)]
                best = [min([await seconds(pieces, used, each) for _ in range(3)]) for used in (filters, [])]
                cost = (best[0] - best[1]) / TOKENS * 1e6
                print(f"{name}, {each} tokens a read, window {window}: {cost:.1f} µs a token")


if __name__ == "__main__":
    asyncio.run(main())
