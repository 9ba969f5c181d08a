"""A Flask project with two chats, for WSGI servers."""

import asyncio
from collections.abc import AsyncIterator

from flask import Flask

from quartapp import Chat, ChatRequest

app = Flask(__name__, static_folder=None)


async def stall(_: ChatRequest) -> AsyncIterator[str]:
    yield "token "
    await asyncio.Event().wait()


for name in ("first", "second"):
    chat = Chat(name=name, url_prefix=f"/{name}")
    chat.model("stall")(stall)
    chat.init_app(app)


@app.get("/home")
def home() -> str:
    return "home"
