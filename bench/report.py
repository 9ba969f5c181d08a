"""The measured figures as Markdown."""

from __future__ import annotations

import datetime
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.scenarios import Figures, Scenario
from bench.servers import LOAD_CORE, SERVER_CORE, TARGETS, Target

PACKAGES = ("quart", "hypercorn", "gunicorn", "openai", "aiohttp", "httpx2", "msgspec", "uvloop", "fastapi", "uvicorn")
LIMIT = "nginx"

INTRO = """\
# What an answer costs

Printed by `make bench` on {date}. Another run overwrites this page.{quick}

The server runs alone on core {server_core}. The upstream and the clients are other processes, on core {load_core}.

- **CPU** is the time of all processes and threads of the server, in the kernel's nanosecond clocks. It is counted from
  before the first request to after the last byte. It includes connections and requests, and nothing is subtracted.
- **Added delay** is the time from sending a token at the upstream to receiving it at the client. Each token contains
  the time of its sending. The row without a server shows the share of the measurement itself.
- **Memory** is the proportional set size of all the server's processes, without the kernel's socket buffers.
- **The usual way** is `async for chunk in stream` over the official SDK's objects, with the SDK's default client. The
  ratio to it is given if it runs on the same server. A server that cannot keep up reads several tokens at once, which
  lowers its CPU a token: compare its delays.
- Every answer was checked to be complete. A run with an incomplete answer is not reported.
- Servers take turns. Figures are medians of {rounds} (lowest to highest where shown). A ratio is the median of each
  round's own ratio. It is more reliable than the figures, because a slow machine slows both servers.

{machine}. Others used at most {others} of the server's core, upstream and clients at most {load_share} of theirs.

{versions}.
"""
HEADINGS = {
    "steady": "Steady: {0.connections} answers of {0.plan.tokens} tokens at {0.plan.pace} a second each",
    "light": "Light: {0.connections} answers of {0.plan.tokens} tokens at {0.plan.pace} a second each; all keep up",
    "hot": "Hot: {0.connections} answers of {0.plan.tokens} tokens at {0.plan.pace} a second each",
    "burst": "Burst: {0.connections} answers of {0.plan.tokens} tokens, all at once",
    "requests": "Requests: {0.answers} answers of one token, {0.connections} at a time on kept connections",
    "idle": "Idle: {0.connections} answers open and silent, then disconnected by their clients",
}

Rounds = dict[tuple[str, str], list[Figures]]
"""Figures by target and scenario, one for each round; a missing pair was not measured."""


@dataclass(frozen=True)
class Results:
    """All that was measured in one run."""

    rounds: Rounds
    scenarios: tuple[Scenario, ...]
    quick: bool = False

    def get(self, target: str | None, scenario: str, figure: str) -> float | None:
        """The median over the rounds."""
        values = self.values(target, scenario, figure)
        return median(values) if values else None

    def values(self, target: str | None, scenario: str, figure: str) -> list[float]:
        taken = self.rounds.get((target or "", scenario), [])
        return [figures[figure] for figures in taken if figure in figures]

    def all_values(self, figure: str) -> list[float]:
        """A figure wherever it was taken; a single zero if it never was."""
        return [each[figure] for taken in self.rounds.values() for each in taken if figure in each] or [0.0]

    def ratio(self, target: str, peer: str | None, scenario: str, figure: str) -> float | None:
        """The median of the rounds' own ratios: a round's servers met the machine in the same mood."""
        rounds = zip(self.values(target, scenario, figure), self.values(peer, scenario, figure), strict=False)
        ratios = [own / other for own, other in rounds if other]
        return median(ratios) if ratios else None


Column = tuple[str, Callable[[Results, Target, str], str]]


def number(value: float | None) -> str:
    """Three figures at most, a dash for what was not measured."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "never"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def figure(title: str, name: str, scale: float = 1) -> Column:
    def cell(results: Results, target: Target, scenario: str) -> str:
        value = results.get(target.name, scenario, name)
        return number(value if value is None else value * scale)

    return title, cell


def spread(title: str, name: str) -> Column:
    """The median with the lowest and the highest round."""

    def cell(results: Results, target: Target, scenario: str) -> str:
        values = results.values(target.name, scenario, name)
        if len(values) < 2:
            return number(results.get(target.name, scenario, name))
        return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"

    return title, cell


def to_limit(name: str) -> Column:
    return "x nginx", lambda results, target, scenario: number(results.ratio(target.name, LIMIT, scenario, name))


def to_usual(name: str) -> Column:
    return "x usual", lambda results, target, scenario: number(results.ratio(target.name, target.usual, scenario, name))


FIRST = (figure("first token p50 ms", "first_p50_ms"), figure("p99", "first_p99_ms"))
DELAY = (figure("added delay p50 ms", "delay_p50_ms"), figure("p99", "delay_p99_ms"), figure("max", "delay_max_ms"))
TOKEN = (spread("CPU µs a token", "cpu_us_token"), to_limit("cpu_us_token"), to_usual("cpu_us_token"))
REQUEST = (spread("CPU ms a request", "cpu_ms_request"), to_limit("cpu_ms_request"), to_usual("cpu_ms_request"))
TABLES: dict[str, tuple[Column, ...]] = {
    "steady": (*TOKEN, *DELAY, *FIRST),
    "light": (*TOKEN, figure("core used %", "core_share", 100), *DELAY),
    "hot": (*TOKEN, figure("core used %", "core_share", 100), *DELAY),
    "burst": (*TOKEN, figure("all read after s", "wall_s"), *FIRST),
    "requests": REQUEST,
    "idle": (
        figure("MB before", "rest_mb"),
        figure("MB open", "open_mb"),
        spread("KB an answer", "kb_stream"),
        figure("MB after", "after_mb"),
        figure("upstream free after ms", "freed_ms"),
    ),
}


def table(results: Results, scenario: str, targets: Iterable[Target]) -> str:
    columns = TABLES[scenario]
    head = ["server", "format", *[title for title, _ in columns]]
    rows = [
        [target.label, target.endpoint.format, *[cell(results, target, scenario) for _, cell in columns]]
        for target in targets
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def section(results: Results, scenario: Scenario) -> str:
    targets = [target for target in TARGETS if (target.name, scenario.name) in results.rounds]
    return f"## {HEADINGS[scenario.name].format(scenario)}\n\n{table(results, scenario.name, targets)}\n"


def report(results: Results) -> str:
    """The whole page."""
    sections = [section(results, scenario) for scenario in results.scenarios]
    return "\n".join([intro(results), *sections])


def intro(results: Results) -> str:
    rounds = max(map(len, results.rounds.values()))
    return INTRO.format(
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        quick=" **This was a `--quick` run: its figures are rough.**" if results.quick else "",
        server_core=SERVER_CORE,
        load_core=LOAD_CORE,
        rounds=f"{rounds} rounds" if rounds > 1 else "one round",
        machine=machine(),
        others=f"{max(results.all_values('others_share')):.0%}",
        load_share=f"{max(results.all_values('load_core_share')):.0%}",
        versions=versions(),
    )


def machine() -> str:
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return f"{cpu.partition(': ')[2] or platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


def versions() -> str:
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    return ", ".join([f"Python {platform.python_version()}", *packages, f"nginx {nginx.strip().rpartition('/')[2]}"])
