"""A React page with useChat of the AI SDK. It asks the chat at /ai.

hypercorn app:app
"""

from pathlib import Path

from quart import Quart, Response

from quartapp import Chat

BUILT = Path(__file__).parent / "static" / "dist"
HOW = "In the folder of the clone: npm ci --prefix examples/react_use_chat"

app = Quart(__name__)
app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # because browsers would keep your files for 12 hours
chat = Chat(app, url_prefix="/ai")


@app.get("/")
async def page() -> Response:
    if not (BUILT / "main.js").exists():
        return Response(f"The page is not built. {HOW}", status=503, content_type="text/plain")
    response = await app.send_static_file("page.html")
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:"
    return response
