"""The page: a box to ask in and the answer as it streams, from files of this package alone."""

from __future__ import annotations

from importlib.resources import files

from quart import Blueprint, Response

from quartapp.routes.replies import page_reply

PAGE = files("quartapp").joinpath("static", "index.html").read_bytes()


def add_page(blueprint: Blueprint) -> None:
    """Adds the page at the blueprint's root; its links are relative, so that any prefix will do."""

    async def page() -> Response:
        return page_reply(PAGE, "require-trusted-types-for 'script'", "trusted-types 'none'")

    blueprint.add_url_rule("/", view_func=page, methods=["GET"], provide_automatic_options=False)
