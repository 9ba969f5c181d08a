"""`POST /chat`, answered in lines of chunk objects, or with `"stream": false` in one completion.

hypercorn app:app
"""

from typing import Any

from quart import Quart, json, request

from quartapp import Chat, ChatError, Delta, Done

app = Quart(__name__)
app.config["RESPONSE_TIMEOUT"] = None  # because the chat has limits of its own, which report an error
app.register_error_handler(ChatError, lambda error: ({"detail": error.message}, error.status))
chat = Chat(app, url_prefix="/ai", without=("native", "openai", "ai-sdk", "page", "docs"))


def reply(event: object, **content: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": getattr(event, "finish_reason", None), **content}]}


def line(event: object) -> str:
    return json.dumps(reply(event, delta={"content": getattr(event, "text", None)})) + "\n"


@app.post("/chat")
async def answer() -> Any:
    body = dict(await request.get_json() or {})
    turns = [turn for turn in body.get("messages", ()) if turn.get("role") in ("user", "assistant")]
    await anext(events := chat.stream(turns))  # raises the error of a refused request
    if not body.get("stream", True):
        seen = [e async for e in events if isinstance(e, Delta | Done)]
        return reply(seen[-1], message={"role": "assistant", "content": "".join(getattr(e, "text", "") for e in seen)})
    return (line(e) async for e in events if isinstance(e, Delta | Done)), {"Content-Type": "application/x-ndjson"}
