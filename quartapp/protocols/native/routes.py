"""The native routes: `/api/stream` and `/api/chat` for an answer, as a stream or one object, and `/api/models`."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from quart import Blueprint, Response, request

from quartapp.answer.client import Answer
from quartapp.core.errors import ChatError
from quartapp.models.registry import Models
from quartapp.protocols.common.encoding import to_json
from quartapp.protocols.common.format import Format
from quartapp.protocols.native.formats import ACCEPTED, SSE, TEXT, WHOLE
from quartapp.protocols.native.offer import Offer, OfferedModel, RequestLimits
from quartapp.protocols.native.openapi import SECTION
from quartapp.protocols.native.request import parse, parse_query
from quartapp.protocols.native.whole import merge
from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import Protocol
from quartapp.routes.replies import collect, json_reply, stream_reply
from quartapp.settings.settings import Settings

STREAM = "/api/stream"
CHAT = "/api/chat"
MODELS = "/api/models"
METHODS = ("GET", "POST")


def add_native(blueprint: Blueprint, context: RouteContext) -> None:
    """Add the routes to `blueprint`: POST takes a JSON body, GET a query, because an `EventSource` sends no body."""

    async def stream() -> Response:
        is_post = request.method == "POST"
        if not is_post:
            _refuse_unwanted_get(context, [*ACCEPTED, WHOLE])
        wire = _accepted([*ACCEPTED, WHOLE], TEXT if is_post else SSE)
        if "Last-Event-ID" in request.headers:
            # An EventSource reconnects after its answer ended. 204 stops it, so that no second answer is billed.
            return Response(status=204)
        chat_request, answer = await context.start_answer(
            parse if is_post else parse_query, has_records=wire is not None and wire.has_records
        )
        return await _complete_reply(answer) if wire is None or chat_request.whole else stream_reply(answer, wire)

    async def chat() -> Response:
        is_post = request.method == "POST"
        if not is_post:
            _refuse_unwanted_get(context, [WHOLE])
        _accepted([WHOLE], None)
        _, answer = await context.start_answer(parse if is_post else parse_query, has_records=False)
        return await _complete_reply(answer)

    async def models() -> Response:
        await context.admit()
        chat = context.chat()
        return json_reply(to_json(_offer(chat.models, chat.settings)))

    blueprint.add_url_rule(STREAM, view_func=stream, methods=METHODS, provide_automatic_options=False)
    blueprint.add_url_rule(CHAT, view_func=chat, methods=METHODS, provide_automatic_options=False)
    blueprint.add_url_rule(MODELS, view_func=models, methods=["GET"], provide_automatic_options=False)


NATIVE: Final = Protocol(add_native, SECTION, {STREAM: METHODS, CHAT: METHODS, MODELS: ("GET", "HEAD")})


def _offer(models: Models, settings: Settings) -> Offer:
    return Offer(
        models.default,
        [OfferedModel(name, models.get(name).is_mock) for name in models.names],
        RequestLimits(**{name: getattr(settings, name) for name in RequestLimits.__struct_fields__}),
    )


async def _complete_reply(answer: Answer) -> Response:
    return json_reply(to_json(merge(await collect(answer))))


def _accepted(offered: Sequence[str], default: Format | None) -> Format | None:
    """Return the streamed format in `offered` that Accept prefers, or None for one JSON object.

    Among equal preferences the default is selected, then the first. Raises ChatError: not_acceptable.
    """
    if not request.accept_mimetypes.provided:
        return default
    first = WHOLE if default is None else default.media_type
    preferences = {media_type: _preference(media_type) for media_type in (first, *offered)}
    best = max(preferences, key=lambda media_type: preferences[media_type])
    if preferences[best][0] == 0:
        raise _not_acceptable(offered)
    return ACCEPTED.get(best)


def _not_acceptable(offered: Sequence[str]) -> ChatError:
    return ChatError("not_acceptable", path="Accept", headers={"X-Offered": ", ".join(offered)})


def _preference(media_type: str) -> tuple[float, int]:
    """Return the quality of `media_type` in Accept, and the specificity of its range: 2 exact, 1 `type/*`, 0 `*/*`.

    The most specific matching range decides (RFC 9110, section 12.5.1). Parameters, for example a charset, are ignored.
    """
    ranges = {media_type: 2, media_type.partition("/")[0] + "/*": 1, "*/*": 0}
    fits = [
        (ranges[name], quality)
        for value, quality in request.accept_mimetypes
        if (name := value.partition(";")[0].strip().lower()) in ranges
    ]
    specificity, quality = max(fits, default=(0, 0.0))
    return quality, specificity


def _refuse_unwanted_get(context: RouteContext, offered: Sequence[str]) -> None:
    """Refuse a GET unless a script of this site or of an allowed page sent it, because an answer costs money.

    Browsers send `Sec-Fetch-...` only over https and to loopback. Over http the `Accept` header shows whether the
    client requests a format in `offered`, or for example an image or a frame. `Origin` or `Referer`
    shows a foreign page. If a browser sends neither, it is refused, because a foreign page can use `fetch` with
    `no-cors`, `no-referrer` and any `Accept`.

    Raises ChatError: method_not_allowed, forbidden, not_acceptable.
    """
    if request.method == "HEAD":
        raise ChatError("method_not_allowed", headers={"Allow": ", ".join((*METHODS, "OPTIONS"))})
    headers = request.headers
    purpose = headers.get("Sec-Purpose") or headers.get("Purpose") or headers.get("X-Moz") or ""
    if "prefetch" in purpose or _is_foreign(context.chat().settings.origins):
        raise ChatError("forbidden")
    if _hides_its_page():
        raise ChatError("forbidden", path="Referer")
    if not _is_for_script(offered):
        raise ChatError("forbidden") if "Sec-Fetch-Dest" in headers else _not_acceptable(offered)


def _is_for_script(offered: Sequence[str]) -> bool:
    """Return whether a script reads the response: `Sec-Fetch-Dest` is `empty`, or Accept names one of the formats."""
    if "Sec-Fetch-Dest" in request.headers:
        return request.headers["Sec-Fetch-Dest"] == "empty"
    return any(specificity == 2 and quality > 0 for quality, specificity in map(_preference, offered))


def _is_foreign(origins: Container[str]) -> bool:
    """Return whether the request comes from a page of another origin that is not in `origins`."""
    headers = request.headers
    site = headers.get("Sec-Fetch-Site")
    if site in ("cross-site", "same-site"):
        return headers.get("Origin") not in origins
    if site == "same-origin":
        return False
    pages = [headers[name] for name in ("Origin", "Referer") if name in headers]
    return not all(_is_own(page) or _origin(page) in origins for page in pages)


def _hides_its_page() -> bool:
    """Return whether a browser sent the request without a header that shows the page.

    `User-Agent` shows the browser, because a page cannot change it.
    """
    is_shown = any(name in request.headers for name in ("Sec-Fetch-Site", "Origin", "Referer"))
    return not is_shown and request.headers.get("User-Agent", "").startswith("Mozilla/")


def _origin(page: str) -> str:
    return "/".join(page.split("/", 3)[:3])


def _is_own(page: str) -> bool:
    """Return whether the host of `page` is the host of the request, according to the client or a proxy.

    A foreign page cannot set these two headers.
    """
    own = {request.headers.get(name, "").lower() for name in ("Host", "X-Forwarded-Host")} - {""}
    return _origin(page).partition("://")[2].lower() in own
