"""The state that the routes of one blueprint share, and the way of every request to its answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from quart import request

from quartapp.answer.client import Answer
from quartapp.core.errors import host_failure
from quartapp.core.request import ChatRequest
from quartapp.guards.auth import authenticated
from quartapp.guards.body import read_body
from quartapp.guards.guard import GuardContext, Leases
from quartapp.guards.pages import refuse_foreign_page
from quartapp.hooks import Hooks
from quartapp.routes.protocol import Protocol
from quartapp.routes.replies import labels, request_id
from quartapp.running import RunningChat
from quartapp.settings.settings import Settings

NOT_RUNNING: Final = (
    "The chat is not running, because its app was not started: serve the app with lifespan on, enter "
    "`async with app.test_app():` in a test, or enter the same in the lifespan of the app that mounts it."
)

#: Parses the body of a POST (bytes), or the query of a GET (a list of values for each name). Raises ChatError.
Parse = Callable[[Any, Settings], ChatRequest]


class RouteContext(NamedTuple):
    """The parts that all routes of one blueprint share.

    `find` returns the running chat of the current app, or None before its start. `hooks` are the host app's.
    The OpenAPI document describes `protocols`. `viewer` is the folder of Swagger UI, None without its extra.
    """

    find: Callable[[], RunningChat | None]
    hooks: Hooks
    protocols: tuple[Protocol, ...] = ()
    viewer: Path | None = None

    def chat(self) -> RunningChat:
        """Return the running chat. Raises ChatError: internal_error, if the app was not started."""
        chat = self.find()
        if chat is None:
            raise host_failure(RuntimeError(NOT_RUNNING))
        return chat

    async def admit(self, leases: Leases | None = None) -> GuardContext:
        """Refuse a cookie of a foreign page, authenticate the client, then run the guards that need no body.

        Every route calls it, those with an answer through `start_answer`, except the page, its files and the 204 of a
        reconnect. Without `leases` those of the guards are settled at once, because the route starts no answer.

        Raises ChatError: forbidden, unauthorized, and the refusal of a guard.
        """
        held, chat = leases or Leases(), self.chat()
        refuse_foreign_page(chat.settings.origins)
        context = GuardContext(request, await authenticated(chat.host, self.hooks))
        try:
            await held.acquire(chat.guards.before_body, context)
        finally:
            if leases is None:
                held.settle()
        return context

    async def start_answer(self, parse: Parse, *, has_records: bool = True) -> tuple[ChatRequest, Answer]:
        """Return the parsed request, and its answer after its first event.

        If the format `has_records`, and the client wants a stream, the answer is returned after the status timeout at
        the latest. The client is authenticated first, because the body of an unknown client is not read.

        Raises ChatError: a refusal, or the error with which the answer failed before its first event.
        """
        leases = Leases()
        try:
            context = await self.admit(leases)
            chat = self.chat()
            chat_request = parse(await _content(chat.settings), chat.settings)
            answer = await chat.answer(chat_request, context, leases, id=request_id(), labels=labels(context.principal))
        except BaseException:
            leases.settle()
            raise
        has_status_timeout = has_records and not chat_request.whole
        await answer.begin(chat.settings.status_timeout_s if has_status_timeout else None)
        return chat_request, answer


async def _content(settings: Settings) -> bytes | dict[str, list[str]]:
    if request.method == "POST":
        return await read_body(request, settings)
    return request.args.to_dict(flat=False)
