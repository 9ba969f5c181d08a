"""The section of the OpenAPI document on the native routes."""

from __future__ import annotations

from typing import Final

from quartapp.core.events import Annotation, Delta, Done, Failed, Image, Ping, Reasoning, Refusal, Start, ToolCall
from quartapp.openapi.operations import GET_ERRORS, HOST, POST_ERRORS, Operation, Reply, Section
from quartapp.openapi.schemas import Json, event_schema, json_text, reference
from quartapp.protocols.native.formats import NDJSON, SSE, TEXT, WHOLE
from quartapp.protocols.native.offer import Offer
from quartapp.protocols.native.request import ChatBody, ChatQuery
from quartapp.protocols.native.whole import WholeAnswer

Record = Start | Delta | Reasoning | Refusal | ToolCall | Annotation | Image | Ping | Done | Failed

_QUESTION: Final[Json] = {"message": "count to 5"}
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


SECTION: Final = Section(
    tag="chat",
    description="The native protocol.",
    bodies=(WholeAnswer, Offer),
    unions={"Record": Record},
    events={"RecordEvent": event_schema("start", "message", "ping", "end", data=json_text(reference("Record")))},
    operations={
        ("stream", "POST"): Operation(
            summary="Streams an answer.",
            description="`Accept` selects the format. `stream: false` requests one JSON object.",
            body=ChatBody,
            example=_QUESTION,
            replies={200: _STREAMED},
            errors=("not_acceptable", *POST_ERRORS),
        ),
        ("stream", "GET"): Operation(
            summary="Streams an answer to an EventSource.",
            description="Refused to prefetches, and to pages of other sites that `CHAT_ORIGINS` does not name.",
            query=ChatQuery,
            headers=_LAST_EVENT_ID,
            replies={200: _STREAMED, 204: _RECONNECTED},
            errors=("not_acceptable", *GET_ERRORS),
        ),
        ("chat", "POST"): Operation(
            summary="Answers in one JSON object.",
            body=ChatBody,
            example=_QUESTION,
            replies={200: Reply("The complete answer.", _WHOLE)},
            errors=("not_acceptable", *POST_ERRORS),
        ),
        ("chat", "GET"): Operation(
            summary="Answers a query in one JSON object.",
            description="Refused to prefetches, and to pages of other sites that `CHAT_ORIGINS` does not name.",
            query=ChatQuery,
            replies={200: Reply("The complete answer.", _WHOLE)},
            errors=("not_acceptable", *GET_ERRORS),
        ),
        ("models", "GET"): Operation(
            summary="The models that a request may name, and the limits of a request.",
            replies={200: Reply("Their list, the default, and the limits.", {"application/json": reference("Offer")})},
            errors=("forbidden", *HOST),
        ),
    },
)
