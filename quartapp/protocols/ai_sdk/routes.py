"""The routes `/api/ui` for `useChat` of Vercel's AI SDK."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response

from quartapp.core.errors import ChatError
from quartapp.protocols.ai_sdk.encode import UI_MESSAGE_STREAM
from quartapp.protocols.ai_sdk.openapi import SECTION
from quartapp.protocols.ai_sdk.request import parse_ui
from quartapp.routes.context import RouteContext
from quartapp.routes.other import add_other
from quartapp.routes.protocol import Protocol
from quartapp.routes.replies import error_headers, handle_errors, stream_reply, text_reply


def add_ai_sdk(parent: Blueprint, context: RouteContext) -> None:
    """Add the routes below `/api/ui` as a nested blueprint, because their errors have a form of their own."""
    blueprint = Blueprint("ai_sdk", __name__)
    handle_errors(blueprint, _render)

    async def ui() -> Response:
        _, answer = await context.start_answer(parse_ui)
        return stream_reply(answer, UI_MESSAGE_STREAM)

    async def resume(id: str) -> Response:
        await context.admit()
        return Response(status=204)  # nothing can be resumed, because an answer ends with its connection

    blueprint.add_url_rule("", view_func=ui, methods=["POST"], provide_automatic_options=False)
    blueprint.add_url_rule("/<id>/stream", view_func=resume, methods=["GET"], provide_automatic_options=False)
    add_other(blueprint, {"": ("POST",), "/<id>/stream": ("GET", "HEAD")})
    parent.register_blueprint(blueprint, url_prefix="/api/ui")


AI_SDK: Final = Protocol(add_ai_sdk, SECTION)


def _render(error: ChatError) -> Response:
    """Return `error` as one sentence in text/plain, because `useChat` shows the complete body to the user."""
    return text_reply(error.sentence, error.status, error_headers(error))
