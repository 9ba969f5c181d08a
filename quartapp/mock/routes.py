"""Routes from a request to its script. Any prefix of a known path is accepted, so that any base URL works."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from . import scripts
from .catalogue import CATALOGUE, find
from .chunks import Tally, envelope, model_card
from .models import Model
from .requests import Chat, RefusedError, read_chat
from .steps import Script
from .tokens import Answer, at_most, until_stop

MAX_BODY_BYTES = 16 * 1024 * 1024

Handler: TypeAlias = Callable[[re.Match[str], bytes], Script]


def respond(method: str, path: str, body: bytes) -> Script:
    try:
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
        return _routed(method, path, body)
    except RefusedError as error:
        return scripts.refusal(error)


def _routed(method: str, path: str, body: bytes) -> Script:
    for allowed, pattern, handler in _ROUTES:
        if found := pattern.fullmatch(path):
            if method != allowed:
                allow = (b"allow", allowed.encode())
                raise RefusedError(405, f"Not allowed to {method} on {path}.", headers=(allow,))
            return handler(found, body)
    raise RefusedError(404, f"Invalid URL ({method} {path})", code="unknown_url")


def _complete(_: re.Match[str], body: bytes) -> Script:
    chat = read_chat(body)
    model, parameter = _find_model(chat.model)
    script = _script(chat, [_limited(chat, model.answer(chat, parameter)) for _ in range(chat.n or 1)])
    if model.fault is None or (model.streamed_only and not chat.stream):
        return script
    return model.fault(script, parameter)


def _limited(chat: Chat, answer: Answer) -> Answer:
    if chat.token_limit:
        answer = at_most(answer, chat.token_limit)
    return until_stop(answer, chat.stops) if chat.stops else answer


def _script(chat: Chat, answers: list[Answer]) -> Script:
    shared = envelope(chat.model, include_usage=chat.include_usage)
    tally = Tally(chat.prompt_tokens)
    if chat.stream:
        return scripts.streamed(shared, answers, tally, include_usage=chat.include_usage)
    return scripts.complete(shared, answers, tally)


def _list_models(_: re.Match[str], __: bytes) -> Script:
    cards = [model_card(name, about) for name, about in CATALOGUE.items()]
    return scripts.json_reply(200, {"object": "list", "data": cards})


def _show_model(found: re.Match[str], _: bytes) -> Script:
    name = found["name"]
    model, _parameter = _find_model(name)
    return scripts.json_reply(200, model_card(name, model.about))


def _find_model(name: str) -> tuple[Model, float]:
    found = find(name)
    if found is None:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise RefusedError(404, message, param="model", code="model_not_found")
    return found


_ROUTES: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
    ("POST", re.compile(r".*/chat/completions"), _complete),
    ("GET", re.compile(r".*/models"), _list_models),
    ("GET", re.compile(r".*/models/(?P<name>[^/]+)"), _show_model),
)
