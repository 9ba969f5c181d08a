"""The runner of the examples: `python3 -m examples NAME`, in the folder of the clone, starts one.

What an example needs is installed into examples/.venv, unless the Python that runs this has it. Without a key the mock
model answers. The module runs before anything is installed, so it imports only the standard library.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

EXAMPLES = Path(__file__).parent
ROOT = EXAMPLES.parent
ENVIRONMENT = EXAMPLES / ".venv"
OLDEST_PYTHON = (3, 11)
DEFAULT_PORT = 8000
#: Names of a user who has a model. The lines of demo.env that choose one are then left out.
MODELS = re.compile(r"^(OPENAI_API_KEY|OPENAI_BASE_URL|AZURE_OPENAI_\w+|CHAT_MODEL\w*)=.", re.MULTILINE)
CHOOSES_MODEL = ("OPENAI_", "CHAT_", "AGENT_")


def main(arguments: Sequence[str]) -> int:
    """Run the example that the arguments name, and return its exit status."""
    if sys.version_info < OLDEST_PYTHON:
        return failed(f"The examples need Python 3.11 or later, and this is {sys.version.split()[0]}.")
    options, others = parser().parse_known_args(arguments)
    if options.name is None:
        sys.stdout.write("".join(f"{name:<16} {sentence_of(name)}\n" for name in names()))
        return 0
    if options.name not in names():
        return failed(f"There is no example {options.name}; there are {', '.join(names())}.")
    absent = missing(options.name)
    if absent and Path(sys.prefix) != ENVIRONMENT:
        return run_in_environment(arguments)
    if absent and (status := install(options.name, absent)):
        return status
    return build(options.name) or run(options.name, options.port, others)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m examples", description="Runs an example.")
    parser.add_argument("name", nargs="?", help="the name of a folder; without it, all are listed")
    port = int(os.environ.get("PORT") or DEFAULT_PORT)
    parser.add_argument("--port", type=int, default=port, help=f"where to listen, {DEFAULT_PORT} by default")
    return parser


def failed(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


def names() -> list[str]:
    """Return the names of the examples: the folders that can be run."""
    return sorted({path.parent.name for file in ("app.py", "run.py") for path in EXAMPLES.glob(f"*/{file}")})


def sentence_of(name: str) -> str:
    """Return the first sentence of the README, without its links."""
    _, _, text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8").partition("\n\n")
    return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", text.partition("\n\n")[0].replace("\n", " "))


# -- what an example needs


def requirements(name: str) -> Path:
    return EXAMPLES / name / "requirements.txt"


def missing(name: str) -> list[str]:
    """Return the names of the packages that the example needs and this Python does not have."""
    lines = requirements(name).read_text(encoding="utf-8").splitlines()
    if not is_installed("quartapp"):
        return ["quartapp"]
    own = [found[0] for line in lines if (found := re.match(r"[\w-]+", line))]
    extras = re.findall(r"^\.\[(\w+)\]", "\n".join(lines), re.MULTILINE)
    return [package for package in [*needed_by_quartapp(extras), *own] if not is_installed(package)]


def needed_by_quartapp(extras: Sequence[str]) -> list[str]:
    """Return the packages that quartapp needs, with these extras.

    They are looked for too, because an installation leaves the metadata of quartapp in the clone, where each Python
    finds it.
    """
    wanted = ["", *(f'extra == "{extra}"' for extra in extras)]
    lines = (line.replace("'", '"').partition(";") for line in requires("quartapp") or [])
    return [re.split(r"[^\w-]", package)[0] for package, _, marker in lines if marker.strip() in wanted]


def is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def install(name: str, absent: Sequence[str]) -> int:
    """Install the requirements of the example into this environment, and return the exit status of pip."""
    sys.stderr.write(f"Installing {', '.join(absent)} into {ENVIRONMENT} …\n")
    quiet = ["--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *quiet, "--requirement", str(requirements(name))]
    return subprocess.call(command, cwd=ROOT)  # noqa: S603 - the names of this folder


def build(name: str) -> int:
    """Build the page of an example with a package.json, unless it is built. Return the exit status of npm."""
    folder = EXAMPLES / name
    if not (folder / "package.json").exists() or (folder / "static" / "dist").exists():
        return 0
    npm = shutil.which("npm")
    if npm is None:
        return failed(f"The page of {name} is built with Node 20 or later, which has npm: https://nodejs.org")
    sys.stderr.write(f"Building the page in {folder} …\n")
    return subprocess.call([npm, "ci", "--no-audit", "--no-fund"], cwd=folder)  # noqa: S603 - npm, in our folder


def run_in_environment(arguments: Sequence[str]) -> int:
    """Run the same command with the Python of examples/.venv, which is made if it does not exist."""
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        sys.stderr.write(f"Making {ENVIRONMENT} …\n")
        try:
            venv.create(ENVIRONMENT, with_pip=True, clear=True)
        except (OSError, subprocess.CalledProcessError):
            return failed("This Python cannot make an environment. On Debian and Ubuntu: apt install python3-venv")
    child = subprocess.Popen([str(python), "-m", "examples", *arguments], cwd=ROOT)  # noqa: S603 - this program again
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child gets Ctrl-C too, and ends by itself
            continue


# -- running


def run(name: str, port: int, others: Sequence[str]) -> int:
    """Run run.py if the example has one. Otherwise serve `app` of app.py, or what its `create_app` returns."""
    with demo_environment(name):
        if (EXAMPLES / name / "run.py").exists():
            sys.argv = ["run.py", *others]
            runpy.run_module(f"examples.{name}.run", run_name="__main__")
            return 0
        if others:
            return failed(f"The example {name} takes no {' '.join(others)}.")
        if not is_free(port):
            return failed(f"The port {port} is in use. Another one: python3 -m examples {name} --port {port + 1}")
        module = importlib.import_module(f"examples.{name}.app")
        app = module.create_app() if hasattr(module, "create_app") else module.app
        app.run(port=port, use_reloader=False)
    return 0


@contextmanager
def demo_environment(name: str) -> Iterator[None]:
    """Set the variables of demo.env. A model of the user replaces those that choose one.

    `OPENAI_BASE_URL=mock` stands for the address of a mock model that runs until the end of the example.
    """
    file = EXAMPLES / name / "demo.env"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    variables = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    if has_model():
        variables = {key: value for key, value in variables.items() if not key.startswith(CHOOSES_MODEL)}
    if variables.get("OPENAI_BASE_URL") != "mock":
        os.environ.update({**variables, **os.environ})
        yield
        return
    with mock_model() as variables["OPENAI_BASE_URL"]:
        os.environ.update({**variables, **os.environ})
        yield


def has_model() -> bool:
    """Return whether the environment or the file .env names a model or a key."""
    file = Path(".env")
    lines = [f"{key}={value}" for key, value in os.environ.items()]
    return bool(MODELS.search("\n".join(lines) + "\n" + (file.read_text("utf-8") if file.exists() else "")))


@contextmanager
def mock_model() -> Iterator[str]:
    """Run the mock model in a process of its own, and return its base URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "quartapp", "mock", "--port", str(port)])  # noqa: S603 - no input
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether no server listens at the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
