"""The project of flask_chat, which has answered a request before a server forks."""

import os

from flask_chat import app  # type: ignore[import-not-found]


@app.get("/process")  # type: ignore[untyped-decorator]
def process() -> str:
    return str(os.getpid())


app.test_client().get("/api/models")
