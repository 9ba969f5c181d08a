"""What every door does with a question: who asks, what exactly, and the answer's beginning."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from quart import request

from quartapp.answer import Answer
from quartapp.chat import Chat
from quartapp.guards.auth import Authenticate, principal
from quartapp.guards.body import read_body
from quartapp.requests.messages import ChatRequest
from quartapp.routes.replies import labels, request_id
from quartapp.settings import Settings


class House(NamedTuple):
    """What the doors of one blueprint share: how to find the running chat of the current app, and who may ask."""

    chat: Callable[[], Chat]
    authenticate: Authenticate | None

    async def who(self) -> str | None:
        """Who asks. Raises ChatError: unauthorized."""
        return await principal(request, self.authenticate)

    async def posted(self, parse: Callable[[bytes, Settings], ChatRequest]) -> tuple[str | None, ChatRequest]:
        """Who asks and what, in that order: nothing is read for somebody who may not ask."""
        who, settings = await self.who(), self.chat().settings
        return who, parse(await read_body(request, settings), settings)

    async def ask(self, asked: ChatRequest, who: str | None, *, has_gate: bool) -> Answer:
        """The answer, once it has begun; with a gate, its stream may open before the model says anything.

        Raises the ChatError it failed with before that.
        """
        chat = self.chat()
        answer = chat.answer(asked, id=request_id(), labels=labels(who))
        await answer.begin(chat.settings.gate_s if has_gate else None)
        return answer
