"""A model on a server with OpenAI's chat completions API."""

from __future__ import annotations

from typing import Protocol

from quartapp.core.events import Batches
from quartapp.protocols.common.documents import JsonObject
from quartapp.protocols.common.messages import ChatRequest
from quartapp.upstreams.chat_completions.output_limit import limited
from quartapp.upstreams.common.parser import Parser
from quartapp.upstreams.http.servers import Server
from quartapp.upstreams.parameters import Parameters

PATH = "/chat/completions"


class OpenParser(Protocol):
    """A factory of parsers: one for each answer, by its request and the content type of its response."""

    def __call__(self, request: ChatRequest, /, *, content_type: str) -> Parser: ...


class ChatCompletionsModel:
    """One model of one server, with requests to `path`. The server belongs to the caller."""

    def __init__(self, server: Server, parameters: Parameters, open_parser: OpenParser, path: str = PATH) -> None:
        self._server = server
        self._parameters = parameters
        self._open_parser = open_parser
        self._path = path

    def stream(self, request: ChatRequest, /) -> Batches:
        """Yield the answer, one batch for each read. The request always asks for usage. Raises ChatError."""
        batches = self._server.stream(
            self._path, self._body(request), lambda content_type: self._open_parser(request, content_type=content_type)
        )
        return limited(batches, self._parameters.most_tokens(request), request.choices)

    def check(self, request: ChatRequest) -> None:
        """Raise ChatError, invalid_request, for a request that the model does not accept."""
        self._parameters.check(request)

    def _body(self, request: ChatRequest) -> JsonObject:
        options = (
            {"stream_options": {"include_usage": True}} if "stream_options" not in self._parameters.drop_params else {}
        )
        return {
            "model": self._parameters.model,
            "messages": self._parameters.returned.messages(self._parameters.messages(request)),
            "stream": True,
            **options,
            **self._parameters.for_request(request),
        }
