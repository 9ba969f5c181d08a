"""The request that every protocol parses its body into."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec
from msgspec.structs import replace

from quartapp.core.principal import Principal

JsonObject = dict[str, Any]


def without(document: JsonObject, names: Container[str]) -> JsonObject:
    """Return the fields of `document` that are not in `names`."""
    return {name: value for name, value in document.items() if name not in names}


class OpenCalls(msgspec.Struct, frozen=True):
    """Tool calls without a result at the end of a conversation.

    `turn` is the assistant's message with them, and `results` are the results of its other calls. `settled` is what
    the messages of the request have in their place, because servers refuse a call without a result. `approved` are the
    ids of calls that the user has approved.
    """

    turn: JsonObject
    results: list[JsonObject]
    settled: list[JsonObject]
    approved: frozenset[str]

    @property
    def calls(self) -> list[JsonObject]:
        """Return the calls without a result."""
        ids = {result["tool_call_id"] for result in self.results}
        return [call for call in self.turn["tool_calls"] if call["id"] not in ids]

    def is_end_of(self, messages: list[JsonObject]) -> bool:
        """Return whether `messages` end as in the client's request. A hook may have changed them."""
        return messages[len(messages) - len(self.settled) :] == self.settled

    def replaced_in(self, messages: list[JsonObject], results: list[JsonObject]) -> list[JsonObject]:
        """Return `messages` with the turn, and with `results` for its open calls, in place of `settled`."""
        return [*messages[: len(messages) - len(self.settled)], self.turn, *self.results, *results]


class ChatRequest(msgspec.Struct, frozen=True):
    """A checked request: messages in OpenAI's form, and `model` as the client named it (None is the default model).

    `params` are OpenAI's parameters by OpenAI's names. `extras` are other parameters, which are sent only to a model
    whose entry allows them. `whole` requests one object instead of a stream. `raw` requests the chunks of the upstream
    if it has any. They contain the usage only with `include_usage`. `principal` is the user who sent it, if the host
    app authenticates clients. If `shows_tools`, the client's format has a place for results of tools in Python and for
    approvals. `open_calls` are calls that may run before the model is called. `continued_id` is the client's id of the
    message that the answer continues.

    >>> ChatRequest([{"role": "user", "content": "Why is the sky blue?"}]).messages[-1]["content"]
    'Why is the sky blue?'
    """

    messages: list[JsonObject]
    model: str | None = None
    params: JsonObject = {}
    extras: JsonObject = {}
    whole: bool = False
    raw: bool = False
    include_usage: bool = False
    principal: Principal | None = None
    shows_tools: bool = False
    open_calls: OpenCalls | None = None
    continued_id: str | None = None

    @property
    def text(self) -> str:
        """Return the text of the last message of the user, for example the question."""
        content = next((turn.get("content") for turn in reversed(self.messages) if turn["role"] == "user"), None)
        if isinstance(content, str):
            return content
        return "".join(part.get("text") or "" for part in content or ())

    def with_context(self, text: str) -> ChatRequest:
        """Return this request with `text` as a system message before the messages of the client."""
        return replace(self, messages=[{"role": "system", "content": text}, *self.messages])

    def with_model(self, name: str) -> ChatRequest:
        """Return this request for another model."""
        return replace(self, model=name)

    @property
    def choices(self) -> int:
        """Return the number of answers that the client requests at once."""
        return int(self.params.get("n", 1))
