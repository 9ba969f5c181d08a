"""A Flask project with the chat at /ai, and a page of its own that reads it.

hypercorn app:asgi
"""

from pathlib import Path

from flask import Flask, Response, send_file

from quartapp.flask import mount

PAGE = Path(__file__).parents[1] / "page.html"

app = Flask(__name__)


@app.get("/")
def home() -> Response:
    return send_file(PAGE)


asgi = mount(app, url_prefix="/ai")
