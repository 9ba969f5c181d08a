"""The request that every protocol parses its body into."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

JsonObject = dict[str, Any]


def without(document: JsonObject, names: Container[str]) -> JsonObject:
    """Return the fields of `document` that are not in `names`."""
    return {name: value for name, value in document.items() if name not in names}


class ChatRequest(msgspec.Struct, frozen=True):
    """A checked request: messages in OpenAI's form, and `model` as the client named it (None is the default model).

    `params` are OpenAI's parameters by OpenAI's names. `extras` are other parameters, which are sent only to a model
    whose entry allows them. `whole` requests one object instead of a stream. `raw` requests the chunks of the upstream
    if it has any. They contain the usage only with `include_usage`.

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

    @property
    def choices(self) -> int:
        """Return the number of answers that the client requests at once."""
        return int(self.params.get("n", 1))
