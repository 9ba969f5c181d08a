"""A graph of LangGraph as the model of a chat at /ai in a Quart project. It keeps the conversations of each user.

OPENAI_API_KEY=sk-... ALICE_TOKEN=secret BOB_TOKEN=other hypercorn app:app
"""

import hmac
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from msgspec.structs import replace
from openai import RateLimitError
from quart import Quart, Request, request

from quartapp import Chat, ChatError, ChatRequest, Done, Principal, Reasoning, Usage, bearer_token


@tool
async def weather_in(city: str) -> str:
    """Return the weather in a city."""
    return f"21 degrees in {city}"


llm = ChatOpenAI(model=os.environ.get("AGENT_MODEL", "gpt-5.4-mini"), max_retries=0, stream_usage=True)
llm_with_tools = llm.bind_tools([weather_in])


async def call_model(state: MessagesState) -> dict[str, list[AnyMessage]]:
    """Call the model with the conversation."""
    messages = [SystemMessage("You know the weather."), *with_results(state["messages"])]
    return {"messages": [await llm_with_tools.ainvoke(messages)]}


def with_results(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return the messages without tool calls that have no result. A client that disconnects can leave them."""
    results = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    return [message for message in messages if calls_of(message) <= results]


def calls_of(message: AnyMessage) -> set[str | None]:
    """Return the ids of the tool calls of a message."""
    return {call["id"] for call in message.tool_calls} if isinstance(message, AIMessage) else set()


graph = (
    StateGraph(MessagesState)
    .add_node("model", call_model)
    .add_node("tools", ToolNode([weather_in]))
    .add_edge(START, "model")
    .add_conditional_edges("model", tools_condition)
    .add_edge("tools", "model")
    .compile(checkpointer=InMemorySaver())
)

chat = Chat(model="weather", url_prefix="/ai")
TOKENS = {"alice": os.environ["ALICE_TOKEN"], "bob": os.environ["BOB_TOKEN"]}


@chat.authenticate
def who(asking: Request) -> str | None:
    given = bearer_token(asking).encode()
    return next((name for name, token in TOKENS.items() if hmac.compare_digest(token.encode(), given)), None)


@chat.prepare
def choose_thread(question: ChatRequest, principal: Principal | None) -> ChatRequest:
    """Add the id of the thread: of this user and of the conversation that the front end names."""
    conversation = request.headers.get("X-Conversation")
    if principal is None or not conversation:
        raise ChatError("invalid_request", path="X-Conversation", reason="missing")
    return replace(question, params={**question.params, "thread_id": json.dumps([principal.id, conversation])})


def thread_of(question: ChatRequest) -> RunnableConfig:
    """Return the thread that `choose_thread` has added, and the largest number of steps of an answer."""
    return {"configurable": {"thread_id": question.params["thread_id"]}, "recursion_limit": 20}


@chat.model("weather")
async def weather(question: ChatRequest) -> AsyncIterator[str | Reasoning | Done]:
    run: Any = graph.astream({"messages": [HumanMessage(question.text)]}, thread_of(question), stream_mode="messages")
    messages: list[AnyMessage] = []
    try:
        async with aclosing(run):
            async for message, place in run:
                messages.append(message)
                yield shown(message, place["langgraph_node"])
        yield done(messages)
    except RateLimitError as error:
        raise ChatError("upstream_busy") from error


def shown(message: AnyMessage, node: str) -> str | Reasoning:
    """Return what the client gets of a message: text of the model, and the names of the tools that were called."""
    if isinstance(message, ToolMessage):
        return Reasoning(f"Used {message.name}.\n")
    return str(message.text) if node == "model" else ""


def done(messages: Sequence[AnyMessage]) -> Done:
    """Return the end of the answer, with the tokens of all steps. Without a finish reason, the server truncated it."""
    reason, total = None, None
    for message in messages:
        if isinstance(message, AIMessage):
            reason = message.response_metadata.get("finish_reason", reason)
            total = add_usage(total, message.usage_metadata) if message.usage_metadata else total
    if reason is None:
        raise ChatError("upstream_truncated")
    return Done(reason, total and usage_of(total))


def usage_of(total: UsageMetadata) -> Usage:
    """Return the tokens in the form of the chat."""
    return Usage(
        total["input_tokens"],
        total["output_tokens"],
        total["total_tokens"],
        total.get("input_token_details", {}).get("cache_read"),
        total.get("output_token_details", {}).get("reasoning"),
    )


app = Quart(__name__)
chat.init_app(app)
