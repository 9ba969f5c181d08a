"""The routes of the OpenAPI document: `/openapi.json`, and `/docs`, a page of it from files on this server alone.

If the host app authenticates clients, these routes need authentication too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from quart import Blueprint, Quart, Response, current_app, request, send_from_directory

from quartapp.core.errors import ChatError
from quartapp.openapi.document import describe
from quartapp.openapi.listing import listing
from quartapp.openapi.operations import Section
from quartapp.openapi.schemas import Json
from quartapp.routes.context import RouteContext
from quartapp.routes.replies import json_reply, page_reply

GET: Final = ("GET", "HEAD")
SCHEMA_ROUTES: Final[Mapping[str, tuple[str, ...]]] = {"/openapi.json": GET, "/docs": GET, "/docs/<name>": GET}

EXTENSION = "quartapp.openapi"

VIEWER_FILES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})

_VIEWER_PAGE = files("quartapp").joinpath("static", "docs.html").read_bytes()


def add_schema(blueprint: Blueprint, context: RouteContext, sections: Sequence[Section], viewer: Path | None) -> None:
    """Add the routes to `blueprint`. Links are relative, so that any prefix works.

    `viewer` is the folder of Swagger UI. If it is None, the page is a plain list.
    """

    async def openapi() -> Response:
        await context.admit()
        return json_reply(msgspec.json.encode(_document(context, sections)))

    async def docs() -> Response:
        await context.admit()
        return page_reply(_VIEWER_PAGE if viewer else listing(_document(context, sections)).encode())

    async def viewer_file(name: str) -> Response:
        await context.admit()
        if viewer is None or name not in VIEWER_FILES:
            raise ChatError("not_found")
        response = await send_from_directory(viewer, name)
        response.headers["Cache-Control"] = "no-cache"  # without a version in the URL, files of two releases could meet
        return response

    for path, view in (("/openapi.json", openapi), ("/docs", docs), ("/docs/<name>", viewer_file)):
        blueprint.add_url_rule(path, view_func=view, methods=["GET"], provide_automatic_options=False)


def installed_viewer() -> Path | None:
    """Return the folder of Swagger UI, or None if the extra `quartapp[docs]` is not installed.

    The package of these files is not imported, because it would import Flask.
    """
    found = find_spec("flask_swagger_ui")
    return Path(found.origin).parent / "dist" if found and found.origin else None


def _document(context: RouteContext, sections: Sequence[Section]) -> Json:
    """Return the document of the registration that the request reached. It is built once: it does not change."""
    app: Quart = cast(Any, current_app)._get_current_object()  # quart-schema keeps a weak reference, not to a proxy
    made: dict[str, Json] = app.extensions.setdefault(EXTENSION, {})
    prefix = (request.endpoint or "").rpartition(".")[0] + "."
    if prefix not in made:
        made[prefix] = describe(app, prefix, sections, is_guarded=context.authenticate is not None)
    # Each request may have another root path: the part of the path that a proxy in front removed.
    return {**made[prefix], "servers": [{"url": request.root_path or "/"}]}
