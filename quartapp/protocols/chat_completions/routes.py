"""The routes of OpenAI's API below `/v1`: chat completions and the list of models, with OpenAI's errors."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from quart import Blueprint, Response

from quartapp.core.errors import ChatError
from quartapp.core.events import Event
from quartapp.protocols.chat_completions.encode import ChunkEncoder, error_object, merge
from quartapp.protocols.chat_completions.openapi import SECTION
from quartapp.protocols.chat_completions.request import parse_completion
from quartapp.protocols.common.encoding import to_json
from quartapp.protocols.common.format import Format
from quartapp.routes.context import RouteContext
from quartapp.routes.other import add_other
from quartapp.routes.protocol import Protocol
from quartapp.routes.replies import collect, error_headers, handle_errors, json_reply, stream_reply

_GET = ("GET", "HEAD")

# OpenAI's clients retry after 408, 409, 429 and any 5xx, up to twice. After these errors the first answer may already
# have been billed.
_MAY_BE_BILLED = frozenset(
    {"internal_error", "upstream_error", "upstream_truncated", "upstream_timeout", "deadline_exceeded"}
)
# After these errors the same request fails again.
_PERMANENT = frozenset({"upstream_refused", "upstream_unpaid"})


def add_chat_completions(parent: Blueprint, context: RouteContext) -> None:
    """Add the routes below `/v1` as a nested blueprint, because their errors have a form of their own."""
    blueprint = Blueprint("openai", __name__)
    handle_errors(blueprint, _render)

    async def completions() -> Response:
        created = int(time.time())
        chat_request, answer = await context.start_answer(parse_completion)
        chunks = ChunkEncoder(created, include_usage=chat_request.include_usage or chat_request.whole)
        if not chat_request.whole:
            return stream_reply(answer, Format("text/event-stream", lambda: chunks.encode))
        return json_reply(_completion(await collect(answer), chunks))

    async def models() -> Response:
        await context.admit()
        return _json({"object": "list", "data": [_model(name) for name in context.chat().models.names]})

    async def model(name: str) -> Response:
        await context.admit()
        return _json(_model(context.chat().models.get(name).name))

    rule = partial(blueprint.add_url_rule, provide_automatic_options=False)
    rule("/chat/completions", view_func=completions, methods=["POST"])
    rule("/models", view_func=models, methods=["GET"])
    rule("/models/<path:name>", view_func=model, methods=["GET"])
    add_other(blueprint, {"/chat/completions": ("POST",), "/models": _GET, "/models/<path:name>": _GET})
    parent.register_blueprint(blueprint, url_prefix="/v1")


CHAT_COMPLETIONS: Final = Protocol(add_chat_completions, SECTION)


def _completion(events: Sequence[Event], chunks: ChunkEncoder) -> bytes:
    """Merge `events` into one completion. Raises ChatError: upstream_error, if a chunk cannot be encoded again."""
    try:
        return to_json(merge(chunk for event in events for chunk in chunks.of(event)))
    except (ValueError, RecursionError) as error:
        raise ChatError("upstream_error") from error


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "quartapp"}


def _json(document: Any) -> Response:
    return json_reply(to_json(document))


def _render(error: ChatError) -> Response:
    status = 400 if error.status == 422 else error.status  # OpenAI has no 422
    headers = error_headers(error)
    is_spent = error.code == "budget_exceeded" and error.retry_after_s is None
    if error.code in _MAY_BE_BILLED or error.code in _PERMANENT or is_spent:
        headers["x-should-retry"] = "false"
    document = {"error": error_object(error.code, error.sentence, error.path)}
    return json_reply(json.dumps(document).encode(), status, headers)
