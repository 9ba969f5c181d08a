"""`GET /chat-complete` for a complete answer, and `GET /chat-stream` for an `EventSource`.

hypercorn app:app
"""

from typing import Any

from quart import Quart, request

from quartapp import Chat, ChatError, Delta

app = Quart(__name__)
app.config["RESPONSE_TIMEOUT"] = None  # because the chat has limits of its own, which report an error
app.register_error_handler(ChatError, lambda error: ({"detail": error.message}, error.status))
app.before_request(lambda: ("", 204) if "Last-Event-ID" in request.headers else None)  # stops an EventSource
chat = Chat(app, url_prefix="/ai", without=("native", "openai", "ai-sdk", "page", "docs"))


@app.get("/chat-complete")
async def complete() -> Any:
    return {"data": "".join([part.text async for part in chat.stream(request.args["message"]) if type(part) is Delta])}


async def frames(events: Any) -> Any:
    yield "id: 1\nevent: start\ndata: [START]\n\n"
    async for event in events:
        yield "data: " + event.text.replace("\n", "\ndata: ") + "\n\n" if isinstance(event, Delta) else ": more\n\n"
    yield "event: end\ndata: [END]\n\n"


@app.get("/chat-stream")
async def stream() -> Any:
    await anext(events := chat.stream(request.args["message"]))  # raises the error of a refused request
    return frames(events), {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
