"""Real server processes, and a reader of their answers that hides nothing of how a body ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

ROOT = Path(__file__).parents[1]

#: In the environment of every server that asks an upstream, and in every prompt; neither may come out anywhere.
CANARY_KEY = "sk-canary-4f1c9b2e7d3a8056"
CANARY_PROMPT = "canary-prompt"

#: How to start the app in each server, and how to start the embedded model as a server of its own.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "hypercorn": ("hypercorn", "--bind", "127.0.0.1:{port}", "{target}"),
    "gunicorn": ("gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "{target}"),
    "quartapp": ("quartapp",),
    "embedded": ("quartapp", "embedded"),
}
APP = "quartapp:create_app()"

#: Names that would change what a server does, wherever the tests run.
FOREIGN = re.compile(
    r"(OPENAI|AZURE|CHAT|QUART|HYPERCORN|GUNICORN)_.*|.*_proxy|HOST|PORT|WEB_CONCURRENCY", re.IGNORECASE
)

Found = TypeVar("Found")


async def eventually(find: Callable[[], Found], within_s: float = 5) -> Found:
    """What `find` returns once it is true. Raises AssertionError if it is not within `within_s`."""
    deadline = time.monotonic() + within_s
    while not (found := find()):
        assert time.monotonic() < deadline, f"not within {within_s} s; last seen: {found!r}"
        await asyncio.sleep(0.01)
    return found


def asking(base_url: str) -> dict[str, str]:
    """The environment of a server that asks the upstream at `base_url`, with the canary key."""
    return {"OPENAI_API_KEY": CANARY_KEY, "OPENAI_BASE_URL": base_url, "CHAT_MODEL": "the-model"}


class Server:
    """A running server process; `directory` gets its log and the bytes that readers received of it."""

    def __init__(self, kind: str, directory: Path, environment: Mapping[str, str], target: str = APP) -> None:
        self.port = _free_port()
        self.log_path = directory / "log"
        self.received_path = directory / "received"
        self._log_read_bytes = 0
        self._answer_lines: list[dict[str, Any]] = []
        command = [part.format(port=self.port, target=target) for part in COMMANDS[kind]]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=directory,
                env=_environment(environment) | {"PORT": str(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_listening()

    def terminate(self) -> list[psutil.Process]:
        """Asks the server to end; returns the processes that are to do so."""
        processes = self._processes() if self._process.poll() is None else []
        self._process.terminate()
        return processes

    def reap(self) -> None:
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def exit_code(self, within_s: float) -> int:
        return await asyncio.to_thread(self._process.wait, within_s)

    # -- what it said

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")

    async def wait_for_log(self, pattern: str, timeout_s: float = 5) -> str:
        """The first match of `pattern` in the log."""
        return (await eventually(lambda: re.search(pattern, self.log_text()), timeout_s)).group()  # type: ignore[union-attr]

    def answer_lines(self, **wanted: Any) -> list[dict[str, Any]]:
        """The log's lines of answers that say what is `wanted` of them."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_read_bytes)
            new = log.read()
        new = new[: new.rfind(b"\n") + 1]
        self._log_read_bytes += len(new)
        self._answer_lines += map(json.loads, re.findall(rb"\banswer (\{.*\})$", new, re.MULTILINE))
        return [line for line in self._answer_lines if wanted.items() <= line.items()]

    # -- what it holds

    def open_fds(self) -> int:
        return sum(process.num_fds() for process in self._processes())

    def rss_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self._processes())

    def upstream_connections(self, port: int) -> int:
        """Connections of the server to a peer's `port`, in whatever state: to an upstream's, or to a reader's."""
        found = [c for process in self._processes() for c in process.net_connections("tcp")]
        return sum(bool(connection.raddr) and connection.raddr.port == port for connection in found)

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def _wait_until_listening(self, limit_s: float = 30) -> None:
        deadline = time.monotonic() + limit_s
        while self._process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        _end(self.terminate())
        self.reap()
        raise AssertionError(f"the server did not start:\n{self.log_text()}")


def _end(processes: list[psutil.Process], within_s: float = 20) -> None:
    for process in psutil.wait_procs(processes, timeout=within_s)[1]:
        process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "hosts")])
    return ours | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"} | dict(given)


