"""The usual way in Quart: the SDK's objects, one by one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from openai import AsyncOpenAI
from quart import Quart, Response, request

app = Quart(__name__)


@app.before_serving
async def open_client() -> None:
    app.extensions["openai"] = AsyncOpenAI()


@app.after_serving
async def close_client() -> None:
    await app.extensions["openai"].close()


@app.post("/chat")
async def chat() -> Response:
    client: AsyncOpenAI = app.extensions["openai"]
    message = (await request.get_json())["message"]

    async def answer() -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model=os.environ["CHAT_MODEL"], messages=[{"role": "user", "content": message}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return Response(answer(), mimetype="text/plain")
