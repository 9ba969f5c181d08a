"""Real server processes: the app in each of its servers, the mock model, and nginx before the app."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from tests.support.launcher import IS_POSSIBLE, Child, Launcher

ROOT = Path(__file__).parents[2]

#: In the environment of every server that asks an upstream, and in every prompt; neither may come out anywhere.
CANARY_KEY = "sk-canary-4f1c9b2e7d3a8056"
CANARY_PROMPT = "canary-prompt"

#: How to start the app in each server, and how to start the mock model as a server of its own.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    # Without a process that only watches the one that serves; with it, its own default, the app is imported twice.
    "hypercorn": ("hypercorn", "--workers", "0", "--bind", "127.0.0.1:{port}", "{target}"),
    "bare hypercorn": ("hypercorn", "--bind", "127.0.0.1:{port}", "{target}"),
    "gunicorn": ("gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "{target}"),
    # As its own defaults are: a WSGI worker and no file of settings.
    "bare gunicorn": ("gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket", "{target}"),
    "gunicorn -k asgi": ("gunicorn", "-k", "asgi", "--bind", "127.0.0.1:{port}", "--no-control-socket", "{target}"),
    "gthread": (
        *("gunicorn", "-k", "gthread", "--threads", "64", "--bind", "127.0.0.1:{port}"),
        *("--no-control-socket", "{target}"),
    ),
    "small waitress": ("waitress", "--listen=127.0.0.1:{port}", "--threads=3", "{target}"),
    "waitress": ("waitress", "--listen=127.0.0.1:{port}", "--threads=64", "{target}"),
    "flask": ("flask", "--app", "{target}", "run", "--port", "{port}"),
    "flask --debug": ("flask", "--app", "{target}", "run", "--debug", "--port", "{port}"),
    "quartapp": ("quartapp",),
    "mock": ("quartapp", "mock"),
}
APP = "quartapp:create_app()"

#: Names that would change what a server does, wherever the tests run.
FOREIGN = re.compile(
    r"(OPENAI|AZURE|CHAT|QUART|HYPERCORN|GUNICORN)_.*|.*_proxy|HOST|PORT|WEB_CONCURRENCY", re.IGNORECASE
)

#: For tests of `Servers.run`.
forks = pytest.mark.skipif(not IS_POSSIBLE, reason="the launcher needs pidfd_open")

#: How long a command line may take that ends by itself.
RUNS_FOR_S = 30

Found = TypeVar("Found")


async def eventually(find: Callable[[], Found], within_s: float = 5) -> Found:
    """What `find` returns once it is true. Raises AssertionError if it is not within `within_s`."""
    deadline = time.monotonic() + within_s
    while not (found := find()):
        assert time.monotonic() < deadline, f"not within {within_s} s; last seen: {found!r}"
        await asyncio.sleep(0.01)
    return found


def upstream_settings(base_url: str) -> dict[str, str]:
    """The environment of a server that asks the upstream at `base_url`, with the canary key."""
    return {"OPENAI_API_KEY": CANARY_KEY, "OPENAI_BASE_URL": base_url, "CHAT_MODEL": "the-model"}


class Process:
    """A running server; `directory` gets its log and the bytes that readers received of it."""

    def __init__(self, directory: Path, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host
        self.log_path = directory / "log"
        self.received_path = directory / "received"
        self.log_path.touch()
        self._directory = directory
        self._process = self._start()
        self._wait_until_listening()

    def _start(self) -> Child:
        raise NotImplementedError

    def _run(self, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start `command` in the server's folder, with its output in the log."""
        with self.log_path.open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self._directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def terminate(self) -> list[psutil.Process]:
        """Asks the server to end; returns the processes that are to do so."""
        processes = self._processes() if self._process.poll() is None else []
        self._process.terminate()
        return processes

    def reap(self) -> None:
        self._process.wait()

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def _wait_until_listening(self, limit_s: float = 30) -> None:
        deadline = time.monotonic() + limit_s
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((self.host, self.port)):
                return
            time.sleep(0.02)
        _end(self.terminate())
        self.reap()
        raise AssertionError(f"the server did not start:\n{self.log_text()}")


class Nginx(Process):
    """A proxy before the server on `port`, with nginx's own defaults but for the `directives` of its location.

    It logs nothing: its lines would quote the query of a GET.
    """

    def __init__(self, program: str, directory: Path, port: int, directives: str) -> None:
        own = _free_port()
        location = f"location / {{ proxy_pass http://127.0.0.1:{port}; {directives} }}"
        (directory / "nginx.conf").write_text(
            f"daemon off; pid nginx.pid; error_log /dev/null crit; events {{}}\n"
            f"http {{ access_log off; server {{ listen 127.0.0.1:{own}; {location} }} }}\n"
        )
        self._program = program
        super().__init__(directory, own)

    def _start(self) -> Child:
        command = [self._program, "-p", str(self._directory), "-c", "nginx.conf", "-e", "stderr"]
        return self._run(command, environment({}))


