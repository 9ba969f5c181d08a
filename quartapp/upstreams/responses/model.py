"""A model on a server with OpenAI's Responses API."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from quartapp.core.request import ChatRequest, JsonObject, without
from quartapp.upstreams.chat_completions.output_limit import limited
from quartapp.upstreams.http.servers import Server
from quartapp.upstreams.model import OpenStream
from quartapp.upstreams.parameters import Parameters
from quartapp.upstreams.responses.events import open_response_parser
from quartapp.upstreams.responses.input import input_items
from quartapp.upstreams.responses.parameters import check_extras_shape, check_params, response_params, without_defaults

PATH: Final = "/responses"


class ResponsesModel:
    """One model of one server, which belongs to the caller.

    No line of an answer may exceed `parameters.max_line_bytes`. The last line contains the complete answer.
    """

    def __init__(self, server: Server, parameters: Parameters) -> None:
        self._server = server
        self._parameters = parameters
        self._open_parser = partial(
            open_response_parser, max_line_bytes=parameters.max_line_bytes, origin=parameters.returned.origin
        )

    def build(self, request: ChatRequest, /) -> OpenStream:
        """Build the request. Raises ChatError: invalid_request, too_large."""
        self._parameters.check(request)
        body, most_tokens = self._body(request), self._parameters.most_tokens(request)
        return lambda: limited(self._server.stream(PATH, body, self._open_parser), most_tokens)

    def _body(self, request: ChatRequest) -> JsonObject:
        """Return the request body. The server stores nothing, unless the entry's parameters set `store`."""
        parameters = self._parameters
        check_params(request.params, parameters.drop_params)
        check_extras_shape({name: value for name, value in request.extras.items() if name in parameters.allow})
        reduced = msgspec.structs.replace(request, params=without_defaults(request.params))
        messages = parameters.messages(request)
        first = len(messages) - len(request.messages)
        params = {"store": False, **response_params(parameters.for_request(reduced))}
        return {
            "model": parameters.model,
            "input": input_items(messages, first=first, returned=parameters.returned),
            "stream": True,
            **without(params, parameters.drop_params),
        }
