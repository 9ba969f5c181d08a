"""What every door does with a question: who asks, what exactly, and the answer's beginning."""

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


class House(NamedTuple):
    """What the doors of one blueprint share: how to find the running chat of the current app, and who may ask."""

    find: Callable[[], RunningChat | None]
    authenticate: Authenticate | None

    def chat(self) -> RunningChat:
        """The running chat. Raises ChatError: internal_error, if the app was not started."""
        chat = self.find()
        if chat is None:
            raise host_failure(RuntimeError(NOT_RUNNING))
        return chat

    async def who(self) -> str | None:
        """Who asks. Raises ChatError: unauthorized."""
        return await principal(request, self.authenticate)

    async def posted(self, parse: Callable[[bytes, Settings], ChatRequest]) -> tuple[str | None, ChatRequest]:
        """Who asks and what, in that order: nothing is read for somebody who may not ask."""
        who, settings = await self.who(), self.chat().settings
        return who, parse(await read_body(request, settings), settings)

    async def ask(self, asked: ChatRequest, who: str | None, *, has_status_timeout: bool) -> Answer:
        """The answer, once it has begun; with a gate, its stream may open before the model says anything.

        Raises the ChatError it failed with before that.
        """
        chat = self.chat()
        answer = chat.answer(asked, id=request_id(), labels=labels(who))
        await answer.begin(chat.settings.status_timeout_s if has_status_timeout else None)
        return answer
