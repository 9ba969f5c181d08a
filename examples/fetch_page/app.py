"""A page without a library or a build: it reads the answers of the chat at /ai with fetch.

hypercorn app:app
"""

from quart import Quart, Response

from quartapp import Chat

app = Quart(__name__)
app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # because browsers would keep your files for 12 hours
chat = Chat(app, url_prefix="/ai")


@app.get("/")
async def page() -> Response:
    response = await app.send_static_file("page.html")
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:"
    return response
