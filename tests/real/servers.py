"""Third parties' servers: each has an environment of its own, and runs as a process while a test needs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".cache"
START_TIMEOUT_S = 120


def installed(program: str, *requirements: str) -> str:
    """Return the path of `program` of the first requirement. It is installed once, into `.cache`."""
    venv = CACHE / program
    done = venv / ".requirements"
    if not done.exists() or done.read_text() != "\n".join(requirements):
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "-q", *requirements], check=True)
        done.write_text("\n".join(requirements))
    return str(venv / "bin" / program)


def free_port() -> int:
    """Return a port on which no program listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass(frozen=True)
class Running:
    """A server's process, and where it is reached."""

    origin: str
    process: subprocess.Popen[bytes]


@contextmanager
def running(
    command: Sequence[str], folder: Path, origin: str, alive: str, environ: Mapping[str, str]
) -> Iterator[Running]:
    """Run `command` in `folder`, its home too, until the path `alive` answers. Its output is in `folder/log`."""
    with (folder / "log").open("wb") as log:
        around = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
        process = subprocess.Popen(command, cwd=folder, env=around, stdout=log, stderr=log)
    try:
        _wait_until_alive(origin + alive, process)
        yield Running(origin, process)
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_alive(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{process.args!r} did not start")
