"""What the kernel says a server's processes cost, and how they are started and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
CPU_CLOCK = 2
"""CPUCLOCK_SCHED of the kernel's clock ids: nanoseconds, threads that have ended included."""
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A run that must not be reported: a server that did not start, an answer that was not whole."""


def session_pids(leader: int) -> list[int]:
    """All processes of the session that `leader` began, workers that lost their parent included."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir(PROC))) if session_of(pid) == leader]


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def cpu_ns(pid: int) -> int:
    """The CPU time that all threads of a process have used, from the process's own CPU clock."""
    return time.clock_gettime_ns(~pid << 3 | CPU_CLOCK)


def session_cpu_ns(leader: int) -> dict[int, int]:
    """The CPU time of each process of a session."""
    return {pid: cpu_ns(pid) for pid in session_pids(leader)}


def session_pss_kb(leader: int) -> int:
    """The memory of a session in KiB; pages that n processes share count an nth for each."""
    return sum(pss_kb(pid) for pid in session_pids(leader))


def pss_kb(pid: int) -> int:
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise BenchError(f"the kernel does not tell the memory of process {pid}")


def core_busy_ns(core: int) -> int:
    """How long a core has been at work for anyone, in steps of the kernel's tick."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, ticks)
            return (user + nice + system + irq + softirq) * TICK_NS
    raise BenchError(f"there is no core {core}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_listening(process: subprocess.Popen[bytes], port: int, limit_s: float = 30) -> None:
    """Returns when `port` accepts. Raises BenchError if the process ends before, or the limit passes."""
    deadline = time.monotonic() + limit_s
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BenchError(f"nothing listens on port {port} after {limit_s:.0f} s; exit status {process.poll()}")


def end_session(process: subprocess.Popen[bytes], grace_s: float = 3) -> None:
    """Asks a session to end, then ends it. Only for a process started with `start_new_session`."""
    process.terminate()
    deadline = time.monotonic() + grace_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in session_pids(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
