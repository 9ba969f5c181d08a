"""The page: the element in a frame, from files of this package alone."""

from __future__ import annotations

from functools import cache

from quart import Blueprint, Response

from quartapp.routes.asking import House
from quartapp.routes.replies import page_reply
from quartapp.routes.static import static_files


def add_page(blueprint: Blueprint, house: House) -> None:
    """Adds the page at the blueprint's root; its links are relative, so that any prefix will do.

    Where clients may give the model instructions, it has a place for them.
    """

    async def page() -> Response:
        html = _html(may_instruct=house.chat().settings.allow_system_role)
        return page_reply(html, "require-trusted-types-for 'script'", "trusted-types 'none'")

    blueprint.add_url_rule("/", view_func=page, methods=["GET"], provide_automatic_options=False)


@cache
def _html(*, may_instruct: bool) -> bytes:
    """Return the page with the version of its files in their addresses."""
    files = static_files()
    html = files.versioned["index.html"].body.replace(b'"static/', b'"static/%b/' % files.version.encode())
    return html.replace(b"<quart-chat", b"<quart-chat system-prompt", 1) if may_instruct else html
