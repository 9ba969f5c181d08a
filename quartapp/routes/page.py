"""The page around the chat element."""

from __future__ import annotations

from functools import cache
from typing import Final

from quart import Response

from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import Operation, Reply, Route
from quartapp.routes.replies import page_reply
from quartapp.routes.static import static_files


async def page(context: RouteContext) -> Response:
    """Return the page. Its links are relative, so that any prefix works.

    If clients may send system messages, the page has a field for them.
    """
    html = _html(may_instruct=context.chat().settings.allow_system_role)
    return page_reply(html, "require-trusted-types-for 'script'", "trusted-types 'none'")


HTML: Final = {"text/html": {"type": "string"}}

PAGE: Final = Route(
    "/",
    page,
    {
        "GET": Operation(
            summary="The page to chat on.",
            replies={200: Reply("The page.", HTML)},
            errors=("internal_error",),
            is_guarded=False,
        )
    },
)


@cache
def _html(*, may_instruct: bool) -> bytes:
    """Return the page with the version of its files in their URLs."""
    files = static_files()
    html = files.versioned["index.html"].body.replace(b'"static/', b'"static/%b/' % files.version.encode())
    return html.replace(b"<quart-chat", b"<quart-chat system-prompt", 1) if may_instruct else html
