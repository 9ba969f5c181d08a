"""A model on a server with OpenAI's chat completions API."""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import quote

from quartapp.core.events import Batches
from quartapp.core.request import ChatRequest, JsonObject
from quartapp.upstreams.chat_completions.bodies import open_parser
from quartapp.upstreams.chat_completions.output_limit import limited
from quartapp.upstreams.http.servers import Server
from quartapp.upstreams.model import OpenStream
from quartapp.upstreams.parameters import Parameters

_USAGE: Final = {"stream_options": {"include_usage": True}}


class ChatCompletionsModel:
    """One model of one server, which belongs to the caller."""

    def __init__(self, server: Server, parameters: Parameters) -> None:
        self._server = server
        self._parameters = parameters
        # Azure's dated APIs name the model in the path.
        deployment = f"/deployments/{quote(parameters.model, safe='')}" if parameters.api_version else ""
        self._path = f"{deployment}/chat/completions"

    def build(self, request: ChatRequest, /) -> OpenStream:
        """Build the request, which always asks for usage. Raises ChatError: invalid_request, too_large."""
        parameters = self._parameters
        parameters.check(request)
        body, most_tokens = self._body(request), parameters.most_tokens(request)
        read = partial(
            open_parser,
            request,
            max_line_bytes=parameters.max_line_bytes,
            think_tags=parameters.think_tags,
            origin=parameters.returned.origin,
        )

        def open_stream() -> Batches:
            return limited(self._server.stream(self._path, body, read), most_tokens, request.choices)

        return open_stream

    def _body(self, request: ChatRequest) -> JsonObject:
        parameters = self._parameters
        turns, has_tools = parameters.messages(request), parameters.has_tools(request)
        return {
            "model": parameters.model,
            "messages": parameters.returned.messages(turns, has_tools=has_tools),
            "stream": True,
            **({} if "stream_options" in parameters.drop_params else _USAGE),
            **parameters.for_request(request),
        }
