"""An agent of pydantic-ai as the model of a chat at /ai.

OPENAI_API_KEY=sk-... hypercorn app:app
"""

import os
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent, ModelRateLimitError, RunUsage
from pydantic_ai.messages import (
    BinaryContent,
    FunctionToolResultEvent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from quart import Quart

from quartapp import Chat, ChatError, ChatRequest, Done, Reasoning, Usage

model = OpenAIChatModel(
    os.environ.get("AGENT_MODEL", "gpt-5.4-mini"),
    provider=OpenAIProvider(openai_client=AsyncOpenAI(max_retries=0)),
    # Without it, a truncated answer of the model looks complete.
    profile=OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True),
)
agent = Agent(model, instructions="You know the weather.")


@agent.tool_plain
async def weather_in(city: str) -> str:
    """Return the weather in a city."""
    return f"21 degrees in {city}"


chat = Chat(model="weather", url_prefix="/ai")


@chat.model("weather")
async def weather(request: ChatRequest) -> AsyncIterator[str | Reasoning | Done]:
    try:
        async with agent.run_stream_events(message_history=list(history(request))) as run:
            async for event in run:
                yield shown(event)
            if run.result is not None:
                yield Done(run.result.response.finish_reason or "stop", usage_of(run.usage))
    except ModelRateLimitError as error:
        raise ChatError("upstream_busy", retry_after_s=round(error.retry_after or 1)) from error


def history(request: ChatRequest) -> Iterator[ModelMessage]:
    """Yield the conversation. Tool calls in it are left out, because they are not calls of this agent."""
    for turn in request.messages:
        content = turn.get("content") or ""
        parts = [content] if isinstance(content, str) else [part_of(part) for part in content]
        text = "".join(part for part in parts if isinstance(part, str))
        match turn["role"]:
            case "user":
                yield ModelRequest([UserPromptPart(text if text == content else parts)])
            case "system" | "developer":
                yield ModelRequest([SystemPromptPart(text)])
            case "assistant" if text:
                yield ModelResponse([TextPart(text)])


def part_of(part: dict[str, Any]) -> UserContent:
    """Return a part of a message: a text or an attachment."""
    match part:
        case {"image_url": {"url": url}}:
            return ImageUrl(url)
        case {"file": {"file_data": url}}:
            return BinaryContent.from_data_uri(url)
        case {"input_audio": {"data": data, "format": name}}:
            return BinaryContent(b64decode(data), media_type=f"audio/{name}")
    return str(part.get("text") or "")


def shown(event: object) -> str | Reasoning:
    """Return what the client gets of an event: text, thoughts, and the names of the tools that were called."""
    match event:
        case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text
        case PartStartEvent(part=ThinkingPart(content=text)):
            return Reasoning(text)
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=str(text))):
            return Reasoning(text)
        case FunctionToolResultEvent(part=part):
            return Reasoning(f"Used {part.tool_name}.\n")
    return ""


def usage_of(run: RunUsage) -> Usage | None:
    """Return the tokens of all steps, or None if the server did not count those of a step."""
    if run.unmeasured_requests:
        return None
    return Usage(
        run.input_tokens,
        run.output_tokens,
        run.total_tokens,
        run.cache_read_tokens or None,
        run.output_reasoning_tokens or None,
    )


app = Quart(__name__)
chat.init_app(app)
