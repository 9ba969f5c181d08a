"""The request parameters of a model: those of its entry, those of the client, and their limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Final

import msgspec

from quartapp.core.errors import ChatError, Reason
from quartapp.core.request import ChatRequest, JsonObject, without
from quartapp.protocols.chat_completions.request import CompletionBody
from quartapp.protocols.common.documents import safe_path
from quartapp.upstreams.common.history import ReturnedState
from quartapp.upstreams.common.think_tags import ThinkTagMode

#: OpenAI's two names for the token limit of an answer. A model accepts one, and some servers misread the other.
TOKEN_LIMITS: Final = ("max_completion_tokens", "max_tokens")

#: Anthropic's mark on a part of a message. Its server caches the prompt up to this part.
CACHE_CONTROL: Final = "cache_control"

# Only speeds up an answer. A model that does not accept it gets the request without it.
_HINTS: Final = frozenset({"prediction"})


def check_extras(request: ChatRequest, allow: Set[str] = frozenset()) -> None:
    """Raise ChatError, invalid_request, for a parameter outside OpenAI's API that `allow` does not list."""
    for name in request.extras:
        if name not in allow and name not in _HINTS:
            reason: Reason = "unsupported" if name in CompletionBody.model_fields else "unknown"
            raise ChatError("invalid_request", path=safe_path(name), reason=reason)
    if CACHE_CONTROL not in allow:
        for path in _cache_controls(request.messages):
            raise ChatError("invalid_request", path=path, reason="unknown")


class Parameters(msgspec.Struct, frozen=True):
    """The request settings of one model; `model` is its name at its server, and the rest is as in its entry.

    `unsent_limit` is the token limit if neither client, entry nor operator sets one. No line of an answer may exceed
    `max_line_bytes`.
    """

    model: str
    system_prompt: str | None = None
    params: JsonObject = {}
    allow: frozenset[str] = frozenset()
    drop_params: frozenset[str] = frozenset()
    max_output_tokens: int | None = None
    unsent_limit: int = 2**20
    output_limit: str = "max_tokens"
    think_tags: ThinkTagMode = "leading"
    api_version: str | None = None
    max_line_bytes: int = 2**20
    returned: ReturnedState = ReturnedState()

    def check(self, request: ChatRequest) -> None:
        """Raise ChatError for a request that the model does not accept.

        The code is invalid_request for more tokens or answers than it allows, and too_large for too much state.
        """
        self.returned.check(request, has_tools=self.has_tools(request))
        if request.choices > 1 and "n" in self.drop_params:
            raise ChatError("invalid_request", path="n", reason="unsupported")
        for name in TOKEN_LIMITS:
            if self.max_output_tokens is not None and request.params.get(name, 0) > self.max_output_tokens:
                raise ChatError("invalid_request", path=name)

    def messages(self, request: ChatRequest) -> list[JsonObject]:
        """Return the conversation, with servers' state in `extra`, and with the model's system prompt first."""
        messages = request.messages if CACHE_CONTROL in self.allow else _without_cache_control(request.messages)
        return [{"role": "system", "content": self.system_prompt}, *messages] if self.system_prompt else messages

    def has_tools(self, request: ChatRequest) -> bool:
        """Return whether the request of the client, or the entry, names tools."""
        return bool(request.params.get("tools") or self.params.get("tools"))

    def for_request(self, request: ChatRequest) -> JsonObject:
        """Return the parameters by chat completions' names; the token limit has the name that the model accepts."""
        limit = self._limit(request)
        extras = {name: value for name, value in request.extras.items() if name in self.allow}
        merged = {**self.params, **extras, **request.params}
        params = without(merged, TOKEN_LIMITS)
        if tools := [*self.params.get("tools", ()), *request.params.get("tools", ())]:
            params["tools"] = tools
        if limit is not None:
            params[self.output_limit] = limit
        return without(params, self.drop_params)

    def most_tokens(self, request: ChatRequest) -> int:
        """Return the token limit of each answer to `request`, whether or not the server receives it."""
        # An entry may use the Responses API's name for the limit.
        return self._limit(request) or self.params.get("max_output_tokens") or self.unsent_limit

    def _limit(self, request: ChatRequest) -> int | None:
        limit = _limit(request.params) or _limit(self.params) or self.max_output_tokens
        return None if limit is None else min(limit, self.max_output_tokens or limit)


def _limit(params: JsonObject) -> int | None:
    limits = [params[name] for name in TOKEN_LIMITS if name in params]
    return min(limits, default=None)


def _cache_controls(messages: Sequence[JsonObject]) -> Iterator[str]:
    """Yield the path of each part with a mark."""
    for index, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for number, part in enumerate(content):
                if CACHE_CONTROL in part:
                    yield f"messages.{index}.content.{number}.{CACHE_CONTROL}"


def _without_cache_control(messages: list[JsonObject]) -> list[JsonObject]:
    if not any(_cache_controls(messages)):
        return messages
    return [
        {**message, "content": [without(part, {CACHE_CONTROL}) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]
