"""A Flask project with the chat at /ai, and a page of its own that reads it.

`flask run`, gunicorn's gthread workers and waitress serve `app`. ASGI servers serve `asgi`:

hypercorn app:asgi
"""

from pathlib import Path

from flask import Flask, Response, send_file

from quartapp import Chat

PAGE = Path(__file__).parents[3] / "examples" / "page.html"

app = Flask(__name__)
chat = Chat(app, url_prefix="/ai")
asgi = chat.asgi(app)


@app.get("/")
def home() -> Response:
    return send_file(PAGE)
