"""The routes `/api/ui` for `useChat` of Vercel's AI SDK."""

from __future__ import annotations

from typing import Final

from quart import Response

from quartapp.core.errors import ChatError
from quartapp.openapi.schemas import event_schema, json_text, reference
from quartapp.protocols.ai_sdk.encode import ui_message_stream
from quartapp.protocols.ai_sdk.request import UIBody, parse_ui
from quartapp.protocols.ai_sdk.types import UIMessageChunk
from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import HOST, POST_ERRORS, ErrorForm, Operation, Protocol, Reply, Route
from quartapp.routes.replies import error_headers, stream_reply, text_reply


async def ui(context: RouteContext) -> Response:
    """Return the stream of an answer."""
    chat_request, answer = await context.start_answer(parse_ui)
    return stream_reply(answer, ui_message_stream(chat_request.continued_id))


async def resume(context: RouteContext, id: str) -> Response:
    """Return 204, because an answer ends with its connection, so that no answer can be resumed."""
    await context.admit()
    return Response(status=204)


def _render(error: ChatError) -> Response:
    """Return `error` as one sentence in text/plain, because `useChat` shows the complete body to the user."""
    return text_reply(error.sentence, error.status, error_headers(error))


_UI: Final = Operation(
    summary="The UI message stream, version 1.",
    description="The last event is `[DONE]`, after a failure too, which `error` and `finish` report before it.",
    body=UIBody,
    example={
        "id": "a-chat",
        "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "count to 5"}]}],
    },
    replies={200: Reply("The streamed answer.", {"text/event-stream": reference("UIMessageChunkEvent")})},
    errors=POST_ERRORS,
)
_RESUME: Final = Operation(
    summary="Asks for an answer that is still open.",
    replies={204: Reply("No answer is open, because an answer ends with its connection.")},
    errors=("forbidden", *HOST),
)
_DATA: Final = {"anyOf": [{"const": "[DONE]"}, json_text(reference("UIMessageChunk"))]}

AI_SDK: Final = Protocol(
    tag="ai-sdk",
    description="The UI message stream of Vercel's AI SDK, for `useChat`.",
    name="ai_sdk",
    prefix="/api/ui",
    render=_render,
    error_form=ErrorForm(None),
    routes=(Route("", ui, {"POST": _UI}), Route("/<id>/stream", resume, {"GET": _RESUME})),
    unions={"UIMessageChunk": UIMessageChunk},
    events={"UIMessageChunkEvent": event_schema(data=_DATA)},
)
