"""The model behind every server of the benchmark: `python -m bench.upstream PORT`, a process of its own.

Speaks OpenAI's streamed chat completions over HTTP/1.1 as cheaply as Python can, so that it never is what is measured.
The last user message names the plan of the answer. `GET /streams` answers with the number of answers still open.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop

from bench.wire import Plan, now_us, stamp

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
FRAME = (
    'data: {{"id":"chatcmpl-CkQm3v0Wb7Xz1TfYr9HsLd2NpAe5U","object":"chat.completion.chunk","created":1764000000,'
    '"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_0705bf87c0",{rest}}}\n\n'
)
CHOICE = '"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]'
USAGE = '"choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":{tokens},"total_tokens":{total}}}'
TICK_S = 0.001


def http_chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def choice_chunk(delta: str, reason: str = "null") -> bytes:
    return http_chunk(FRAME.format(rest=CHOICE.format(delta=delta, reason=reason)).encode())


def usage_chunk(tokens: int) -> bytes:
    return http_chunk(FRAME.format(rest=USAGE.format(tokens=tokens, total=tokens + 9)).encode())


ROLE = choice_chunk('{"role":"assistant","content":"","refusal":null}')
BEFORE_STAMP, AFTER_STAMP = choice_chunk('{"content":"~000000"}').split(b"~000000")
FINISH = choice_chunk("{}", '"stop"')
DONE = http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


@dataclass(eq=False)
class Stream:
    """One answer on its way out."""

    transport: asyncio.Transport
    plan: Plan
    include_usage: bool
    due_us: int
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.plan.tokens

    def tokens(self, count: int) -> bytes:
        self.left -= count
        sent = stamp(now_us())
        return (BEFORE_STAMP + sent + AFTER_STAMP) * count

    def ending(self) -> bytes:
        if self.left or not self.plan.ends:
            return b""
        return FINISH + (usage_chunk(self.plan.tokens) if self.include_usage else b"") + DONE

    def begin(self) -> None:
        """Sends the head with the first token, or with all of them where the plan has no pace."""
        first = self.tokens(1 if self.plan.pace else self.left)
        self.transport.write(HEAD + ROLE + first + self.ending())

    def advance(self) -> None:
        """Sends the token that is due, and after the last one the end."""
        self.due_us += self.plan.interval_us
        self.transport.write(self.tokens(1) + self.ending())


class Wheel:
    """Sends all due tokens on one timer: a wake-up a millisecond, however many streams there are."""

    def __init__(self) -> None:
        self.slots: defaultdict[int, list[Stream]] = defaultdict(list)
        self.next_slot = 0

    def add(self, stream: Stream) -> None:
        if not self.slots:
            self.next_slot = now_us() // 1000
            asyncio.get_running_loop().call_later(TICK_S, self.turn)
        self.slots[max(self.next_slot, stream.due_us // 1000)].append(stream)

    def turn(self) -> None:
        self.send_until(now_us() // 1000)
        if self.slots:
            asyncio.get_running_loop().call_later(TICK_S, self.turn)

    def send_until(self, slot: int) -> None:
        while self.slots and self.next_slot <= slot:
            due = self.slots.pop(self.next_slot, [])
            self.next_slot += 1
            for stream in due:
                self.send(stream)

    def send(self, stream: Stream) -> None:
        if stream.transport.is_closing():
            return
        stream.advance()
        if stream.left:
            self.slots[max(self.next_slot, stream.due_us // 1000)].append(stream)


class Upstream(asyncio.Protocol):
    """One connection from a server, kept alive from answer to answer."""

    def __init__(self, wheel: Wheel, connections: set[Upstream]) -> None:
        self.wheel = wheel
        self.connections = connections
        self.parser = httptools.HttpRequestParser(self)
        self.path = b""
        self.body = b""
        self.stream: Stream | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer has begun here and not come to its end."""
        return self.stream is not None and bool(self.stream.left or not self.stream.plan.ends)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one, but does not inherit it
        self.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.path = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.path == b"/streams":
            self.refuse(200, str(sum(connection.is_open for connection in self.connections)))
        elif self.path.endswith(b"/chat/completions"):
            self.answer()
        else:
            self.refuse(404, '{"error":{"message":"no such route"}}')

    def answer(self) -> None:
        try:
            request = json.loads(self.body)
            plan = Plan.parse(request["messages"][-1]["content"])
        except (ValueError, LookupError, TypeError) as error:
            self.refuse(400, json.dumps({"error": {"message": f"{type(error).__name__}: {error}"}}))
            return
        include_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        self.stream = Stream(self.transport, plan, include_usage, due_us=now_us() + plan.interval_us)
        self.stream.begin()
        if plan.ends and self.stream.left:
            self.wheel.add(self.stream)

    def refuse(self, status: int, body: str) -> None:
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body.encode())}\r\n\r\n"
        self.transport.write((head + body).encode())


async def serve(port: int) -> None:
    """Serves on loopback until the process is ended."""
    wheel, connections = Wheel(), set[Upstream]()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(wheel, connections), "127.0.0.1", port, backlog=4096)
    gc.freeze()
    gc.disable()  # a pause here would be counted as a delay of the server
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
