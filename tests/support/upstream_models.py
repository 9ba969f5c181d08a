"""The model of a server on loopback, a question for it, and servers that never stop sending."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self

import pytest

from quartapp.core.errors import ChatError
from quartapp.core.events import Delta
from quartapp.core.request import ChatRequest
from quartapp.models.config import single_entry
from quartapp.settings.settings import Settings
from quartapp.upstreams.model import UpstreamModel
from quartapp.upstreams.opener import Upstreams
from tests.support.loopback import Exchange

KEY = "sk-canary-7f3a9b1c2d4e5f60"
PROMPT = "the prompt nobody may read"
MIB = 2**20

QUESTION = ChatRequest([{"role": "user", "content": PROMPT}])
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
WHOLE = TOKEN + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@asynccontextmanager
async def model_at(base_url: str, **given: Any) -> AsyncIterator[UpstreamModel]:
    """Open the model that the settings name, of a server at `base_url`, until the `async with` ends."""
    settings = Settings.load({"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY, "CHAT_MODEL": "model-1", **given})
    upstreams = Upstreams(settings)
    try:
        yield upstreams.open(*single_entry(settings))
    finally:
        await upstreams.close()


async def ask(model: UpstreamModel, request: ChatRequest = QUESTION) -> str:
    """Return the answer's text, and a full stop if it ended with `[DONE]`."""
    text = ""
    async with aclosing(model.build(request)()) as batches:
        async for batch in batches:
            text += "".join(piece.text for piece in batch.pieces if isinstance(piece, Delta)) + "." * batch.ended
    return text


async def failure(model: UpstreamModel) -> ChatError:
    with pytest.raises(ChatError) as raised:
        await ask(model)
    return raised.value


class Memory:
    """A measure of the most memory that Python holds inside the `with`: `peak_bytes`."""

    peak_bytes = 0

    def __enter__(self) -> Self:
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


async def peak_bytes(model: UpstreamModel) -> int:
    """Return the most memory that Python held while a failing answer was read."""
    with Memory() as memory:
        await failure(model)
    return memory.peak_bytes


class Endless:
    """An answer of `head` and then `piece` for ever; `sent` counts the bytes before the client disconnected."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head = head
        self._piece = piece
        self.sent = 0
        self.left = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        try:
            await exchange.send(self._head)
            while True:
                await exchange.send(self._piece)
                self.sent += len(self._piece)
        finally:
            self.left.set()
