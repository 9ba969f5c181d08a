"""Another's reading of event streams: `eventsource-parser` in Node, one process for all of them."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.parsers import ServerSentEvent

FOLDER = Path(__file__).parents[1] / "node"

Read = Callable[[Sequence[bytes]], list[ServerSentEvent]]


@contextmanager
def oracle(node: str) -> Iterator[Read]:
    """Reads one stream a call, given in pieces. An event's id is what its own block says, "" without."""
    if not (FOLDER / "node_modules").is_dir():
        pytest.fail("the npm packages are not installed: make setup")
    command = [node, "round_trip.mjs"]
    with subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def read(pieces: Sequence[bytes]) -> list[ServerSentEvent]:
            stdin.write(json.dumps([base64.b64encode(piece).decode() for piece in pieces]).encode() + b"\n")
            stdin.flush()
            events = json.loads(stdout.readline())
            return [
                ServerSentEvent(event["data"], event.get("event", "message"), event.get("id", "")) for event in events
            ]

        yield read
        stdin.close()
        assert process.wait(10) == 0


def names_and_data(events: Iterable[object]) -> list[tuple[str, str]]:
    """What two readings of a stream have in common: ids are told differently, comments by one alone."""
    return [(event.type, event.data) for event in events if isinstance(event, ServerSentEvent)]
