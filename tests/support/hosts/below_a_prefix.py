"""A project whose page names its chat as the project sees it, for a proxy that takes a prefix off each path."""

from __future__ import annotations

from quart import Quart

from quartapp import chat_blueprint

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>A project</title>
<link rel="icon" href="data:,">
<body>
<quart-chat src="/ai"></quart-chat>
<script type="module" src="ai/static/quart-chat.js"></script>
"""

app = Quart("host", static_folder=None)
app.register_blueprint(chat_blueprint(settings={"CHAT_MOCK_TOKENS_PER_S": "0"}), url_prefix="/ai")


@app.get("/")
async def page() -> str:
    return PAGE
