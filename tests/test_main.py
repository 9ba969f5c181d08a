"""The command line: what it serves, and how it says that it cannot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder without a `.env`; it must end by itself."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    command = [sys.executable, "-m", "quartapp", *arguments]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CHAT_GATE_S": "soon"}, "CHAT_GATE_S: "),
        ({"CHAT_MODLE": "x"}, "CHAT_MODLE: not a setting"),
        ({"PORT": "http"}, "PORT: "),
        ({"HOST": "nowhere.invalid"}, "nowhere.invalid:8000: "),
    ],
)
def test_what_stops_the_start_is_said_in_one_line(environ: dict[str, str], words: str, tmp_path: Path) -> None:
    ended = run(tmp_path, **environ)
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("quartapp cannot start. ")
    assert words in last
    assert "Traceback" not in ended.stderr


def test_what_only_the_start_itself_can_find_is_said_in_the_last_line(tmp_path: Path) -> None:
    ended = run(tmp_path, CHAT_MODEL="gpt-x")
    assert ended.returncode == 2
    assert "CHAT_MODEL: no model of the embedded server" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [[], ["run"], ["embedded"]])
def test_a_port_that_is_taken_is_named(command: list[str], taken: int, tmp_path: Path) -> None:
    ended = run(tmp_path, "--port", str(taken), *command)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert f"127.0.0.1:{taken}: Address already in use" in ended.stderr


def test_help_names_the_commands(tmp_path: Path) -> None:
    ended = run(tmp_path, "--help")
    assert ended.returncode == 0
    assert {"run", "embedded", "--port", "--host"} <= set(ended.stdout.split())
