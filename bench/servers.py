"""The servers under test, one row each, and how one is started alone on its core."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import processes
from bench.processes import BenchError
from bench.wire import Plan

ROOT = Path(__file__).resolve().parent.parent
SERVER_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Endpoint:
    """One way to ask a server: where, with what body, for which format."""

    format: str
    path: str
    accept: str
    body: dict[str, object]
    """Sent as JSON; a value `PLAN` stands for the plan's name."""
    last_bytes: str = ""
    """What a whole answer's body ends with, where the format says so at all."""

    def body_for(self, plan: Plan) -> str:
        return json.dumps(self.body).replace("PLAN", plan.name)


PASSED_ON = Endpoint(
    format="sse, passed on",
    path="/v1/chat/completions",
    accept="text/event-stream",
    body={
        "model": "bench",
        "messages": [{"role": "user", "content": "PLAN"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    last_bytes="data: [DONE]\n\n",
)
USUAL = Endpoint(format="text", path="/chat", accept="*/*", body={"message": "PLAN"})
TEXT = Endpoint(format="text", path="/api/stream", accept="text/plain", body={"message": "PLAN"})
NDJSON = Endpoint(
    format="ndjson",
    path="/api/stream",
    accept="application/x-ndjson",
    body={"message": "PLAN"},
    last_bytes='{"type":"done"',
)

CHOSEN = replace(TEXT, body={"message": "PLAN", "model": "model-57"})
SSE = replace(NDJSON, format="sse", accept="text/event-stream")
OPENAI = replace(PASSED_ON, format="openai")

PYTHON = (sys.executable, "-m")
HYPERCORN = (*PYTHON, "hypercorn", "--worker-class", "uvloop", "--keep-alive", "75", "--bind", "127.0.0.1:$port")
# its 5 s would cut off, on a busy machine, clients who are only waiting for the usual way to get to them
GUNICORN = (*PYTHON, "gunicorn", "-c", "$root/gunicorn.conf.py", "--bind", "127.0.0.1:$port")
UVICORN = (*PYTHON, "uvicorn", "--no-access-log", "--log-level", "warning", "--port", "$port")
APP = "quartapp:create_app()"


@dataclass(frozen=True)
class Target:
    """A row of the tables: a server, asked through one endpoint."""

    name: str
    label: str
    endpoint: Endpoint
    command: tuple[str, ...] = ()
    """With `$port`, `$root` and `$folder` to fill in; without a command the clients ask the upstream itself."""
    usual: str | None = None
    """The row of the usual way on the same server, where there is one."""
    models: int = 1
    """How many models it has to choose from."""


TARGETS = (
    Target("direct", "no server: readers straight to the upstream", PASSED_ON),
    Target("nginx", "nginx `proxy_pass`, no buffering: the limit", PASSED_ON, ("nginx", "-c", "$folder/nginx.conf")),
    Target("hypercorn", "quartapp on hypercorn", TEXT, (*HYPERCORN, APP), "usual-quart"),
    Target("hypercorn-ndjson", "quartapp on hypercorn", NDJSON, (*HYPERCORN, APP), "usual-quart"),
    Target("hypercorn-sse", "quartapp on hypercorn", SSE, (*HYPERCORN, APP), "usual-quart"),
    Target("hypercorn-openai", "quartapp on hypercorn", OPENAI, (*HYPERCORN, APP), "usual-quart"),
    Target("hypercorn-100", "quartapp on hypercorn, one of 100 models", CHOSEN, (*HYPERCORN, APP), "usual-quart", 100),
    Target("python-m", "`python -m quartapp`", TEXT, (*PYTHON, "quartapp"), "usual-quart"),
    Target("gunicorn", "quartapp on gunicorn", TEXT, (*GUNICORN, APP)),
    Target("usual-quart", "the usual way, Quart on hypercorn", USUAL, (*HYPERCORN, "bench.peers.usual_quart:app")),
    Target("usual-fastapi", "the usual way, FastAPI on uvicorn", USUAL, (*UVICORN, "bench.peers.usual_fastapi:app")),
)


@dataclass(frozen=True)
class Running:
    """A server that accepts connections; `leader` is the first process of its session, None without a server."""

    target: Target
    port: int
    upstream_port: int
    leader: int | None

    def cpu_ns(self) -> dict[int, int]:
        return processes.session_cpu_ns(self.leader) if self.leader else {}

    def pss_kb(self) -> int:
        return processes.session_pss_kb(self.leader) if self.leader else 0


def clean_environment() -> dict[str, str]:
    """The environment without anything that would configure a server or its client."""
    meant = ("OPENAI_", "AZURE_", "CHAT_", "QUART_", "FLASK_", "WEB_CONCURRENCY", "HOST", "PORT")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(meant) and not name.lower().endswith("_proxy")
    }


def models(count: int, upstream_port: int) -> str:
    """A table of so many models, all of the one upstream, as CHAT_MODELS takes it."""
    entry = {"kind": "compatible", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "key_env": "OPENAI_API_KEY"}
    return json.dumps({f"model-{number}": entry | {"model": "bench"} for number in range(count)})


def server_environment(port: int, upstream_port: int, count: int) -> dict[str, str]:
    one = {"OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1", "CHAT_MODEL": "bench"}
    return clean_environment() | {
        "PYTHONPATH": str(ROOT),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "OPENAI_API_KEY": "bench",
        **(one if count == 1 else {"CHAT_MODELS": models(count, upstream_port)}),
    }


@contextmanager
def serving(target: Target, upstream_port: int) -> Iterator[Running]:
    """Runs the target's server alone on its core, from an empty folder so that no `.env` counts."""
    if not target.command:
        yield Running(target, upstream_port, upstream_port, leader=None)
        return
    port = processes.free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        process = launch(target, port, upstream_port, Path(folder))
        try:
            processes.wait_until_listening(process, port)
            yield Running(target, port, upstream_port, leader=process.pid)
        except BenchError as error:
            log = (Path(folder) / "server.log").read_text(errors="replace")
            raise BenchError(f"{target.name}: {error}\n{log[-2000:]}") from error
        finally:
            processes.end_session(process)


def launch(target: Target, port: int, upstream_port: int, folder: Path) -> subprocess.Popen[bytes]:
    values = {"port": str(port), "upstream_port": str(upstream_port), "root": str(ROOT), "folder": str(folder)}
    nginx = string.Template((ROOT / "bench/peers/nginx.conf").read_text())
    (folder / "nginx.conf").write_text(nginx.substitute(values))
    command = [string.Template(part).substitute(values) for part in target.command]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            cwd=folder,
            env=server_environment(port, upstream_port, target.models),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def upstream() -> Iterator[int]:
    """Runs the upstream on the core of the calling process; gives its port."""
    port = processes.free_port()
    command = [*PYTHON, "bench.upstream", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), start_new_session=True)
    try:
        processes.wait_until_listening(process, port)
        yield port
    finally:
        processes.end_session(process)
