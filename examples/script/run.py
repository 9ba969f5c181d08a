"""The demonstration: start a chat, ask it, and stop it. The script itself is ask.py."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import suppress

from examples.script.ask import main

QUESTION = "count to 20"


def demonstrate(question: str) -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "quartapp", "--port", str(port)]
    chat = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - no input
    try:
        wait_for(port, chat)
        return main([f"http://127.0.0.1:{port}", question])
    finally:
        chat.terminate()
        chat.wait()


def wait_for(port: int, chat: subprocess.Popen[bytes]) -> None:
    """Return once the chat listens. Exit if it has ended."""
    while chat.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    sys.exit("The chat did not start. Its message: python3 -m quartapp")


if __name__ == "__main__":
    sys.exit(demonstrate(" ".join(sys.argv[1:]) or QUESTION))
