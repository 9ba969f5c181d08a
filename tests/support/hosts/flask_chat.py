"""A Flask project with the chat at its root, for WSGI servers, and as an ASGI app."""

import logging

from flask import Flask

from quartapp import Chat, Delta

logging.basicConfig(level=logging.INFO)

app = Flask(__name__, static_folder=None)
chat = Chat(app, url_prefix="")


@app.get("/ask")
def ask() -> str:
    return "".join(event.text for event in chat.iterate("whole:1") if isinstance(event, Delta))


@app.get("/home")
def home() -> str:
    return "home"


@app.get("/iterate")
def iterate() -> str:
    return "".join(event.text for event in chat.iterate("whole:1") if isinstance(event, Delta))
