"""The ASGI application. It plays the script of a request until its end, or until the client disconnects."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeAlias

from .answers import Choose, Reply, request_of
from .catalogue import CATALOGUE, Model, find
from .chunks import answered, json_reply, refusal
from .player import Message, Script, Send, play
from .requests import Chat, RefusedError, read_chat
from .responses import chat_of, responded
from .tokens import Answer, Json, at_most, until_stop

MAX_BODY_BYTES = 16 * 1024 * 1024

_MODELS_CREATED = 1_735_689_600

Scope: TypeAlias = Message
Receive: TypeAlias = Callable[[], Awaitable[Message]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Chosen: TypeAlias = Callable[[], Reply | None]
"""Returns the answer that a test gives to the request, or None."""


def create_mock(tokens_per_s: float = 40.0, choose: Choose | None = None) -> ASGIApp:
    """Return a new server, an ASGI application. If `tokens_per_s` is 0, it is as fast as possible.

    A test gives answers by `choose`: a function that takes a `Request` and returns a `Reply`, or None for the answer of
    the model in the request.

    Raises ValueError if `tokens_per_s` is negative or infinite.

    >>> app = create_mock(tokens_per_s=0)
    """
    if not 0 <= tokens_per_s < math.inf:
        raise ValueError("tokens_per_s must be 0 or a positive number")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                body = await _read_body(receive)
                if body is not None:
                    script = respond(scope["method"], scope["path"], body, scope.get("headers", ()), choose)
                    await _first_ends(play(script, send, tokens_per_s), _disconnect(receive))
            case "lifespan":
                while (await receive())["type"] != "lifespan.shutdown":
                    await send({"type": "lifespan.startup.complete"})
                await send({"type": "lifespan.shutdown.complete"})
            case other:
                raise ValueError(f"the mock model does not speak {other}")

    return app


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, or None if the client disconnected before its end. It stops after MAX_BODY_BYTES."""
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue  # the rest of a body that was too large


async def _first_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Wait until one coroutine ends, then cancel the others. Raises the exception of the first."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def respond(
    method: str,
    path: str,
    body: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    choose: Choose | None = None,
) -> Script:
    """Return the script of a request. Any prefix of a known path is accepted, so that any base URL works."""

    def chosen() -> Reply | None:
        return None if choose is None else choose(request_of(path, headers, body))

    try:
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
        for allowed, pattern, handle in _ROUTES:
            if found := pattern.fullmatch(path):
                if method != allowed:
                    allow = (b"allow", allowed.encode())
                    raise RefusedError(405, f"Not allowed to {method} on {path}.", headers=(allow,))
                return handle(found, body, chosen)
        raise RefusedError(404, f"Invalid URL ({method} {path})", code="unknown_url")
    except RefusedError as error:
        return refusal(error)


def _complete(_: re.Match[str], body: bytes, chosen: Chosen) -> Script:
    return _answer(read_chat(body), chosen(), answered)


def _respond(_: re.Match[str], body: bytes, chosen: Chosen) -> Script:
    return _answer(chat_of(body), chosen(), responded)


def _answer(chat: Chat, reply: Reply | None, write: Callable[[Chat, list[Answer], Json | None], Script]) -> Script:
    """Return the script of an answer, which `write` writes. `reply` is the answer that a test gives."""
    name = chat.model if reply is None else reply.model
    model, parameter = _find_model(name)
    if reply is not None and reply.deltas is not None:
        answers = [reply.answer() for _ in range(chat.n or 1)]
    else:
        answers = [_limited(chat, model.answer(chat, parameter)) for _ in range(chat.n or 1)]
    script = write(chat, answers, None if reply is None else reply.usage)
    if model.fault is None:
        return script
    if model.streamed_only and not chat.stream:
        if reply is not None:  # otherwise the test would miss the fault
            message = f'{name} is a fault of streams; the request needs "stream": true.'
            raise RefusedError(400, message, param="stream")
        return script
    if model.of_chunks_only and write is not answered:
        raise RefusedError(400, f"{name} is a fault of chat completions.", param="model")
    return model.fault(script, parameter)


def _limited(chat: Chat, answer: Answer) -> Answer:
    if chat.token_limit:
        answer = at_most(answer, chat.token_limit)
    return until_stop(answer, chat.stops) if chat.stops else answer


def _list_models(_: re.Match[str], __: bytes, ___: Chosen) -> Script:
    return json_reply(200, {"object": "list", "data": [_card(name, about) for name, about in CATALOGUE.items()]})


def _show_model(found: re.Match[str], _: bytes, __: Chosen) -> Script:
    model, _parameter = _find_model(found["name"])
    return json_reply(200, _card(found["name"], model.about))


def _card(name: str, about: str) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": _MODELS_CREATED,
        "owned_by": "quartapp",
        "description": about,
    }


def _find_model(name: str) -> tuple[Model, float]:
    found = find(name)
    if found is None:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise RefusedError(404, message, param="model", code="model_not_found")
    return found


_ROUTES: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str], bytes, Chosen], Script]], ...] = (
    ("POST", re.compile(r".*/chat/completions"), _complete),
    ("POST", re.compile(r".*/responses"), _respond),
    ("GET", re.compile(r".*/models"), _list_models),
    ("GET", re.compile(r".*/models/(?P<name>[^/]+)"), _show_model),
)
