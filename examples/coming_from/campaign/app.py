"""`GET /campaign/?prompt=`, of at most 20 characters, answered in plain text.

hypercorn app:app
"""

from typing import Any

from quart import Quart, request

from quartapp import Chat, ChatError, Delta

app = Quart(__name__)
app.config["RESPONSE_TIMEOUT"] = None  # because the chat has limits of its own, which report an error
app.register_error_handler(ChatError, lambda error: ({"detail": error.message}, error.status))
OFF = ("native", "openai", "ai-sdk", "page", "docs")  # the routes of the chat itself
chat = Chat(app, url_prefix="/ai", without=OFF, system_prompt="Write a marketing campaign for the brand.")


@app.get("/campaign/")
async def campaign() -> Any:
    prompt = request.args.get("prompt", "")
    if len(prompt) > 20:
        raise ChatError("invalid_request", path="prompt")
    await anext(events := chat.stream(prompt, max_tokens=512, temperature=0.7))  # raises the error of a refused request
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return (event.text async for event in events if isinstance(event, Delta)), headers
