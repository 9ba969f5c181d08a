"""`POST /chat/stream`, answered in lines with the events of the Responses API.

hypercorn app:app
"""

from typing import Any

from quart import Quart, json, request

from quartapp import Chat, ChatError, Delta

app = Quart(__name__)
app.config["RESPONSE_TIMEOUT"] = None  # because the chat has limits of its own, which report an error
app.register_error_handler(ChatError, lambda error: ({"error": error.message}, error.status))
OFF = ("native", "openai", "ai-sdk", "page", "docs")  # the routes of the chat itself
chat = Chat(app, url_prefix="/ai", without=OFF, system_prompt="You are a helpful assistant.")


def turn(item: dict[str, Any]) -> dict[str, Any]:
    return {"role": item["role"], "content": "".join(part["text"] for part in item["content"])}


def line(event: Delta) -> str:
    return json.dumps({"type": "response.output_text.delta", "delta": event.text}) + "\n"


@app.post("/chat/stream")
async def answer() -> Any:
    items = dict(await request.get_json() or {}).get("input", ())
    turns = [turn(item) for item in items if item.get("role") in ("user", "assistant")]
    await anext(events := chat.stream(turns))  # raises the error of a refused request
    return (line(event) async for event in events if isinstance(event, Delta)), {"Content-Type": "application/x-ndjson"}
