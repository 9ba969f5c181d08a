"""A client of answers that hides nothing of how a body ended, and answers that are read for long."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from tests.support.schema_check import hold_to_schema
from tests.support.serving import CANARY_PROMPT, Server, Servers, upstream_settings
from tests.support.wire_formats import DONE, FORMATS, NDJSON, Format, records

T = TypeVar("T")


class Endpoint(Protocol):
    """Where a question is asked: a server, or a proxy before it. What clients received is kept for it in a file."""

    port: int
    received_path: Path


class RawClient:
    """One question over a connection of its own. `close` it, or leave with one of the three ways that clients have."""

    def __init__(
        self, endpoint: Endpoint, format: Format, stream: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._writer = writer
        self._received = bytearray()
        self.format = format
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False

    @classmethod
    async def ask(
        cls,
        endpoint: Endpoint,
        prompt: str,
        tag: str,
        format: Format = NDJSON,
        model: str | None = None,
        receive_buffer_bytes: int | None = None,
        connection: str = "close",
    ) -> Self:
        """Connects and sends the question; `tag` ends the prompt, and is the request's id on the client's side."""
        sock = socket.socket()
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", endpoint.port))
        stream, writer = await asyncio.open_connection(sock=sock, limit=2**16)
        headers = (f"X-Request-ID: {tag}", f"Connection: {connection}")
        writer.write(format.request(f"{prompt} {CANARY_PROMPT} {tag}", model, headers))
        await writer.drain()
        return cls(endpoint, format, stream, writer)

    @property
    def port(self) -> int:
        return int(self._writer.get_extra_info("sockname")[1])

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of NDJSON received so far."""
        return records(self.body)

    @property
    def ending(self) -> str | None:
        """What the body says of the answer: DONE, the code of its error, or nothing."""
        return self.format.ending(self.body)

    @property
    def refused(self) -> str:
        """The code of the error that came in the answer's place."""
        return self.format.refused(self.body)

    @property
    def seen(self) -> str:
        """What a client of the format takes the reply for, once it is read: `whole`, or how it shows that it is not.

        That is a status, an `error`, a body `aborted`, or one `cut`: an end that says nothing where it should.
        """
        if self.status != 200:
            return str(self.status)
        if not self.is_whole:
            return "aborted"
        if self.format.is_streamed and not self.format.has_records:
            return "whole"
        return {DONE: "whole", None: "cut"}.get(self.ending, "error")

    async def read_head(self) -> int:
        """The status; sets `headers` too."""
        head = await self._stream.readuntil(b"\r\n\r\n")
        self._received += head
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self.status

    async def read_until(self, text: bytes, times: int = 1) -> None:
        """Read the head and the body, until the body contains `text` this many times."""
        if not self.status:
            await self.read_head()
        while self.body.count(text) < times:
            assert await self._read_chunk(), f"the body ended without {text!r}: {self.body!r}"

    async def read(self) -> Self:
        """Reads to the end, however it ends: `is_whole` is true only for the body's own end."""
        try:
            if not self.status:
                await self.read_head()
            while await self._read_chunk():
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_whole = False
        if self.status:
            self._hold_to_schema()
        return self

    def _hold_to_schema(self) -> None:
        """Every byte that is received anywhere is one that the served document tells of."""
        media_type = self.headers.get("content-type", "")
        hold_to_schema(
            self.format.method, self.format.path, self.status, media_type, self.body, is_whole=bool(self.is_whole)
        )

    async def _read_chunk(self) -> bytes:
        """The body's next piece, empty at its proper end. Raises IncompleteReadError or ConnectionError."""
        if "content-length" in self.headers:
            data = await self._exactly(int(self.headers["content-length"]) - len(self.body))
        else:
            size = await self._stream.readuntil(b"\r\n")
            self._received += size
            data = (await self._exactly(int(size, 16) + 2))[:-2]
        self.is_whole = not data
        self.body += data
        return data

    async def _exactly(self, size: int) -> bytes:
        data = await self._stream.readexactly(size)
        self._received += data
        return data

    def stop_taking(self) -> None:
        """Takes nothing more off the socket, which stays open."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def leave(self, how: str) -> None:
        """Leaves by "close", by "reset" (RST), or by "half_close", after which it could still read."""
        if how == "half_close":
            self._writer.write_eof()
            return
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    async def close(self) -> None:
        """Returns when the socket is closed, and what it gave is kept for the hunt for canaries."""
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        with self._endpoint.received_path.open("ab") as received:
            received.write(self._received + b"\n")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def in_each_format(check: Callable[[Format], Awaitable[None]], formats: Sequence[Format] = FORMATS) -> None:
    """Runs `check` for all `formats` at once, each to its end; raises the failures of all together."""
    await all_of(check, formats, named=lambda format: f"format {format.name}")


async def all_of(check: Callable[[T], Awaitable[None]], cases: Sequence[T], named: Callable[[T], str]) -> None:
    """Run `check` for all `cases` at once, each to its end. Raises the failures of all as one ExceptionGroup."""
    results = await asyncio.gather(*map(check, cases), return_exceptions=True)
    failures = [(case, result) for case, result in zip(cases, results, strict=True) if isinstance(result, Exception)]
    for case, failure in failures:
        failure.add_note(f"in the {named(case)}")
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(cases)} cases", [failure for _, failure in failures])


class LongAnswers:
    """Answers that take 75 s each under default settings, read by a thread of their own beside the other tests."""

    SECONDS = 75
    TOKENS = 2 * SECONDS
    KINDS = ("hypercorn", "gunicorn", "quartapp")

    def __init__(self, servers: Servers, base_url: str) -> None:
        self._servers = {kind: servers.get(kind, **upstream_settings(base_url)) for kind in self.KINDS}
        self._clients: Future[dict[tuple[str, Format], RawClient]] = Future()
        threading.Thread(target=self._run, name="long answers", daemon=True).start()

    async def read(self, kind: str, format: Format) -> tuple[Server, RawClient]:
        """The server and the client of one of the answers, read to its end."""
        clients = await asyncio.shield(asyncio.wrap_future(self._clients))
        return self._servers[kind], clients[kind, format]

    def _run(self) -> None:
        try:
            self._clients.set_result(asyncio.run(self._read_all()))
        except Exception as error:  # noqa: BLE001 - the tests that wait for the clients raise it
            self._clients.set_exception(error)

    async def _read_all(self) -> dict[tuple[str, Format], RawClient]:
        keys = [(kind, format) for kind in self.KINDS for format in FORMATS]
        return dict(zip(keys, await asyncio.gather(*(self._read(*key) for key in keys)), strict=True))

    async def _read(self, kind: str, format: Format) -> RawClient:
        tag = f"long-{kind}-{FORMATS.index(format)}"
        async with await RawClient.ask(self._servers[kind], f"paced:{self.TOKENS}", tag, format) as client:
            return await client.read()
