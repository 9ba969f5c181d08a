"""The effects of the package on its process: none at import, on any system; the rest belongs to the command line."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import quartapp
from quartapp.process import SPARE_FILES
from tests.support.sampling import SOAK
from tests.support.serving import Servers

ROOT = Path(__file__).parents[2]
WINDOWS = ROOT / "tests" / "support" / "hosts" / "windows"
FROZEN = ROOT / "tests" / "support" / "hosts" / "frozen"

STATE = """
import json, logging, resource, signal, sys
def state():
    return [
        resource.getrlimit(resource.RLIMIT_NOFILE),
        [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        [len(logging.getLogger(name).handlers) for name in ("", "quartapp", "quart")],
        [logging.getLogger(name).level for name in ("", "quartapp")],
    ]
resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def run(script: str, folder: Path, *paths: Path) -> Any:
    """Return the JSON that `script` prints in a fresh interpreter, whose modules come from `paths` too."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *paths]))}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_module_can_be_imported_where_the_system_lacks_what_windows_lacks(tmp_path: Path) -> None:
    names = [found.name for found in pkgutil.walk_packages(quartapp.__path__, "quartapp.")]
    script = f"import importlib, json, sys; [importlib.import_module(name) for name in {names}]; " + (
        "print(json.dumps([name for name in ('resource', 'uvloop', 'fcntl') if sys.modules[name] is not None]))"
    )
    assert "quartapp.__main__" in names
    assert run(script, tmp_path, WINDOWS) == []


def test_an_import_and_a_served_app_do_not_change_the_process(tmp_path: Path) -> None:
    script = STATE + (
        "import asyncio; from quart import Quart; before = state(); import quartapp, quartapp.flask; made = [before]\n"
        "own = quartapp.create_app(); made.append(state())\n"
        "host = Quart('host'); host.register_blueprint(quartapp.chat_blueprint(), url_prefix='/ai')\n"
        "async def serve():\n"
        "    async with host.test_app(): made.append(state())\n"
        "asyncio.new_event_loop().run_until_complete(serve()); print(json.dumps(made))"
    )
    before, *after = run(script, tmp_path)
    assert after == [before, before]


@pytest.mark.parametrize("kind", ["quartapp", "gunicorn"])
async def test_the_command_lines_allow_as_many_files_as_the_open_streams_need(kind: str, servers: Servers) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (-1, resource.RLIM_INFINITY) and hard < 1024:
        pytest.skip("the hard limit of open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        server = servers.start_fresh(kind, CHAT_MAX_OPEN_STREAMS="300")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert server.open_file_limits() == {2 * 300 + SPARE_FILES}


@pytest.mark.parametrize(
    ("kind", "is_frozen"), [("quartapp", True), pytest.param("gunicorn", True, marks=SOAK), ("hypercorn", False)]
)
async def test_a_process_of_our_own_excludes_the_loaded_app_from_garbage_collections(
    kind: str, is_frozen: bool, servers: Servers
) -> None:
    paths = os.pathsep.join(map(str, [FROZEN, ROOT]))
    server = servers.start_fresh(kind, PYTHONPATH=paths, CHAT_MOCK_TOKENS_PER_S="0")
    async with aiohttp.request("GET", f"http://127.0.0.1:{server.port}/api/models") as response:
        assert response.status == 200
    server.signal(signal.SIGTERM)
    assert await server.exit_code(10) == 0
    counts = [int(count) for count in re.findall(r"frozen objects: (\d+)", server.log_text())]
    assert (max(counts) > 50_000) is is_frozen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_a_loop_without_signal_handlers_serves_until_a_signal_ends_it(
    number: signal.Signals, servers: Servers
) -> None:
    paths = os.pathsep.join(map(str, [WINDOWS, ROOT]))
    server = servers.start_fresh("quartapp", PYTHONPATH=paths, CHAT_MOCK_TOKENS_PER_S="0")
    url = f"http://127.0.0.1:{server.port}/api/stream"
    async with aiohttp.request("POST", url, json={"message": "count to 3"}) as answer:
        assert await answer.text() == "1 2 3"
    server.signal(number)
    assert await server.exit_code(10) == 0
    assert "Traceback" not in server.log_text()
