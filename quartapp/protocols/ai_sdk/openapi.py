"""The section of the OpenAPI document on Vercel's AI SDK."""

from __future__ import annotations

from typing import Final

from quartapp.openapi.operations import HOST, POST_ERRORS, ErrorForm, Operation, Reply, Section
from quartapp.openapi.schemas import Json, event_schema, json_text, reference
from quartapp.protocols.ai_sdk.request import UIBody
from quartapp.protocols.ai_sdk.types import UIMessageChunk

_UI_PARTS: Final = [{"type": "text", "text": "count to 5"}]
_UI: Final[Json] = {"id": "a-chat", "messages": [{"id": "1", "role": "user", "parts": _UI_PARTS}]}

_DATA: Final = {"anyOf": [{"const": "[DONE]"}, json_text(reference("UIMessageChunk"))]}

SECTION: Final = Section(
    tag="ai-sdk",
    description="The UI message stream of Vercel's AI SDK, for `useChat`.",
    error_form=ErrorForm(None),
    unions={"UIMessageChunk": UIMessageChunk},
    events={"UIMessageChunkEvent": event_schema(data=_DATA)},
    operations={
        ("ai_sdk.ui", "POST"): Operation(
            summary="The UI message stream, version 1.",
            description="The last event is `[DONE]`, after a failure too, which `error` and `finish` report before it.",
            body=UIBody,
            example=_UI,
            replies={200: Reply("The streamed answer.", {"text/event-stream": reference("UIMessageChunkEvent")})},
            errors=POST_ERRORS,
        ),
        ("ai_sdk.resume", "GET"): Operation(
            summary="Asks for an answer that is still open.",
            replies={204: Reply("No answer is open, because an answer ends with its connection.")},
            errors=("forbidden", *HOST),
        ),
    },
)
