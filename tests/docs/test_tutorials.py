"""The tutorials, followed from an empty folder: each file is written, each command runs, each output appears."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.documents import Block, blocks
from tests.support.sampling import SOAK
from tests.support.serving import FOREIGN, ROOT, Server

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))

# Commands whose effect the test already has: a folder, and an environment with the package.
DONE_ALREADY = {"mkdir", "cd", "python3", ".", "pip"}
#: The port that each server listens on unless it is given another, and the rest of its command.
SERVERS = {"hypercorn": (8000, "app:app"), "flask": (5000, "run")}

#: Seconds for the effect of a hook, which runs after the end of the answer.
EFFECT_S = 10

ENVIRONMENT = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}


class Walk:
    """A user who follows the page in `folder`."""

    def __init__(self, folder: Path, programs: Mapping[str, str]) -> None:
        self._folder = folder
        self._programs = programs
        self._server: Server | None = None
        self._address = ""
        self._again: list[str] = []
        self.output: str | None = None
        self.files: list[str] = []
        self.commands: list[str] = []

    def follow(self, block: Block) -> None:
        """Write the block's file, run its commands, or compare it with the output of the last command."""
        match block.language:
            case "python" | "html":
                self._write(block)
            case "sh":
                for line in block.text.replace("\\\n", " ").splitlines():
                    self._run(shlex.split(line))
            case "text":
                self._compare(re.escape(block.text.strip()).replace("…", "[0-9a-f]{32}"))
            case other:
                raise AssertionError(f"no rule for a block of {other}")

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.reap()

    def _compare(self, expected: str) -> None:
        """Compare the output with a pattern. A GET is sent again, because the page may show the effect of a hook."""
        deadline = time.monotonic() + EFFECT_S
        while True:
            assert self.output is not None
            if re.fullmatch(expected, self.output.strip()):
                break
            assert self._again, self.output
            assert time.monotonic() < deadline, self.output
            self.output = self._output(self._again)
        self.output = None

    def _write(self, block: Block) -> None:
        assert block.file, f"no file is named before: {block.text}"
        path = self._folder / block.file
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        self.files.append(block.file)

    def _run(self, command: list[str]) -> None:
        name = command[0]
        self.commands.append(name)
        if name in DONE_ALREADY:
            return
        assert self.output is None, f"the page does not show: {self.output}"
        if name in SERVERS:
            port, target = SERVERS[name]
            assert command == [name, target]
            self.stop()
            target = "app" if name == "flask" else target
            self._server = Server(name, self._folder, {"CHAT_MOCK_TOKENS_PER_S": "0"}, target)
            self._address = f"127.0.0.1:{port}"
        elif name == "curl":
            assert self._server is not None
            address = f"127.0.0.1:{self._server.port}"
            local = [word.replace(self._address, address) for word in command[1:]]
            assert local != command[1:]
            request = [self._programs["curl"], "--silent", "--show-error", *local]
            self._again = [] if "-d" in command else request
            self.output = self._output(request) or None
        else:
            assert command == ["python", "-m", "pytest", "-q"]
            assert "1 passed" in self._output([sys.executable, *command[1:], "-p", "no:cacheprovider"])

    def _output(self, command: list[str]) -> str:
        paths = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=self._folder, env=paths, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def walk(tmp_path: Path, needs: Callable[[str], str]) -> Iterator[Walk]:
    walk = Walk(tmp_path, {"curl": needs("curl")})
    yield walk
    walk.stop()


@pytest.mark.timeout(300)  # it starts up to four servers
@pytest.mark.parametrize("page", [TUTORIALS[-1], *(pytest.param(page, marks=SOAK) for page in TUTORIALS[:-1])])
def test_a_tutorial_does_what_it_shows(page: Path, walk: Walk) -> None:
    for block in blocks(page):
        walk.follow(block)
    assert walk.output is None
    assert walk.files[-1] == "test_app.py"
    assert walk.commands[-1] == "python"


def test_there_is_a_tutorial_for_each_framework() -> None:
    assert [page.stem for page in TUTORIALS] == ["flask", "quart"]
