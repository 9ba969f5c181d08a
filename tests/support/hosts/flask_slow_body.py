"""A Flask project with a sync `authenticate` and a model of long answers, for WSGI servers."""

import logging
import os
from collections.abc import AsyncIterator

from flask import Flask

from quartapp import Chat, ChatRequest

logging.basicConfig(level=logging.INFO)

app = Flask(__name__, static_folder=None)
chat = Chat(app, url_prefix="", mock_tokens_per_s=0)
if "WITH_USERS" in os.environ:
    chat.authenticate(lambda request: "ann")


@chat.model("long")
async def long(_: ChatRequest) -> AsyncIterator[str]:
    while True:
        yield "x" * 10_000


@app.get("/home")
def home() -> str:
    return "home"
