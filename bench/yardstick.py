"""How fast a core is while a server works on it: on a machine shared with others, that changes by the second."""

from __future__ import annotations

import os
import socket
import threading
import time
from statistics import mean
from types import TracebackType

EVERY_S = 0.1
TRIPS = 6
"""Round trips a sample: about a tenth of a millisecond, a thousandth of the core."""


class Yardstick:
    """Times round trips over loopback on a core while the block runs.

    They cost what relaying costs, part Python and part the kernel's network, and follow a relay's price on a core whose
    speed changes far better than a loop of arithmetic does.
    """

    def __init__(self, core: int) -> None:
        self.core = core
        self.samples_us: list[float] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> Yardstick:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self.thread.join()

    @property
    def trip_us(self) -> float:
        """The mean over the block, of the CPU time of one round trip."""
        return mean(self.samples_us)

    def run(self) -> None:
        os.sched_setaffinity(0, {self.core})  # 0 is this thread alone
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
            far, _ = server.accept()
            with far:
                self.sample_until_ended(near, far)

    def sample_until_ended(self, near: socket.socket, far: socket.socket) -> None:
        while True:
            trips_us(near, far)  # the first finds cold caches
            self.samples_us.append(trips_us(near, far))
            if self.ended.wait(EVERY_S):
                return


def trips_us(near: socket.socket, far: socket.socket) -> float:
    begin_ns = time.thread_time_ns()
    for _ in range(TRIPS):
        near.send(bytes(300))
        far.recv(4096)
    return (time.thread_time_ns() - begin_ns) / TRIPS / 1000
