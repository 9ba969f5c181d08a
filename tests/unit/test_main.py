"""The command line: the server that it starts, and its messages when it cannot."""

from __future__ import annotations

import os
import pkgutil
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import quartapp
from quartapp.__main__ import main
from tests.support.serving import Servers, forks

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder without a `.env`, until it ends by itself."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    command = [sys.executable, "-m", "quartapp", *arguments]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@forks
@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CHAT_STATUS_TIMEOUT_S": "soon"}, "CHAT_STATUS_TIMEOUT_S: "),
        ({"PORT": "http"}, "PORT: "),
        ({"HOST": "nowhere.invalid"}, "HOST: nowhere.invalid cannot be resolved; for example HOST=127.0.0.1"),
        ({"HOST": "192.0.2.1"}, "HOST: 192.0.2.1 is not an address of this machine; for example HOST=127.0.0.1"),
        ({"HOST": "a..b"}, "HOST: a..b cannot be resolved; "),
        (
            {"CHAT_MODELS_FILE": "/x/nowhere.toml"},
            "CHAT_MODELS_FILE: /x/nowhere.toml cannot be read (FileNotFoundError); ",
        ),
        ({"CHAT_MODELS": '{"a": {"kind": "none"}}'}, "CHAT_MODELS: models.a.kind: "),
        ({"CHAT_MODELS": '{"a": {"kind": "mock"}}', "CHAT_MODEL": "b"}, "CHAT_MODEL: none of the models"),
        ({"CHAT_MODEL": "gpt-x"}, "CHAT_MODEL: no model of the mock server"),
        ({"OPENAI_API_KEY": "sk-1", "CHAT_CA_FILE": "nowhere.pem"}, "CHAT_CA_FILE: no certificates in PEM at "),
        (
            {"CHAT_CA_FILE": "/x/nowhere.pem"},
            'CHAT_CA_FILE: no certificates in PEM at "/x/nowhere.pem" (FileNotFoundError)',
        ),
        ({"OPENAI_BASE_URL": "http://999.1.1.1/v1"}, "OPENAI_BASE_URL: not a server's URL"),
        ({"OPENAI_BASE_URL": "http://☃.example/v1"}, "OPENAI_BASE_URL: not a usable URL"),
        ({"OPENAI_API_KEY": "sk 1"}, "OPENAI_API_KEY: holds white space"),
        ({"AZURE_OPENAI_ENDPOINT": "https://a.example"}, "AZURE_OPENAI_DEPLOYMENT: "),
    ],
)
def test_an_error_that_stops_the_start_is_reported_in_one_line(
    environ: dict[str, str], words: str, servers: Servers
) -> None:
    code, text = servers.run("quartapp", **environ)
    assert code == 2
    *logged, line = text.splitlines()
    assert all(re.search(" (INFO|WARNING) in ", each) for each in logged)
    assert line.startswith(f"quartapp cannot start. {words}")


def test_a_process_that_cannot_start_ends_with_one_line_and_the_exit_code_2(tmp_path: Path) -> None:
    ended = run(tmp_path, HOST="192.0.2.1")
    assert (ended.returncode, ended.stdout) == (2, "")
    *logged, line = ended.stderr.splitlines()
    assert all(re.search(" (INFO|WARNING) in ", each) for each in logged)
    fault = "HOST: 192.0.2.1 is not an address of this machine; for example HOST=127.0.0.1"
    assert line == f"quartapp cannot start. {fault}"


@forks
def test_the_command_prints_its_version_and_ends(servers: Servers) -> None:
    assert servers.run("quartapp", "--version") == (0, f"quartapp {quartapp.__version__}\n")


def test_the_installed_command_is_the_one_that_the_module_runs() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert {name: pkgutil.resolve_name(target) for name, target in scripts.items()} == {"quartapp": main}


@forks
@pytest.mark.parametrize("command", ["run", "mock"])
def test_a_variable_of_another_program_does_not_stop_the_start(command: str, taken: int, servers: Servers) -> None:
    _, text = servers.run("quartapp", "--port", str(taken), command, CHAT_ROOM="7", CHAT_MODLE="x")
    assert "CHAT_ROOM: not a setting of quartapp; ignored" in text
    assert "CHAT_MODLE: not a setting of quartapp, perhaps CHAT_MODEL is meant; ignored" in text
    assert "Address already in use" in text


@forks
@pytest.mark.parametrize("command", [[], ["run"], ["mock"]])
def test_a_port_that_is_taken_is_named(command: list[str], taken: int, servers: Servers) -> None:
    code, text = servers.run("quartapp", "--port", str(taken), *command)
    assert (code, "Traceback" in text) == (2, False)
    assert f"127.0.0.1:{taken}: Address already in use" in text


@forks
def test_help_names_the_commands(servers: Servers) -> None:
    code, text = servers.run("quartapp", "--help")
    assert code == 0
    assert {"run", "mock", "--port", "--host"} <= set(text.split())
