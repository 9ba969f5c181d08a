"""The usual way in FastAPI: the SDK's objects, one by one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from pydantic import BaseModel


class Question(BaseModel):
    message: str


@asynccontextmanager
async def client_lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncOpenAI() as app.state.client:
        yield


app = FastAPI(lifespan=client_lifespan)


@app.post("/chat")
async def chat(question: Question) -> StreamingResponse:
    client: AsyncOpenAI = app.state.client

    async def answer() -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model=os.environ["CHAT_MODEL"], messages=[{"role": "user", "content": question.message}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return StreamingResponse(answer(), media_type="text/plain")
