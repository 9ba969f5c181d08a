"""A host project with WebSocket routes of its own, beside the chat and below its prefix."""

from quart import Quart, websocket

from quartapp import chat_blueprint

app = Quart("host")
app.register_blueprint(chat_blueprint(), url_prefix="/ai")


@app.websocket("/ws")
@app.websocket("/ai/ws")
async def echo() -> None:
    await websocket.send(await websocket.receive())
