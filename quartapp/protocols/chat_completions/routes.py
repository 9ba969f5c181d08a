"""The routes of OpenAI's API below `/v1`: chat completions and the list of models, with OpenAI's errors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from quart import Response

from quartapp.core.errors import ERROR_KINDS, ChatError
from quartapp.core.events import Event
from quartapp.openapi.schemas import event_schema, json_text, reference
from quartapp.protocols.chat_completions.encode import OPENAI_CODES, ChunkEncoder, openai_error
from quartapp.protocols.chat_completions.request import CompletionBody, parse_completion
from quartapp.protocols.chat_completions.types import Chunk, Completion, ModelCard, ModelList, OpenAIError
from quartapp.protocols.chat_completions.whole import merge
from quartapp.protocols.common.encoding import to_json
from quartapp.protocols.common.format import Format
from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import HOST, POST_ERRORS, ErrorForm, Operation, Protocol, Reply, Route
from quartapp.routes.replies import collect, error_headers, json_reply, stream_reply

# OpenAI's clients retry after 408, 409, 429 and any 5xx, up to twice. After these errors the first answer may already
# have been billed.
_MAY_BE_BILLED = frozenset(
    {
        "internal_error",
        "upstream_error",
        "upstream_truncated",
        "upstream_timeout",
        "too_many_steps",
        "deadline_exceeded",
    }
)
# After these errors the same request fails again.
_PERMANENT = frozenset({"upstream_refused", "upstream_unpaid"})


async def completions(context: RouteContext) -> Response:
    """Return a completion, or its stream of chunks."""
    created = int(time.time())
    chat_request, answer = await context.start_answer(parse_completion)
    chunks = ChunkEncoder(created, include_usage=chat_request.include_usage or chat_request.whole)
    if not chat_request.whole:
        return stream_reply(answer, Format("text/event-stream", lambda: chunks.encode))
    return json_reply(_completion(await collect(answer), chunks))


async def models(context: RouteContext) -> Response:
    """Return the list of models."""
    await context.admit()
    return json_reply(to_json(ModelList("list", [_card(name) for name in context.chat().models.names])))


async def model(context: RouteContext, name: str) -> Response:
    """Return one model. Raises ChatError: model_not_found."""
    await context.admit()
    return json_reply(to_json(_card(context.chat().models.get(name).name)))


def _completion(events: Sequence[Event], chunks: ChunkEncoder) -> bytes:
    """Merge `events` into one completion. Raises ChatError: upstream_error, if a chunk cannot be encoded again."""
    try:
        return to_json(merge(chunk for event in events for chunk in chunks.of(event)))
    except (ValueError, RecursionError) as error:
        raise ChatError("upstream_error") from error


def _card(name: str) -> ModelCard:
    return ModelCard(name, "model", 0, "quartapp")


def _render(error: ChatError) -> Response:
    status = 400 if error.status == 422 else error.status  # OpenAI has no 422
    headers = error_headers(error)
    is_spent = error.code == "budget_exceeded" and error.retry_after_s is None
    is_own = error.code not in ERROR_KINDS and error.retry_after_s is None
    if error.code in _MAY_BE_BILLED or error.code in _PERMANENT or is_spent or is_own:
        headers["x-should-retry"] = "false"
    document = openai_error(error.code, error.sentence, error.path, status=error.status)
    return json_reply(to_json(document), status, headers)


_COMPLETIONS: Final = Operation(
    summary="OpenAI's chat completions.",
    description="With `stream: true` as server-sent events, the last of which is `[DONE]`, or an error.",
    body=CompletionBody,
    example={"model": "mock", "messages": [{"role": "user", "content": "count to 5"}], "stream": True},
    replies={
        200: Reply(
            "The answer.",
            {"application/json": reference("Completion"), "text/event-stream": reference("ChunkEvent")},
        )
    },
    errors=POST_ERRORS,
)
_MODELS: Final = Operation(
    summary="The models that a request may name.",
    replies={200: Reply("Their list.", {"application/json": reference("ModelList")})},
    errors=("forbidden", *HOST),
)
_MODEL: Final = Operation(
    summary="One model that a request may name.",
    replies={200: Reply("The model.", {"application/json": reference("ModelCard")})},
    errors=("model_not_found", "forbidden", *HOST),
)
_DATA: Final = {"anyOf": [{"const": "[DONE]"}, json_text({"anyOf": [reference("OpenAIError"), reference("Chunk")]})]}

CHAT_COMPLETIONS: Final = Protocol(
    tag="openai",
    description="OpenAI's API, for its clients.",
    name="openai",
    prefix="/v1",
    render=_render,
    error_form=ErrorForm("OpenAIError", {422: 400}, OPENAI_CODES),  # OpenAI has no 422
    routes=(
        Route("/chat/completions", completions, {"POST": _COMPLETIONS}),
        Route("/models", models, {"GET": _MODELS}),
        Route("/models/<path:name>", model, {"GET": _MODEL}),
    ),
    bodies=(OpenAIError, Chunk, Completion, ModelCard, ModelList),
    events={"ChunkEvent": event_schema(data=_DATA)},
)
