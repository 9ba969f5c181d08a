"""`POST /api/stream` with `X-Auth` in a Flask project, answered in plain text.

API_TOKEN=secret gunicorn --threads 32 app:app
"""

import hmac
import os

from flask import Flask, Request

from quartapp import Chat, bearer_token

app = Flask(__name__)
chat = Chat(app, url_prefix="", without=("page", "docs"))


@chat.authenticate
def who(request: Request) -> str | None:
    token = os.environ["API_TOKEN"].encode()
    return "client" if hmac.compare_digest(bearer_token(request).encode(), token) else None


@app.get("/")
def home() -> str:
    return "A project of its own; the chat is at /api/stream."
