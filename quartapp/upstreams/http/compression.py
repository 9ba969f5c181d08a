"""Decompression of responses that a server compresses although the request refuses it.

It yields small pieces, so that a compression bomb does not block other requests.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable
from typing import Final

from quartapp.core.errors import ChatError

PIECE_BYTES: Final = 65_536

CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})

# zlib's `wbits` for a stream with a gzip or zlib header, and for one without a header: some servers send deflate so.
_WITH_HEAD: Final = 32 + zlib.MAX_WBITS
_WITHOUT_HEAD: Final = -zlib.MAX_WBITS


class Decompressed:
    """An async iterator over a decompressed body.

    Yields at most 64 KiB, then lets other tasks run. If the body is truncated, it ends without an error. Raises
    ChatError, upstream_error, for a body in another coding.
    """

    def __init__(self, body: AsyncIterable[bytes], coding: str) -> None:
        self._body = aiter(body)
        self._inflate = zlib.decompressobj(_WITH_HEAD)
        self._may_lack_head = coding == "deflate"
        self._has_more = False
        self._left = b""

    def __aiter__(self) -> Decompressed:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._left or self._has_more:
                await asyncio.sleep(0)
            else:
                self._left = await anext(self._body)
            if piece := self._next():
                return piece

    def _next(self) -> bytes:
        if self._inflate.eof:  # a gzip body may continue with zeros or with another member
            self._left = self._left.lstrip(b"\0")
            if not self._left:
                return b""
            self._inflate = zlib.decompressobj(_WITH_HEAD)
        try:
            piece = self._inflate.decompress(self._left, PIECE_BYTES)
        except zlib.error as error:
            if not self._may_lack_head:
                raise ChatError("upstream_error") from error
            self._may_lack_head = False
            self._inflate = zlib.decompressobj(_WITHOUT_HEAD)
            return self._next()
        self._may_lack_head = False
        self._has_more = len(piece) == PIECE_BYTES  # zlib may hold more output of the same input
        self._left = self._inflate.unused_data or self._inflate.unconsumed_tail
        return piece
