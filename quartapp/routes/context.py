"""The state that the routes of one blueprint share: the running chat, authentication, and the start of an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from quart import request

from quartapp.answer.client import Answer
from quartapp.core.errors import host_failure
from quartapp.guards.auth import Authenticate, principal
from quartapp.guards.body import read_body
from quartapp.protocols.common.messages import ChatRequest
from quartapp.routes.replies import labels, request_id
from quartapp.running import RunningChat
from quartapp.settings.settings import Settings

NOT_RUNNING: Final = (
    "The chat is not running, because its app was not started: serve the app with lifespan on, enter "
    "`async with app.test_app():` in a test, or enter the same in the lifespan of the app that mounts it."
)


class RouteContext(NamedTuple):
    """The parts that all routes of one blueprint share.

    `find` returns the running chat of the current app, or None before its start. `authenticate` is the host app's.
    """

    find: Callable[[], RunningChat | None]
    authenticate: Authenticate | None

    def chat(self) -> RunningChat:
        """Return the running chat. Raises ChatError: internal_error, if the app was not started."""
        chat = self.find()
        if chat is None:
            raise host_failure(RuntimeError(NOT_RUNNING))
        return chat

    async def principal(self) -> str | None:
        """Return the principal of the current request. Raises ChatError: unauthorized."""
        return await principal(request, self.authenticate)

    async def parse_body(self, parse: Callable[[bytes, Settings], ChatRequest]) -> tuple[str | None, ChatRequest]:
        """Return the principal and the parsed body of the current request.

        The client is authenticated first, because the body of an unknown client is not read.
        """
        principal, settings = await self.principal(), self.chat().settings
        return principal, parse(await read_body(request, settings), settings)

    async def start_answer(
        self, chat_request: ChatRequest, principal: str | None, *, has_status_timeout: bool
    ) -> Answer:
        """Return the answer after its first event, or after the status timeout if `has_status_timeout`.

        Raises the ChatError with which the answer failed before that.
        """
        chat = self.chat()
        answer = chat.answer(chat_request, id=request_id(), labels=labels(principal))
        await answer.begin(chat.settings.status_timeout_s if has_status_timeout else None)
        return answer
