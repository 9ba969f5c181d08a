"""The native routes: `/api/stream` and `/api/chat` for an answer, as a stream or one object, and `/api/models`."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from quart import Response, request

from quartapp.answer.client import Answer
from quartapp.core.events import (
    Annotation,
    Delta,
    Done,
    Failed,
    Image,
    Ping,
    Reasoning,
    Refusal,
    Start,
    Step,
    ToolApproval,
    ToolCall,
    ToolResult,
)
from quartapp.guards.accept import accepted
from quartapp.guards.pages import refuse_unwanted_get
from quartapp.openapi.schemas import event_schema, json_text, reference
from quartapp.protocols.common.encoding import to_json
from quartapp.protocols.native.formats import ACCEPTED, NDJSON, SSE, TEXT, WHOLE
from quartapp.protocols.native.request import ChatBody, ChatQuery, parse, parse_query
from quartapp.protocols.native.whole import WholeAnswer, merge
from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import GET_ERRORS, HOST, POST_ERRORS, Operation, Protocol, Reply, Route
from quartapp.routes.replies import collect, json_reply, stream_reply


class OfferedModel(msgspec.Struct):
    """A model that a request may name by its `id`. `is_mock` marks the mock model, which needs no key."""

    id: str
    is_mock: bool


class RequestLimits(msgspec.Struct):
    """The bounds of one request: the settings `CHAT_MAX_...` of the same names."""

    max_body_bytes: int
    max_json_values: int
    max_messages: int
    max_prompt_chars: int
    max_attachments: int
    max_attachment_bytes: int


class Offer(msgspec.Struct):
    """The offered models. Requests without a model go to `default`."""

    default: str
    models: list[OfferedModel]
    limits: RequestLimits


async def stream(context: RouteContext) -> Response:
    """Return a streamed answer. POST takes a JSON body, GET a query, because an `EventSource` sends no body."""
    is_post, offered = request.method == "POST", [*ACCEPTED, WHOLE]
    if not is_post:
        refuse_unwanted_get(context.chat().settings.origins, offered)
    wire = ACCEPTED.get(accepted(offered, (TEXT if is_post else SSE).media_type))
    if "Last-Event-ID" in request.headers:
        # An EventSource reconnects after its answer ended. 204 stops it, so that no second answer is billed.
        return Response(status=204)
    parse_post = partial(parse, shows_tools=wire is not TEXT)
    chat_request, answer = await context.start_answer(
        parse_post if is_post else parse_query, has_records=wire is not None and wire.has_records
    )
    return await _complete_reply(answer) if wire is None or chat_request.whole else stream_reply(answer, wire)


async def chat(context: RouteContext) -> Response:
    """Return a complete answer in one JSON object."""
    is_post = request.method == "POST"
    if not is_post:
        refuse_unwanted_get(context.chat().settings.origins, [WHOLE])
    accepted([WHOLE], WHOLE)
    _, answer = await context.start_answer(parse if is_post else parse_query, has_records=False)
    return await _complete_reply(answer)


async def models(context: RouteContext) -> Response:
    """Return the models, and the limits of a request."""
    await context.admit()
    chat = context.chat()
    names = [OfferedModel(name, chat.models.get(name).is_mock) for name in chat.models.names]
    limits = RequestLimits(**{name: getattr(chat.settings, name) for name in RequestLimits.__struct_fields__})
    return json_reply(to_json(Offer(chat.models.default, names, limits)))


async def _complete_reply(answer: Answer) -> Response:
    return json_reply(to_json(merge(await collect(answer))))


Record = (
    Start
    | Delta
    | Reasoning
    | Refusal
    | ToolCall
    | Step
    | ToolResult
    | ToolApproval
    | Annotation
    | Image
    | Ping
    | Done
    | Failed
)

_QUESTION: Final = {"message": "count to 5"}
_WHOLE = {WHOLE: reference("WholeAnswer")}
_STREAMS = {
    TEXT.media_type: {"type": "string"},
    NDJSON.media_type: reference("Record"),
    SSE.media_type: reference("RecordEvent"),
}
_STREAMED = Reply(
    "The streamed answer. text/plain is the text itself, aborted if the answer fails. The schema of "
    "`application/x-ndjson` is that of one line, the schema of `text/event-stream` that of one event. The last record "
    "of both is `done` or `error`; only an answer with `done` is complete.",
    {**_STREAMS, **_WHOLE},
)
_RECONNECTED = Reply(
    "No content. With `Last-Event-ID` an `EventSource` reconnects after the end of its answer, and 204 stops it."
)
_LAST_EVENT_ID = {
    "Last-Event-ID": "Sent by an `EventSource` after the end of its answer. It gets 204 and no second answer."
}

_STREAM: Final = {
    "POST": Operation(
        summary="Streams an answer.",
        description="`Accept` selects the format. `stream: false` requests one JSON object.",
        body=ChatBody,
        example=_QUESTION,
        replies={200: _STREAMED},
        errors=("not_acceptable", *POST_ERRORS),
    ),
    "GET": Operation(
        summary="Streams an answer to an EventSource.",
        description="Refused to prefetches, and to pages of other sites that `CHAT_ORIGINS` does not name.",
        query=ChatQuery,
        headers=_LAST_EVENT_ID,
        replies={200: _STREAMED, 204: _RECONNECTED},
        errors=("not_acceptable", *GET_ERRORS),
    ),
}
_CHAT: Final = {
    "POST": Operation(
        summary="Answers in one JSON object.",
        body=ChatBody,
        example=_QUESTION,
        replies={200: Reply("The complete answer.", _WHOLE)},
        errors=("not_acceptable", *POST_ERRORS),
    ),
    "GET": Operation(
        summary="Answers a query in one JSON object.",
        description="Refused to prefetches, and to pages of other sites that `CHAT_ORIGINS` does not name.",
        query=ChatQuery,
        replies={200: Reply("The complete answer.", _WHOLE)},
        errors=("not_acceptable", *GET_ERRORS),
    ),
}
_MODELS: Final = {
    "GET": Operation(
        summary="The models that a request may name, and the limits of a request.",
        replies={200: Reply("Their list, the default, and the limits.", {"application/json": reference("Offer")})},
        errors=("forbidden", *HOST),
    ),
}

NATIVE: Final = Protocol(
    tag="native",
    description="The native protocol.",
    routes=(
        Route("/api/stream", stream, _STREAM, has_head=False),
        Route("/api/chat", chat, _CHAT, has_head=False),
        Route("/api/models", models, _MODELS),
    ),
    bodies=(WholeAnswer, Offer),
    unions={"Record": Record},
    events={"RecordEvent": event_schema("start", "message", "ping", "end", data=json_text(reference("Record")))},
)
