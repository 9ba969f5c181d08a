"""What is asked of each server, and the figures taken while it is."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import msgspec

from bench import processes
from bench.clients import Load, Measurement
from bench.processes import BenchError
from bench.servers import LOAD_CORE, PYTHON, ROOT, SERVER_CORE, Running, clean_environment
from bench.wire import Plan

Figures = dict[str, float]
FREED_LIMIT_S = 10
SETTLE_S = 1.0


@dataclass(frozen=True)
class Scenario:
    """One load; all servers get the same."""

    name: str
    connections: int
    plan: Plan
    requests_each: int = 1
    ramp_s: float = 0.0
    at_once: int | None = None

    @property
    def answers(self) -> int:
        return self.connections * self.requests_each

    def load(self, running: Running) -> Load:
        endpoint = running.target.endpoint
        return Load(
            port=running.port,
            path=endpoint.path,
            accept=endpoint.accept,
            body=endpoint.body_for(self.plan),
            last_bytes=endpoint.last_bytes,
            connections=self.connections,
            tokens=self.plan.tokens,
            at_once=self.at_once or self.connections,
            requests_each=self.requests_each,
            ramp_s=self.ramp_s,
            interval_s=self.plan.interval_us / 1e6,
            hold=not self.plan.ends,
        )


SCENARIOS = (
    Scenario("idle", 1000, Plan(1, ends=False), at_once=50),
    Scenario("steady", 100, Plan(300, 50), ramp_s=1),
    Scenario("light", 40, Plan(300, 50), ramp_s=1),
    Scenario("hot", 200, Plan(200, 50), ramp_s=1),
    Scenario("burst", 100, Plan(300)),
    Scenario("requests", 20, Plan(1), requests_each=50),
)
"""In the order a server meets them: its memory is counted before it has had to work hard."""
WARM_UP = (
    Scenario("warm-up", 20, Plan(1), requests_each=10),
    Scenario("warm-up", 50, Plan(30, 50), ramp_s=0.5),
)


def shrunk(scenario: Scenario) -> Scenario:
    """A fifth of the load, for `--quick`; its figures are rough, set-up weighs more in them."""
    if scenario.plan.pace:
        return replace(scenario, plan=replace(scenario.plan, tokens=scenario.plan.tokens // 5))
    if scenario.requests_each > 1:
        return replace(scenario, requests_each=scenario.requests_each // 5)
    return replace(scenario, connections=scenario.connections // 5)


@contextmanager
def clients(load: Load) -> Iterator[tuple[Measurement, Callable[[], None]]]:
    """Puts a load on; gives the measurement, and what ends answers that are held."""
    process = subprocess.Popen(
        [*PYTHON, "bench.clients"],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(msgspec.json.encode(load) + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise BenchError(f"the clients saw: {process.stderr.read().decode()[-2000:].strip()}")
        yield msgspec.json.decode(line, type=Measurement), process.stdin.close


def read(load: Load) -> Measurement:
    with clients(load) as (measurement, _):
        return measurement


def measure(running: Running, scenario: Scenario) -> Figures:
    """The figures of one scenario on a server that is warm. Raises BenchError if an answer was not whole."""
    take = stream_figures if scenario.plan.ends else idle_figures
    return take(running, scenario)


def warm_up(running: Running) -> None:
    for scenario in WARM_UP:
        read(scenario.load(running))


def stream_figures(running: Running, scenario: Scenario) -> Figures:
    """CPU, delays and first tokens of answers that are read to their ends."""
    server_busy, load_busy = processes.core_busy_ns(SERVER_CORE), processes.core_busy_ns(LOAD_CORE)
    cpu_before, begin_ns = running.cpu_ns(), time.monotonic_ns()
    measurement = read(scenario.load(running))
    cpu_ns, wall_ns = cpu_between(cpu_before, running.cpu_ns()), time.monotonic_ns() - begin_ns
    figures = {
        "first_p50_ms": measurement.first_p50_ms,
        "first_p99_ms": measurement.first_p99_ms,
        "delay_p50_ms": measurement.delay_p50_ms,
        "delay_p99_ms": measurement.delay_p99_ms,
        "delay_max_ms": measurement.delay_max_ms,
        "wall_s": measurement.wall_s,
    }
    if scenario.plan.pace:  # the kernel's ticks are too coarse for shorter runs
        figures["load_core_share"] = (processes.core_busy_ns(LOAD_CORE) - load_busy) / wall_ns
        figures["others_share"] = max(0, processes.core_busy_ns(SERVER_CORE) - server_busy - cpu_ns) / wall_ns
    return figures | (cpu_figures(cpu_ns, measurement) if running.leader else {})


def cpu_figures(cpu_ns: int, measurement: Measurement) -> Figures:
    return {
        "cpu_us_token": cpu_ns / 1e3 / measurement.tokens,
        "cpu_ms_request": cpu_ns / 1e6 / measurement.answers,
        "core_share": cpu_ns / 1e9 / measurement.wall_s,
    }


def cpu_between(before: dict[int, int], after: dict[int, int]) -> int:
    """Nanoseconds used between two counts. Raises BenchError if a process came or went: its time would be lost."""
    if before.keys() != after.keys():
        raise BenchError(f"the server's processes changed under load: {sorted(before)} to {sorted(after)}")
    return sum(after[pid] - before[pid] for pid in before)


def idle_figures(running: Running, scenario: Scenario) -> Figures:
    """What open answers weigh, and what is left once their clients have gone."""
    rest_kb = running.pss_kb()
    with clients(scenario.load(running)) as (measurement, leave):
        open_kb = running.pss_kb()
        leave()
        freed_ms = wait_ms(lambda: open_streams(running.upstream_port) == 0)
    time.sleep(SETTLE_S)
    figures = {"open_s": measurement.wall_s, "first_p99_ms": measurement.first_p99_ms, "freed_ms": freed_ms}
    if not running.leader:
        return figures
    return figures | {
        "rest_mb": rest_kb / 1024,
        "open_mb": open_kb / 1024,
        "kb_stream": (open_kb - rest_kb) / scenario.connections,
        "after_mb": running.pss_kb() / 1024,
    }


def wait_ms(condition: Callable[[], bool]) -> float:
    """Milliseconds until the condition holds; infinity past the limit."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > FREED_LIMIT_S:
            return float("inf")
        time.sleep(0.002)
    return (time.monotonic() - begin) * 1000


def open_streams(upstream_port: int) -> int:
    """How many answers the upstream still has open."""
    connection = http.client.HTTPConnection("127.0.0.1", upstream_port)
    try:
        connection.request("GET", "/streams")
        return int(connection.getresponse().read())
    finally:
        connection.close()
