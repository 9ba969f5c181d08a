"""Starts servers as forks of one process that has imported the app: an import takes longer than most tests.

Each server is a process of its own with its own environment, folder and exit code. It runs the same command line.
Processes whose start itself is tested are not forks. Where the system has no `pidfd_open`, no process is.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

IS_POSSIBLE = hasattr(os, "pidfd_open")


class Child(Protocol):
    """A child process, as `subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def send_signal(self, sig: int) -> None: ...


class Fork:
    """A fork of the launcher. Its exit code comes over `connection`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile("rb")
        self._code: int | None = None
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, or minus the number of the signal. Raises `subprocess.TimeoutExpired`."""
        if self._code is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self._code = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self._code

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)


class Launcher:
    """The process that forks. It ends with `close`, and when the process that made it ends."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._address = str(Path(self._folder.name) / "socket")
        command = [sys.executable, "-m", "tests.support.launcher", self._address]
        self._process = subprocess.Popen(command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def start(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Fork:
        """Run `python -m` with `arguments` in `folder`. Its output is appended to `log`."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment), "log": str(log)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        return Fork(connection)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()


# -- in the launcher's own process


class _Forks:
    """Forks for each connection, and reports on it the number of the process and how that ended."""

    def __init__(self, listening: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listening = listening
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def run(self) -> None:
        """Return in the launcher once its standard input has ended, and in a fork raise SystemExit."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is self._listening:
                    self._fork(self._listening.accept()[0])
                else:
                    self._report(key.fd, *key.data)

    def _fork(self, connection: socket.socket) -> None:
        request = json.loads(connection.makefile("rb").readline())
        pid = os.fork()
        if pid == 0:
            connection.close()
            self._listening.close()
            self._selector.close()
            _become(request)
        connection.sendall(b"%d\n" % pid)
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))

    def _report(self, pidfd: int, pid: int, connection: socket.socket) -> None:
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        with suppress(OSError), connection:
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _become(request: Mapping[str, Any]) -> None:
    """Run a module as `python -m` does, and end this process as it ends."""
    code = 1
    try:
        _redirect(request["log"])
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[0] = request["folder"]
        module, *arguments = request["arguments"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = _exit_code(ended.code)
    except BaseException:  # noqa: BLE001 - as the interpreter prints whatever ends a program
        traceback.print_exc()
    finally:
        with suppress(Exception):
            _run_exit_functions()
        os._exit(code)


def _redirect(log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)
    os.close(nothing)


def _exit_code(code: object) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    sys.stderr.write(f"{code}\n")
    return 1


def _run_exit_functions() -> None:
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()


def _import_servers() -> None:
    """Import what the command lines import, apart from the modules that these run."""
    for name in ("gunicorn.app.wsgiapp", "hypercorn.asyncio.run", "hypercorn.run", "quartapp.mock", "quartapp.server"):
        importlib.import_module(name)


@contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        yield listening


if __name__ == "__main__":
    _import_servers()
    with _listening(sys.argv[1]) as listening:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        _Forks(listening).run()
