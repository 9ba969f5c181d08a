"""A Flask project that reports what it reads of a request's body, as WSGI and with the chat in front."""

import hashlib
import sys
from collections.abc import Callable, Iterable

from flask import Flask, request
from werkzeug.exceptions import ClientDisconnected

from quartapp import Chat

app = Flask(__name__, static_folder=None)


def _pieces() -> Iterable[bytes]:
    while piece := request.stream.read(100_000):
        yield piece


READ: dict[str, Callable[[], Iterable[bytes]]] = {
    "at-once": lambda: [request.get_data()],
    "pieces": _pieces,
    "lines": lambda: request.stream,
    "limited-lines": lambda: iter(lambda: request.stream.readline(1000), b""),
    "form": lambda: [file.read() for file in request.files.values()],
    "json": lambda: [str(sorted(request.get_json())).encode()],
    "nothing": list,
}


@app.post("/<way>")
def read(way: str) -> dict[str, object]:
    pieces = list(READ[way]())
    digest = hashlib.sha256(b"".join(pieces)).hexdigest()
    print("read", way, file=request.environ["wsgi.errors"], flush=True)
    return {"digest": digest, "size": sum(map(len, pieces)), "lines": len(pieces) if "lines" in way else 0}


@app.post("/small/<way>")
def small(way: str) -> dict[str, object]:
    request.max_content_length = 1000
    return read(way)


@app.errorhandler(ClientDisconnected)
def lost(_: ClientDisconnected) -> tuple[str, int]:
    print("lost", file=request.environ["wsgi.errors"], flush=True)
    return "", 400


@app.get("/errors")
def errors() -> dict[str, object]:
    return {"size": len(request.get_data()), "are_stderr": request.environ["wsgi.errors"] is sys.stderr}


asgi = Chat(url_prefix="/ai").asgi(app)
