"""The page around the chat element."""

from __future__ import annotations

from functools import cache

from quart import Blueprint, Response

from quartapp.routes.context import RouteContext
from quartapp.routes.replies import page_reply
from quartapp.routes.static import static_files


def add_page(blueprint: Blueprint, context: RouteContext) -> None:
    """Add the page at the root of the blueprint.

    Links of the page are relative, so that any prefix works. If clients may send system messages, the page has a field
    for them.
    """

    async def page() -> Response:
        html = _html(may_instruct=context.chat().settings.allow_system_role)
        return page_reply(html, "require-trusted-types-for 'script'", "trusted-types 'none'")

    blueprint.add_url_rule("/", view_func=page, methods=["GET"], provide_automatic_options=False)


@cache
def _html(*, may_instruct: bool) -> bytes:
    """Return the page with the version of its files in their URLs."""
    files = static_files()
    html = files.versioned["index.html"].body.replace(b'"static/', b'"static/%b/' % files.version.encode())
    return html.replace(b"<quart-chat", b"<quart-chat system-prompt", 1) if may_instruct else html
