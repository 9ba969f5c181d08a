"""The section of the OpenAPI document on OpenAI's API."""

from __future__ import annotations

from typing import Final

from quartapp.openapi.operations import HOST, POST_ERRORS, ErrorForm, Operation, Reply, Section
from quartapp.openapi.schemas import Json, event_schema, json_text, reference
from quartapp.protocols.chat_completions.encode import OPENAI_CODES
from quartapp.protocols.chat_completions.request import CompletionBody
from quartapp.protocols.chat_completions.types import Chunk, Completion, ModelCard, ModelList, OpenAIError

_COMPLETION: Final[Json] = {
    "model": "mock",
    "messages": [{"role": "user", "content": "count to 5"}],
    "stream": True,
}
_DATA: Final = {"anyOf": [{"const": "[DONE]"}, json_text({"anyOf": [reference("OpenAIError"), reference("Chunk")]})]}

_ANSWER: Final = {"application/json": reference("Completion"), "text/event-stream": reference("ChunkEvent")}

SECTION: Final = Section(
    tag="openai",
    description="OpenAI's API, for its clients.",
    error_form=ErrorForm("OpenAIError", {422: 400}, OPENAI_CODES),  # OpenAI has no 422
    bodies=(OpenAIError, Chunk, Completion, ModelCard, ModelList),
    events={"ChunkEvent": event_schema(data=_DATA)},
    operations={
        ("openai.completions", "POST"): Operation(
            summary="OpenAI's chat completions.",
            description="With `stream: true` as server-sent events, the last of which is `[DONE]`, or an error.",
            body=CompletionBody,
            example=_COMPLETION,
            replies={200: Reply("The answer.", _ANSWER)},
            errors=POST_ERRORS,
        ),
        ("openai.models", "GET"): Operation(
            summary="The models that a request may name.",
            replies={200: Reply("Their list.", {"application/json": reference("ModelList")})},
            errors=("forbidden", *HOST),
        ),
        ("openai.model", "GET"): Operation(
            summary="One model that a request may name.",
            replies={200: Reply("The model.", {"application/json": reference("ModelCard")})},
            errors=("model_not_found", "forbidden", *HOST),
        ),
    },
)