class Server(Process):
    """The app in a server, or the mock model as one: a fork of `launcher`, or without one a fresh interpreter."""

    def __init__(
        self,
        kind: str,
        directory: Path,
        given: Mapping[str, str],
        target: str = APP,
        launcher: Launcher | None = None,
    ) -> None:
        port = _free_port()
        self._arguments = [part.format(port=port, target=target) for part in COMMANDS[kind]]
        self._environment = environment({**given, "PORT": str(port)})
        self._launcher = launcher
        self._log_read_bytes = 0
        self._answer_lines: list[dict[str, Any]] = []
        super().__init__(directory, port, given.get("HOST", "127.0.0.1"))

    def _start(self) -> Child:
        if self._launcher is None:
            return self._run([sys.executable, "-m", *self._arguments], self._environment)
        return self._launcher.start(self._arguments, self._directory, self._environment, self.log_path)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def exit_code(self, within_s: float) -> int:
        return await asyncio.to_thread(self._process.wait, within_s)

    # -- what it said

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

    def open_file_limits(self) -> set[int]:
        """The soft limits of open files, of all the server's processes."""
        return {process.rlimit(psutil.RLIMIT_NOFILE)[0] for process in self._processes()}

    def rss_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self._processes())

    def upstream_connections(self, port: int) -> int:
        """Connections of the server to a peer's `port`, in whatever state: to an upstream's, or to a reader's."""
        found = [c for process in self._processes() for c in process.net_connections("tcp")]
        return sum(bool(connection.raddr) and connection.raddr.port == port for connection in found)


def _end(processes: list[psutil.Process], within_s: float = 20) -> None:
    for process in psutil.wait_procs(processes, timeout=within_s)[1]:
        process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: this process's, without names that would change the server, and `given`."""
    ours = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support" / "hosts")])
    return ours | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"} | dict(given)


class Servers:
    """The session's servers, started when first asked for; `directories` gives each one a directory of its own."""

    def __init__(self, directories: Iterator[Path]) -> None:
        self._directories = directories
        self._shared: dict[tuple[Any, ...], Server] = {}
        self._proxies: dict[tuple[Server, str], Nginx] = {}
        self._all: list[Process] = []
        self._launcher: Launcher | None = None

    def get(self, kind: str, target: str = APP, **environment: str) -> Server:
        """A server that others may use too: the same settings get the same one."""
        key = (kind, target, *sorted(environment.items()))
        if key not in self._shared:
            self._shared[key] = self.start(kind, target, **environment)
        return self._shared[key]

    def start(self, kind: str, target: str = APP, **environment: str) -> Server:
        """A server for the caller alone, who may end it."""
        return self._add(kind, target, environment, self._open_launcher() if IS_POSSIBLE else None)

    def start_fresh(self, kind: str, target: str = APP, **environment: str) -> Server:
        """Start a server in a fresh interpreter, for tests of the process itself."""
        return self._add(kind, target, environment, None)

    def _add(self, kind: str, target: str, environment: Mapping[str, str], launcher: Launcher | None) -> Server:
        server = Server(kind, next(self._directories), environment, target, launcher)
        self._all.append(server)
        return server

    def run(self, *arguments: str, **given: str) -> tuple[int, str]:
        """Run `python -m` with `arguments` to its end. Return its exit code and what it has written."""
        folder = next(self._directories)
        log = folder / "log"
        log.touch()
        child = self._open_launcher().start(arguments, folder, environment(given), log)
        return child.wait(RUNS_FOR_S), log.read_text()

    def _open_launcher(self) -> Launcher:
        self._launcher = self._launcher or Launcher(environment({}))
        return self._launcher

    def proxy(self, program: str, server: Server, directives: str) -> Nginx:
        """The nginx before `server` whose location has these `directives`."""
        key = (server, directives)
        if key not in self._proxies:
            self._proxies[key] = Nginx(program, next(self._directories), server.port, directives)
            self._all.append(self._proxies[key])
        return self._proxies[key]

    def stop(self) -> None:
        """Asks all of them to end, and ends those that do not."""
        _end([process for server in self._all for process in server.terminate()])
        for server in self._all:
            server.reap()
        if self._launcher:
            self._launcher.close()

    def canaries(self) -> list[str]:
        """Where a canary came out: the lines of logs and received bytes that hold one."""
        paths = [path for server in self._all for path in (server.log_path, server.received_path) if path.exists()]
        lines = [f"{path}: {line!r}" for path in paths for line in path.read_bytes().split(b"\n")]
        return [line for line in lines if CANARY_KEY in line or CANARY_PROMPT in line]


@contextmanager
def servers_for_a_while() -> Iterator[Servers]:
    """Servers for what is no test; when it ends, they and all that they wrote are gone."""
    with tempfile.TemporaryDirectory() as parent:
        servers = Servers(Path(tempfile.mkdtemp(dir=parent)) for _ in itertools.count())
        try:
            yield servers
        finally:
            servers.stop()
