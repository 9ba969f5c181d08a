"""A project's own page with two chats on it, under a policy as strict as any and below a style sheet of its own."""

from __future__ import annotations

from quart import Quart, Request, Response

from quartapp import chat_blueprint

TOKEN = "open-sesame"

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:"

# What a page of somebody else's may do to whatever is on it.
HOSTILE = """
* { all: unset; }
div { display: none !important; }
button { display: none !important; color: red !important; font: 40px fantasy !important; }
article, form, textarea, p { visibility: hidden !important; position: fixed !important; }
html { font-family: fantasy; color: red; text-align: right; letter-spacing: 1em; text-transform: uppercase; }
quart-chat { block-size: 400px; }
"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>A project</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/hostile.css">
<body>
<quart-chat src="/open" id="first" heading="First" placeholder="Ask the first"></quart-chat>
<quart-chat src="/guarded" id="second" heading="Second"><p slot="empty">A welcome of our own</p></quart-chat>
<script type="module" src="/open/static/quart-chat.js"></script>
"""


def who(request: Request) -> str | None:
    """Whoever has the token."""
    return "reader" if request.headers.get("Authorization") == f"Bearer {TOKEN}" else None


def create_host() -> Quart:
    app = Quart(__name__)
    fast = {"CHAT_MOCK_TOKENS_PER_S": "0"}
    app.register_blueprint(chat_blueprint("open", fast), url_prefix="/open")
    app.register_blueprint(chat_blueprint("guarded", fast, authenticate=who), url_prefix="/guarded")

    @app.get("/")
    async def page() -> Response:
        policy = POLICY + "; require-trusted-types-for 'script'; trusted-types 'none'"
        headers = {"Content-Security-Policy": policy}
        return Response(PAGE, headers=headers, content_type="text/html; charset=utf-8")

    @app.get("/hostile.css")
    async def style() -> Response:
        return Response(HOSTILE, content_type="text/css")

    return app


app = create_host()
