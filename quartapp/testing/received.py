"""A request that the mock model has received in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quartapp.mock import Request

_MESSAGES: Final = ("messages", "input")
_NOT_PARAMS: Final = frozenset({"model", "stream", "stream_options", *_MESSAGES})

#: Characters of a text in the `repr` of a request.
_SHOWN_CHARS: Final = 80


@dataclass(frozen=True, repr=False)
class ModelRequest:
    """A request to a model, as its server gets it: with the system prompt and the parameters that the chat adds.

    `model` is the name at the server. `messages` have OpenAI's form, or that of the Responses API. `params` are all
    other fields, except those of streaming. `headers` have names in lower case, and none of them holds a key. `path` is
    the path of the URL, and `body` the complete JSON.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any]
    headers: Mapping[str, str]
    path: str
    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """Return the text of the last message of the user, for example the question."""
        return self._last("user")

    @property
    def system(self) -> str:
        """Return the texts of the system messages, joined by line ends: the system prompt and the added context."""
        instructions = [str(self.body["instructions"])] if self.body.get("instructions") else []
        texts = [text_of(each) for each in self.messages if each.get("role") in ("system", "developer")]
        return "\n".join([*instructions, *texts])

    def _last(self, role: str) -> str:
        return next((text_of(each) for each in reversed(self.messages) if each.get("role") == role), "")

    def __repr__(self) -> str:
        lines = [f"{each.get('role') or each.get('type')}: {_shown(text_of(each))}" for each in self.messages]
        params = "".join(f", {name}={value!r}" for name, value in self.params.items())
        return f"<ModelRequest to {self.model}{params}; {'; '.join(lines)}>"


def model_request(request: Request) -> ModelRequest:
    """Return the request in the form for tests."""
    body = request.body
    given: Any = next((body[name] for name in _MESSAGES if name in body), [])
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    params = {name: value for name, value in body.items() if name not in _NOT_PARAMS}
    return ModelRequest(str(body.get("model")), messages, params, request.headers, request.path, body)


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, without its attachments."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return str(content or "")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")
