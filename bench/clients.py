"""The clients of the benchmark: `python -m bench.clients` takes a Load on standard input and prints a Measurement.

A read is noted with its time and nothing more; the tokens are looked for after the last answer, so that the clients
hardly delay themselves. An answer that is not whole ends the process with status 1 and says what was wrong.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from dataclasses import dataclass, field
from typing import cast

import httptools
import msgspec
import uvloop

from bench.wire import STAMP, STAMP_BYTES, age_us, now_us

GOLDEN = 0.618_033_988_749_895
"""Its multiples' fractions spread evenly, so that streams of one pace do not send in lock-step."""
LIMIT_S = 120
"""No load here takes this long: past it the run has hung, and fails."""


class Load(msgspec.Struct, frozen=True):
    """What to ask, how often and how."""

    port: int
    path: str
    accept: str
    body: str
    connections: int
    tokens: int
    at_once: int
    """How many connections may be reading; of held answers, how many may be waiting for their first token."""
    last_bytes: str = ""
    """What every answer's body must end with."""
    requests_each: int = 1
    """Asked one after the other on the same connection."""
    ramp_s: float = 0.0
    """The connections are opened evenly over this time."""
    interval_s: float = 0.0
    """The time between two tokens of a stream; the starts are spread over it."""
    hold: bool = False
    """Keep all answers open after the first token, until standard input ends."""


class Measurement(msgspec.Struct, frozen=True):
    """What the clients saw. All answers were whole, or none of this was printed."""

    answers: int
    tokens: int
    wall_s: float
    first_p50_ms: float
    first_p99_ms: float
    delay_p50_ms: float
    delay_p99_ms: float
    delay_max_ms: float


@dataclass
class Answer:
    """One answer as it came: the body's pieces with the time each was read."""

    asked_us: int
    status: int = 0
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    complete: bool = False
    lost: bool = False
    """The connection ended, whether or not the answer was complete."""

    def delays_us(self) -> list[tuple[int, int]]:
        """When each token was read, and how long after it was sent."""
        seen, carry = [], b""
        for read_us, piece in self.pieces:
            text = carry + piece
            seen += [(read_us, age_us(digits, read_us)) for digits in STAMP.findall(text)]
            cut = text.rfind(b"~", max(0, len(text) - STAMP_BYTES + 1))
            carry = text[cut:] if cut >= 0 else b""
        return seen

    def fault(self, load: Load) -> str | None:
        """What keeps this answer from being whole, None if it is."""
        body = b"".join(piece for _, piece in self.pieces)
        count = len(STAMP.findall(body))
        if self.status != 200:
            return f"status {self.status}: {body[:200]!r}"
        if count != load.tokens:
            return f"{count} tokens of {load.tokens}"
        if load.hold:
            return "ended, where it should stay open" if self.complete or self.lost else None
        if not self.complete:
            return "broken off"
        return None if load.last_bytes.encode() in body[-400:] else f"ends in {body[-60:]!r}"


class Client(asyncio.Protocol):
    """One connection: asks, reads to the end, and asks again until it has asked often enough."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.request = request_bytes(load)
        self.parser = httptools.HttpResponseParser(self)
        self.answers: list[Answer] = []
        self.finished = asyncio.get_running_loop().create_future()
        self.read_us = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one, but does not inherit it
        self.ask()

    def ask(self) -> None:
        self.answers.append(Answer(asked_us=now_us()))
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.read_us = now_us()
        self.parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self.answers[-1].status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answers[-1].pieces.append((self.read_us, body))
        if self.load.hold and STAMP.search(body):
            self.finish()

    def on_message_complete(self) -> None:
        self.answers[-1].complete = True
        if len(self.answers) < self.load.requests_each:
            self.ask()
        else:
            self.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.answers[-1].lost = True
        self.finish()

    def finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


def request_bytes(load: Load) -> bytes:
    body = load.body.encode()
    head = (
        f"POST {load.path} HTTP/1.1\r\nhost: 127.0.0.1:{load.port}\r\naccept: {load.accept}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_one(load: Load, index: int, turns: asyncio.Semaphore) -> Client:
    """Waits for its turn, connects and reads until there is no more to ask."""
    await asyncio.sleep(index * load.ramp_s / load.connections + index * GOLDEN % 1 * load.interval_s)
    loop = asyncio.get_running_loop()
    async with turns:
        _, client = await loop.create_connection(lambda: Client(load), "127.0.0.1", load.port)
        await client.finished
    return client


async def read_all(load: Load) -> tuple[list[Client], float]:
    """All connections' clients, and the seconds from the first request to the last end."""
    begin_us, turns = now_us(), asyncio.Semaphore(load.at_once)
    async with asyncio.timeout(LIMIT_S):
        clients = await asyncio.gather(*[read_one(load, index, turns) for index in range(load.connections)])
    return clients, (now_us() - begin_us) / 1e6


def check_whole(load: Load, clients: list[Client]) -> None:
    """Raises SystemExit, naming the first fault, unless every answer asked for came whole."""
    answers = [answer for client in clients for answer in client.answers]
    expected = load.connections * load.requests_each
    faults = [fault for answer in answers if (fault := answer.fault(load))]
    if faults or len(answers) != expected:
        raise SystemExit(f"{len(answers)} of {expected} answers, {len(faults)} not whole: {', '.join(faults[:1])}")


def percentile_ms(ordered_us: list[int], share: float) -> float:
    return ordered_us[min(len(ordered_us) - 1, int(len(ordered_us) * share))] / 1000


def measurement(clients: list[Client], wall_s: float) -> Measurement:
    answers = [(answer.asked_us, answer.delays_us()) for client in clients for answer in client.answers]
    firsts = sorted(seen[0][0] - asked_us for asked_us, seen in answers)
    delays = sorted(delay for _, seen in answers for _, delay in seen)
    return Measurement(
        answers=len(answers),
        tokens=len(delays),
        wall_s=wall_s,
        first_p50_ms=percentile_ms(firsts, 0.5),
        first_p99_ms=percentile_ms(firsts, 0.99),
        delay_p50_ms=percentile_ms(delays, 0.5),
        delay_p99_ms=percentile_ms(delays, 0.99),
        delay_max_ms=percentile_ms(delays, 1),
    )


async def main() -> None:
    """Reads the load's line, puts it on, prints the reading; where the load holds, closes when standard input ends."""
    load = msgspec.json.decode(sys.stdin.buffer.readline(), type=Load)
    gc.freeze()
    gc.disable()  # a pause here would be counted as a delay of the server
    clients, wall_s = await read_all(load)
    check_whole(load, clients)
    sys.stdout.buffer.write(msgspec.json.encode(measurement(clients, wall_s)) + b"\n")
    sys.stdout.flush()
    if load.hold:
        await asyncio.to_thread(sys.stdin.buffer.read)
    for client in clients:
        client.transport.abort()


if __name__ == "__main__":
    uvloop.run(main())
