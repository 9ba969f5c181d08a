"""Azure OpenAI on loopback: it checks each request, and answers as Azure does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.endpoints import chunk, event_stream
from tests.support.loopback import EVENT_STREAM, Answer, Exchange, Loopback, Received, head, reply

DEPLOYMENT = "my-deployment"
VERSION = "2024-10-21"

SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}

#: An answer as Azure streams it: a chunk of filters before the first choice, filters in each, usage in a last chunk.
CHUNKS = (
    chunk(
        choices=[],
        prompt_filter_results=[
            {"prompt_index": 0, "content_filter_results": {**SAFE, "jailbreak": {"detected": False}}}
        ],
    ),
    chunk({"role": "assistant", "content": "", "refusal": None}),
    *(
        chunk(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None, "content_filter_results": SAFE}])
        for text in ("Guten", " Tag")
    ),
    chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "content_filter_results": {}}]),
    chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}),
)

WHOLE = reply(body=event_stream(*CHUNKS))


def refusal(status: int, error: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with an error as Azure sends it; `error` is the document, or the object in it."""
    document = error if "error" in error or "statusCode" in error else {"error": error}
    sent = {"Content-Type": "application/json", "x-ms-region": "Sweden Central", **(headers or {})}
    return reply(status, json.dumps(document).encode(), sent)


class Azure(Loopback):
    """A resource with one deployment, which accepts one credential: `key`, or a token for which `tokens` returns True.

    With `version` it has only the dated API, without it only the v1 API. A request that breaks these rules gets 400.
    The end of the `async with` then raises an AssertionError.
    """

    def __init__(
        self,
        answer: Answer = WHOLE,
        *,
        version: str | None = VERSION,
        key: str | None = None,
        tokens: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__(self._answer_checked)
        self._reply = answer
        self._version = version
        self._key = key
        self._tokens = tokens
        self._faults: list[str] = []

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        await super().__aexit__(kind, error, where)
        assert self._faults == []

    def then(self, answer: Answer) -> None:
        """Answer so from now on."""
        self._reply = answer

    async def _answer_checked(self, exchange: Exchange) -> None:
        faults = [*self._faults_of_target(exchange.request), *self._faults_of_credentials(exchange.request.headers)]
        self._faults += faults
        await (reply(400) if faults else self._reply)(exchange)

    def _faults_of_target(self, request: Received) -> list[str]:
        target = urlsplit(request.target)
        path, query = unquote(target.path), dict(parse_qsl(target.query))
        wanted = (
            f"/openai/deployments/{DEPLOYMENT}/chat/completions" if self._version else "/openai/v1/chat/completions"
        )
        faults = [] if (request.method, path) == ("POST", wanted) else [f"{request.method} {request.target}"]
        if query != ({"api-version": self._version} if self._version else {}):
            faults.append(f"query {query}")
        if request.json.get("model") != DEPLOYMENT:
            faults.append(f"model {request.json.get('model')}")
        return faults

    def _faults_of_credentials(self, headers: Mapping[str, str]) -> list[str]:
        sent = {name: headers[name] for name in ("api-key", "authorization") if name in headers}
        if self._tokens is not None:
            scheme, _, token = sent.pop("authorization", "").partition(" ")
            right = scheme == "Bearer" and self._tokens(token) and not sent
        else:
            right = sent == {"api-key": self._key}
        strangers = [
            name for name, value in headers.items() if "canary" in value and name not in ("api-key", "authorization")
        ]
        return ([] if right else [f"credentials {[*sent]}"]) + strangers


async def cut(exchange: Exchange) -> None:
    """Send a part of an answer, and close the connection."""
    body = event_stream(*CHUNKS[:3], done=False)
    await exchange.send(head(headers=EVENT_STREAM | {"Content-Length": str(2 * len(body))}) + body)
    exchange.close()
