"""Ask a chat from a terminal. The answer goes to stdout as it arrives, everything else to stderr.

python3 ask.py http://127.0.0.1:8000 "Why is the sky blue?"
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

USAGE = """usage: ask.py URL QUESTION

URL is the prefix of the chat, for example http://127.0.0.1:8000/ai. CHAT_TOKEN in the environment is its token.
The exit status is 0 for a complete answer, 1 for one that is refused or not complete, 130 after Ctrl-C.
"""
#: The server sends a ping every few seconds, so a connection that is silent for longer is dead.
SILENCE_S = 60
#: Finish reasons of complete answers. Others are reported, for example `length`.
WHOLE = ("stop", "tool_calls")
#: Control characters, which could change the terminal. Tabs and ends of lines stay.
CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def main(arguments: Sequence[str]) -> int:
    """Ask the question that the arguments contain, and return the exit status."""
    if len(arguments) != 2 or not arguments[0].startswith(("http://", "https://")):
        sys.stderr.write(USAGE)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for a terminal that has no emoji
    try:
        with urlopen(request(*arguments), timeout=SILENCE_S) as response:  # noqa: S310 - the user's own URL
            fault = show(json.loads(line) for line in response)
    except HTTPError as error:
        fault = refusal_of(error)
    except (OSError, HTTPException, ValueError) as error:
        fault = f"The connection failed: {error}"
    except KeyboardInterrupt:  # the connection is closed, so the server cancels the answer
        sys.stderr.write("\nStopped.\n")
        return 130
    sys.stderr.write(f"{fault}\n" if fault else "")
    return 1 if fault else 0


def request(url: str, question: str) -> Request:
    """Return the request for an answer in NDJSON."""
    headers = {"Content-Type": "application/json", "Accept": "application/x-ndjson"}
    if token := os.environ.get("CHAT_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    return Request(f"{url.rstrip('/')}/api/stream", json.dumps({"message": question}).encode(), headers)  # noqa: S310


def show(records: Iterable[dict[str, Any]]) -> str | None:
    """Write the text of the records. Return the fault of an answer that is refused or not complete, else None."""
    refused, text = "", ""
    for record in records:
        match record:
            case {"type": "delta", "text": str(text)}:
                write(text)
            case {"type": "refusal", "text": str(reason)}:
                refused += reason
            case {"type": "error", "message": str(message)}:
                end_line(text)
                return f"The answer is not complete: {message}"
            case {"type": "done", "finish_reason": str(finish_reason)}:
                end_line(text)
                if refused:
                    return f"The model refuses: {refused.translate(CONTROLS)}"
                return None if finish_reason in WHOLE else f"The answer is not complete: {finish_reason}"
    end_line(text)
    return "The answer is not complete: the connection ended early."


def end_line(last_text: str) -> None:
    if last_text and not last_text.endswith("\n"):
        write("\n")


def write(text: str) -> None:
    try:
        sys.stdout.write(text.translate(CONTROLS))
        sys.stdout.flush()
    except BrokenPipeError:  # for example, `head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would report it once more
        sys.exit(1)


def refusal_of(error: HTTPError) -> str:
    """Return the reason of a refusal. A proxy may have sent HTML."""
    try:
        message = json.load(error)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        message = error.reason
    retry = error.headers.get("Retry-After")
    return f"The chat refuses ({error.code}): {message}" + (f" Retry after {retry} s." if retry else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
