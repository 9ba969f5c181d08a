"""Apps in the usual style of tutorials and samples, whose faults the pages on moving to the chat name.

They keep the shape of that code, in as few lines as show the fault. Each asks the server in the environment.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-calls=False

import json
import time
from typing import Any

import fastapi
import flask
import pydantic
import quart
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI, OpenAI

# -- Flask with a generator

flask_generator = flask.Flask("flask_generator")


@flask_generator.post("/api/stream")
def stream():
    messages = flask.request.json["messages"]

    def generate():
        try:
            for chunk in OpenAI(max_retries=0).chat.completions.create(model="m", messages=messages, stream=True):
                yield chunk.choices[0].delta.content or ""
        except Exception:  # noqa: BLE001
            flask.Response("An error occurred", status=400)

    return flask.Response(generate(), content_type="text/plain")


@flask_generator.get("/")
def home():
    return "home"


# -- FastAPI with a generator

campaign = fastapi.FastAPI()


@campaign.get("/campaign/")
def make_campaign(prompt: str = fastapi.Query(max_length=20)):
    def generate():
        messages: Any = [{"role": "user", "content": prompt}]
        try:
            for chunk in OpenAI(max_retries=0).chat.completions.create(model="m", messages=messages, stream=True):
                yield chunk.choices[0].delta.content or ""
        except Exception:  # noqa: BLE001
            raise fastapi.HTTPException(503) from None

    return StreamingResponse(generate(), media_type="text/event-stream")


# -- FastAPI with NDJSON


class Message(pydantic.BaseModel):
    """A turn of the conversation."""

    content: str
    role: str = "user"


class ChatBody(pydantic.BaseModel):
    """A body of the backend."""

    messages: list[Message]
    stream: bool = True


fastapi_ndjson = fastapi.FastAPI()


@fastapi_ndjson.post("/chat")
async def chat(body: ChatBody):
    system = {"role": "system", "content": "You are a helpful assistant."}
    options: Any = {"model": "m", "messages": [system, *(message.model_dump() for message in body.messages)]}

    async def lines():
        async for event in await AsyncOpenAI(max_retries=0).chat.completions.create(**options, stream=True):
            yield json.dumps(event.model_dump()) + "\n"

    if body.stream:
        return StreamingResponse(lines())
    return (await AsyncOpenAI(max_retries=0).chat.completions.create(**options)).model_dump()


# -- FastAPI with server-sent events

fastapi_sse = fastapi.FastAPI()


@fastapi_sse.get("/chat-stream")
async def chat_stream(message: str):
    messages: Any = [{"role": "user", "content": message}]
    try:
        answer = await AsyncOpenAI(max_retries=0).chat.completions.create(model="m", messages=messages, stream=True)

        async def events():
            yield "event: start\ndata: [START]\n\n"
            async for chunk in answer:
                if text := chunk.choices[0].delta.content:
                    yield f"data: {text}\n\n"
            yield "event: end\ndata: [END]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")
    except Exception as error:
        raise fastapi.HTTPException(500, str(error)) from error


# -- a mock of OpenAI's API


class MockBody(pydantic.BaseModel):
    """A body of the mock."""

    model: str = "mock-gpt-model"
    messages: list[Message]
    stream: bool = False


mock_server = fastapi.FastAPI()


@mock_server.post("/chat/completions")
async def completions(body: MockBody):
    text = f"As a mock AI assistant, I can only echo your last message: {body.messages[-1].content}"

    async def chunks():
        for number, word in enumerate(text.split(" ")):
            choices = [{"delta": {"content": f"{word} "}}]
            chunk = {"id": number, "object": "chat.completion.chunk", "created": time.time(), "choices": choices}
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    if body.stream:
        return StreamingResponse(chunks(), media_type="application/x-ndjson")
    choice = {"message": {"role": "assistant", "content": text}}
    return {"id": "1337", "object": "chat.completion", "model": body.model, "choices": [choice]}


# -- the Quart quickstart

bp: Any = quart.Blueprint("chat", __name__)


@bp.before_app_serving
async def configure():
    bp.client = AsyncOpenAI(max_retries=0)


@bp.after_app_serving
async def shut_down():
    await bp.client.close()


@bp.post("/chat/stream")
async def handle():
    messages = (await quart.request.get_json())["messages"]

    @quart.stream_with_context
    async def lines():
        try:
            async for event in await bp.client.chat.completions.create(model="m", messages=messages, stream=True):
                yield json.dumps(event.model_dump()["choices"][0]) + "\n"
        except Exception as error:  # noqa: BLE001
            quart.current_app.logger.error("%s", type(error))
            yield json.dumps({"error": str(error)}) + "\n"

    return quart.Response(lines(), mimetype="application/x-ndjson")


def quart_quickstart(response_timeout_s: float | None = None):
    app = quart.Quart("quickstart")
    if response_timeout_s is not None:
        app.config["RESPONSE_TIMEOUT"] = response_timeout_s
    app.register_blueprint(bp)
    return app
