"""A Flask project with a sync `authenticate`, for WSGI servers."""

import os

from flask import Flask

from quartapp import Chat

app = Flask(__name__, static_folder=None)
chat = Chat(app, url_prefix="", mock_tokens_per_s=0)
if "WITH_USERS" in os.environ:
    chat.authenticate(lambda request: "ann")


@chat.model("long")
async def long(_: object) -> object:  # type: ignore[misc]
    for _ in range(400):
        yield "x " * 40


@app.get("/home")
def home() -> str:
    return "home"
