"""`/api/stream`: a question in, its answer as it comes."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response, request

from quartapp.chat import Chat
from quartapp.errors import ChatError
from quartapp.formats import FORMATS, Format
from quartapp.guards.auth import Authenticate, principal
from quartapp.guards.body import read_body
from quartapp.request import parse
from quartapp.routes.replies import error_reply, labels, request_id, stream_reply


def add_stream(blueprint: Blueprint, chat: Callable[[], Chat], authenticate: Authenticate | None) -> None:
    """Adds the door to `blueprint`; `chat` finds the running chat of the current app."""

    async def stream() -> Response:
        format = _accepted_format()
        who = await principal(request, authenticate)
        running = chat()
        asked = parse(await read_body(request, running.settings), running.settings)
        answer = running.answer(asked, id=request_id(), labels=labels(who))
        try:
            await answer.begin(running.settings.gate_s if format.has_records else None)
        except ChatError as error:
            return error_reply(error)  # the answer has logged its line
        return stream_reply(answer, format)

    blueprint.add_url_rule("/api/stream", view_func=stream, methods=["POST"])


def _accepted_format() -> Format:
    """The format the client's Accept header likes best. Raises ChatError: not_acceptable."""
    if not request.accept_mimetypes.provided:
        return next(iter(FORMATS.values()))
    media_type = request.accept_mimetypes.best_match(list(FORMATS))
    if media_type is None:
        raise ChatError("not_acceptable", headers={"Accept-Post": "application/json"})
    return FORMATS[media_type]
