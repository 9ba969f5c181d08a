"""The example react_use_chat, built with the packages of tests/node."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.support.serving import ROOT, Server, Servers

EXAMPLE = ROOT / "examples" / "react_use_chat"
NODE = ROOT / "tests" / "node"
PACKAGE = json.loads((EXAMPLE / "package.json").read_text("utf-8"))


def build(folder: Path) -> None:
    """Copy the example into `folder`, and run its script `build` there."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"), dirs_exist_ok=True)
    program, *arguments = shlex.split(PACKAGE["scripts"]["build"])
    command = [str(NODE / "node_modules" / ".bin" / program), *arguments]
    packages = {"NODE_PATH": str(NODE / "node_modules")}
    done = subprocess.run(command, cwd=folder, env=os.environ | packages, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def serve(servers: Servers, folder: Path, **settings: str) -> Server:
    """Serve the example that is built in `folder`."""
    path = f"{folder}{os.pathsep}{ROOT}"
    return servers.start_fresh("hypercorn", "app:app", **settings, PYTHONPATH=path)
