"""The READMEs of the examples: a list of all, and the one command of each, which is run as it is written."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest

from tests.support.sampling import SOAK
from tests.support.serving import ROOT, environment

EXAMPLES = ROOT / "examples"
NAMES = sorted({path.parent.name for file in ("app.py", "run.py") for path in EXAMPLES.glob(f"*/{file}")})
NO_EXAMPLES = ("__pycache__", ".venv")
#: A folder of an earlier commit may still have the files that Python has cached.
FOLDERS = sorted(
    path.name
    for path in EXAMPLES.iterdir()
    if path.name not in NO_EXAMPLES and any(file.suffix != ".pyc" for file in path.rglob("*.*"))
)
STARTS_IN_S = 30
#: The fast run has the servers of the others in other tests.
FAST = ("quart_project", "script", "tools_page")
EACH_NAME = pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=SOAK) for name in NAMES]
)


def readme(name: str) -> str:
    return (EXAMPLES / name / "README.md").read_text(encoding="utf-8")


def command_of(name: str) -> str:
    """Return the only command of the README."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", readme(name), re.MULTILINE | re.DOTALL)
    return str(block).strip()


def sentence_of(name: str) -> str:
    """Return the first paragraph, which is one sentence, without its links."""
    return without_links(readme(name).split("\n\n")[1].replace("\n", " "))


def without_links(text: str) -> str:
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)


def test_each_folder_has_a_readme() -> None:
    assert [name for name in FOLDERS if not (EXAMPLES / name / "README.md").exists()] == []
    assert {*NAMES, "coming_from"} == {*FOLDERS}


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_has_one_sentence_one_command_and_what_to_look_at(name: str) -> None:
    assert command_of(name) == f"python3 -m examples {name}"
    assert len(re.findall(r"[.!?](?:\s|$)", sentence_of(name))) == 1
    assert 3 <= len(re.findall(r"^- ", readme(name), re.MULTILINE)) <= 6


@pytest.mark.parametrize("page", ["examples/README.md", "docs/howto/examples.md"])
def test_a_page_lists_each_example_with_its_sentence(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(\w+)\]\(\S+\): (.+(?:\n  .+)*)", text, re.MULTILINE)
    entries = {name: re.sub(r"\s+", " ", sentence) for name, sentence in listed}
    assert entries == {name: sentence_of(name) for name in NAMES}


@pytest.mark.parametrize("name", [*NAMES, ""])
def test_a_readme_links_to_files_that_exist(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", readme(name))
    assert [link for link in links if "://" not in link and not (EXAMPLES / name / link).resolve().exists()] == []


# -- the commands


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def started(folder: Path, command: str, **variables: str) -> asyncio.subprocess.Process:
    """Run the command in a folder that has the examples of this clone and no file .env."""
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(EXAMPLES)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    database = {"FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/blog.db"}
    return await asyncio.create_subprocess_exec(
        *shlex.split(command),
        cwd=folder,
        env=environment({"PATH": path, "CHAT_MOCK_TOKENS_PER_S": "0", **database, **variables}),
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )


async def response_of(process: asyncio.subprocess.Process, url: str) -> int:
    """Return the status of the page, once the example listens."""
    async with asyncio.timeout(STARTS_IN_S), aiohttp.ClientSession() as client:
        while process.returncode is None:
            try:
                async with client.get(url) as response:
                    return response.status
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)
    assert process.stderr is not None
    raise AssertionError((await process.stderr.read()).decode())


@EACH_NAME
async def test_the_command_of_a_readme_runs_the_example(name: str, tmp_path: Path) -> None:
    port = free_port()
    process = await started(tmp_path, command_of(name), PORT=str(port))
    addresses = re.findall(r"<http://127\.0\.0\.1:8000([^>]*)>|http://127\.0\.0\.1:8000(/ai)/api", readme(name))
    if (EXAMPLES / name / "run.py").exists():
        out, _ = await asyncio.wait_for(process.communicate(), STARTS_IN_S)
        assert (process.returncode, bool(out)) == (0, True)
        return
    assert addresses
    for found in addresses:
        path = "".join(found)
        assert await response_of(process, f"http://127.0.0.1:{port}{path or '/'}{'/' if path == '/ai' else ''}") == 200
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, err = await asyncio.wait_for(process.communicate(), STARTS_IN_S)
    assert (process.returncode, b"Traceback" in err) == (0, False), err.decode()


async def test_without_a_name_all_examples_are_listed(tmp_path: Path) -> None:
    out, _ = await (await started(tmp_path, "python3 -m examples")).communicate()
    assert re.findall(r"^(\w+) ", out.decode(), re.MULTILINE) == NAMES
    assert sentence_of("quart_project") in out.decode()


def test_a_python_without_the_dependencies_of_quartapp_lacks_them(tmp_path: Path) -> None:
    metadata = tmp_path / "quartapp.egg-info"
    metadata.mkdir()
    requires = 'Requires-Dist: quart>=0.20\nRequires-Dist: flask<4; extra == "flask"\nRequires-Dist: x; extra == "y"\n'
    (metadata / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: quartapp\nVersion: 0.1\n{requires}")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    program = "from examples.__main__ import missing; print(*missing('flask_blog'))"
    command = [sys.executable, "-S", "-c", program]  # without the installed packages
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["quart", "flask", "flask-login", "flask-sqlalchemy"]


async def test_wrong_use_is_explained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, message in {
            "blog": "There is no example blog; there are campaign, ",
            "quart_project now": "The example quart_project takes no now.",
            f"quart_project --port {port}": f"The port {port} is in use. Another one: ",
        }.items():
            process = await started(tmp_path, f"python3 -m examples {arguments}")
            _, err = await process.communicate()
            assert process.returncode == 1
            assert err.decode().startswith(message)
