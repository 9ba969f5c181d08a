"""The page around the chat element, and `/api/models`, which the page reads before its first request."""

from __future__ import annotations

from functools import cache

from quart import Blueprint, Response

from quartapp.models.registry import Models
from quartapp.protocols.common.encoding import to_json
from quartapp.protocols.common.offer import Offer, OfferedModel, RequestLimits
from quartapp.routes.context import RouteContext
from quartapp.routes.replies import json_reply, page_reply
from quartapp.routes.static import static_files
from quartapp.settings.settings import Settings

MODELS = "/api/models"


def add_page(blueprint: Blueprint, context: RouteContext) -> None:
    """Add the page at the root of the blueprint, and the list of models.

    Links of the page are relative, so that any prefix works. If clients may send system messages, the page has a field
    for them.
    """

    async def page() -> Response:
        html = _html(may_instruct=context.chat().settings.allow_system_role)
        return page_reply(html, "require-trusted-types-for 'script'", "trusted-types 'none'")

    async def models() -> Response:
        await context.principal()
        chat = context.chat()
        return json_reply(to_json(_offer(chat.models, chat.settings)))

    blueprint.add_url_rule("/", view_func=page, methods=["GET"], provide_automatic_options=False)
    blueprint.add_url_rule(MODELS, view_func=models, methods=["GET"], provide_automatic_options=False)


def _offer(models: Models, settings: Settings) -> Offer:
    return Offer(
        models.default,
        [OfferedModel(name, models.get(name).is_mock) for name in models.names],
        RequestLimits(**{name: getattr(settings, name) for name in RequestLimits.__struct_fields__}),
    )


@cache
def _html(*, may_instruct: bool) -> bytes:
    """Return the page with the version of its files in their URLs."""
    files = static_files()
    html = files.versioned["index.html"].body.replace(b'"static/', b'"static/%b/' % files.version.encode())
    return html.replace(b"<quart-chat", b"<quart-chat system-prompt", 1) if may_instruct else html