class Servers:
    """The session's servers, started when first asked for; `directories` gives each one a directory of its own."""

    def __init__(self, directories: Iterator[Path]) -> None:
        self._directories = directories
        self._shared: dict[tuple[Any, ...], Server] = {}
        self._all: list[Server] = []

    def get(self, kind: str, target: str = APP, **environment: str) -> Server:
        """A server that others may use too: the same settings get the same one."""
        key = (kind, target, *sorted(environment.items()))
        if key not in self._shared:
            self._shared[key] = self.start(kind, target, **environment)
        return self._shared[key]

    def start(self, kind: str, target: str = APP, **environment: str) -> Server:
        """A server for the caller alone, who may end it."""
        self._all.append(Server(kind, next(self._directories), environment, target))
        return self._all[-1]

    def stop(self) -> None:
        """Asks all of them to end, and ends those that do not."""
        _end([process for server in self._all for process in server.terminate()])
        for server in self._all:
            server.reap()

    def canaries(self) -> list[str]:
        """Where a canary came out: the lines of logs and received bytes that hold one."""
        paths = [path for server in self._all for path in (server.log_path, server.received_path) if path.exists()]
        lines = [f"{path}: {line!r}" for path in paths for line in path.read_bytes().split(b"\n")]
        return [line for line in lines if CANARY_KEY in line or CANARY_PROMPT in line]


class Reader:
    """One question over a connection of its own. `close` it, or leave with one of the three ways that readers have."""

    def __init__(self, server: Server, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._stream = stream
        self._writer = writer
        self._received = bytearray()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False

    @classmethod
    async def ask(
        cls,
        server: Server,
        prompt: str,
        tag: str,
        accept: str = "application/x-ndjson",
        model: str | None = None,
        receive_buffer_bytes: int | None = None,
        connection: str = "close",
    ) -> Self:
        """Connects and sends the question; `tag` ends the prompt, and is the request's id on the client's side."""
        sock = socket.socket()
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
        stream, writer = await asyncio.open_connection(sock=sock, limit=2**16)
        document = {"message": f"{prompt} {CANARY_PROMPT} {tag}"} | ({"model": model} if model else {})
        writer.write(_request(json.dumps(document).encode(), tag, accept, connection))
        await writer.drain()
        return cls(server, stream, writer)

    @property
    def port(self) -> int:
        return int(self._writer.get_extra_info("sockname")[1])

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records received so far; the last line counts only if it ended."""
        return [json.loads(line) for line in self.body.split(b"\n")[:-1]]

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    async def read_head(self) -> int:
        """The status; sets `headers` too."""
        head = await self._stream.readuntil(b"\r\n\r\n")
        self._received += head
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self.status

    async def read_until(self, text: bytes) -> None:
        """Reads the head and on, until the body holds `text`."""
        if not self.status:
            await self.read_head()
        while text not in self.body:
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
        return self

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
        with self._server.received_path.open("ab") as received:
            received.write(self._received + b"\n")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _request(body: bytes, tag: str, accept: str, connection: str) -> bytes:
    head = (
        f"POST /api/stream HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nX-Request-ID: {tag}\r\n"
        f"Connection: {connection}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class LongAnswers:
    """Answers that take 75 s each under default settings, read by a thread of their own beside the other tests."""

    SECONDS = 75
    TOKENS = 2 * SECONDS
    KINDS = ("hypercorn", "gunicorn", "quartapp")
    FORMATS = ("text/plain", "application/x-ndjson")

    def __init__(self, servers: Servers, base_url: str) -> None:
        self._servers = {kind: servers.get(kind, **asking(base_url)) for kind in self.KINDS}
        self._readers: Future[dict[tuple[str, str], Reader]] = Future()
        threading.Thread(target=self._run, name="long answers", daemon=True).start()

    async def read(self, kind: str, accept: str) -> tuple[Server, Reader]:
        """The server and the reader of one of the answers, read to its end."""
        readers = await asyncio.shield(asyncio.wrap_future(self._readers))
        return self._servers[kind], readers[kind, accept]

    def _run(self) -> None:
        try:
            self._readers.set_result(asyncio.run(self._read_all()))
        except Exception as error:  # noqa: BLE001 - the tests that wait for the readers raise it
            self._readers.set_exception(error)

    async def _read_all(self) -> dict[tuple[str, str], Reader]:
        keys = [(kind, accept) for kind in self.KINDS for accept in self.FORMATS]
        return dict(zip(keys, await asyncio.gather(*(self._read(*key) for key in keys)), strict=True))

    async def _read(self, kind: str, accept: str) -> Reader:
        tag = f"long-{kind}-{accept[:4]}"
        async with await Reader.ask(self._servers[kind], f"paced:{self.TOKENS}", tag, accept) as reader:
            return await reader.read()
