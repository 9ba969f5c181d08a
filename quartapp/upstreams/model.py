"""The interface of models at upstreams: each builds its request once, and each attempt sends what was built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from quartapp.core.events import Batches
from quartapp.core.request import ChatRequest, JsonObject

#: Sends a built request and yields the batches of its answer. Each call is one attempt. Closing the generator closes
#: the upstream. Raises ChatError.
OpenStream = Callable[[], Batches]


class UpstreamModel(Protocol):
    """A model that builds the requests to its server."""

    def build(self, request: ChatRequest, /) -> OpenStream:
        """Build the server's request; nothing is sent yet.

        Raises ChatError: invalid_request or too_large, for a request that the model does not accept.
        """
        ...


def no_fault(_: JsonObject) -> None:
    """Accept any `params` of an entry, because they are sent unchanged."""
