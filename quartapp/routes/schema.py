"""The doors that tell of the others: `/openapi.json`, and `/docs`, a page of it from files on this server alone.

Where somebody is asked for, they are too: these doors are as open as the ones they tell of.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from quart import Blueprint, Quart, Response, current_app, request, send_from_directory

from quartapp.core.errors import ChatError
from quartapp.openapi.components import Json
from quartapp.openapi.document import describe
from quartapp.openapi.listing import listing
from quartapp.routes.asking import House
from quartapp.routes.replies import json_reply, page_reply

GET: Final = ("GET", "HEAD")
SCHEMA_DOORS: Final[Mapping[str, tuple[str, ...]]] = {"/openapi.json": GET, "/docs": GET, "/docs/<name>": GET}

EXTENSION = "quartapp.openapi"

VIEWER_FILES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})

_VIEWER_PAGE = files("quartapp").joinpath("static", "docs.html").read_bytes()


def add_schema(blueprint: Blueprint, house: House, viewer: Path | None) -> None:
    """Adds the doors to `blueprint`; their links are relative, so that any prefix will do.

    Without a `viewer` the page is a plain list.
    """

    async def openapi() -> Response:
        await house.who()
        return json_reply(msgspec.json.encode(_document(house)))

    async def docs() -> Response:
        await house.who()
        return page_reply(_VIEWER_PAGE if viewer else listing(_document(house)).encode())

    async def viewer_file(name: str) -> Response:
        await house.who()
        if viewer is None or name not in VIEWER_FILES:
            raise ChatError("not_found")
        response = await send_from_directory(viewer, name)
        response.headers["Cache-Control"] = "no-cache"  # the viewer's two files are of one release
        return response

    for path, view in (("/openapi.json", openapi), ("/docs", docs), ("/docs/<name>", viewer_file)):
        blueprint.add_url_rule(path, view_func=view, methods=["GET"], provide_automatic_options=False)


def installed_viewer() -> Path | None:
    """Where the files of Swagger UI lie, which come with the extra `quartapp[docs]`; None without it.

    Nothing of their package is imported: it would bring in all of Flask.
    """
    found = find_spec("flask_swagger_ui")
    return Path(found.origin).parent / "dist" if found and found.origin else None


def _document(house: House) -> Json:
    """The document of the blueprint as it is registered where the request went; made once, for it does not change."""
    app: Quart = cast(Any, current_app)._get_current_object()  # quart-schema keeps a weak reference, not to a proxy
    made: dict[str, Json] = app.extensions.setdefault(EXTENSION, {})
    prefix = (request.endpoint or "").rpartition(".")[0] + "."
    if prefix not in made:
        made[prefix] = describe(app, prefix, is_guarded=house.authenticate is not None)
    # What a server in front takes off the path is told with each request.
    return {**made[prefix], "servers": [{"url": request.root_path or "/"}]}
