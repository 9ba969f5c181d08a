"""The page: the element in a frame, from files of this package alone."""

from __future__ import annotations

from importlib.resources import files

from quart import Blueprint, Response

from quartapp.routes.asking import House
from quartapp.routes.replies import page_reply

_PAGE = files("quartapp").joinpath("static", "index.html").read_bytes()
_PAGE_WITH_INSTRUCTIONS = _PAGE.replace(b"<quart-chat", b"<quart-chat system-prompt", 1)


def add_page(blueprint: Blueprint, house: House) -> None:
    """Adds the page at the blueprint's root; its links are relative, so that any prefix will do.

    Where clients may give the model instructions, it has a place for them.
    """

    async def page() -> Response:
        html = _PAGE_WITH_INSTRUCTIONS if house.chat().settings.allow_system_role else _PAGE
        return page_reply(html, "require-trusted-types-for 'script'", "trusted-types 'none'")

    blueprint.add_url_rule("/", view_func=page, methods=["GET"], provide_automatic_options=False)
