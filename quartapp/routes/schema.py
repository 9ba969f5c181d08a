"""The routes of the OpenAPI document: `/openapi.json`, and `/docs`, a page of it from files on this server alone.

If the host app authenticates clients, these routes need authentication too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from quart import Blueprint, Quart, Response, current_app, request, send_from_directory

from quartapp.core.errors import ChatError
from quartapp.openapi.document import describe
from quartapp.openapi.operations import Section
from quartapp.openapi.schemas import Json
from quartapp.routes.context import RouteContext
from quartapp.routes.replies import json_reply, page_reply

GET: Final = ("GET", "HEAD")
SCHEMA_ROUTES: Final[Mapping[str, tuple[str, ...]]] = {"/openapi.json": GET, "/docs": GET, "/docs/<name>": GET}

EXTENSION = "quartapp.openapi"

VIEWER_FILES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})

_VIEWER_PAGE = files("quartapp").joinpath("static", "docs.html").read_bytes()

_LISTING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
</head>
<body>
<h1>{title}</h1>
<p>The complete document is <a href="openapi.json">openapi.json</a>. For an interactive page:
<code>pip install 'quartapp[docs]'</code></p>
{sections}
</body>
</html>
"""


def add_schema(blueprint: Blueprint, context: RouteContext, sections: Sequence[Section], viewer: Path | None) -> None:
    """Add the routes to `blueprint`. Links are relative, so that any prefix works.

    `viewer` is the folder of Swagger UI. If it is None, the page is a plain list.
    """

    async def openapi() -> Response:
        await context.admit()
        return json_reply(msgspec.json.encode(_document(context, sections)))

    async def docs() -> Response:
        await context.admit()
        return page_reply(_VIEWER_PAGE if viewer else _listing(_document(context, sections)).encode())

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


def _listing(document: Json) -> str:
    """Return an HTML list of the routes with their parameters and responses, without scripts and styles."""
    sections = [
        _section(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return _LISTING.format(title=escape(document["info"]["title"]), sections="\n".join(sections))


def _section(method: str, path: str, operation: Json) -> str:
    takes = [f"<code>{escape(each['name'])}</code> ({each['in']})" for each in operation["parameters"]]
    takes += _types(operation.get("requestBody", {}))
    replies = sorted(operation["responses"].items())
    answers = [f"<li>{status}: {', '.join(_types(reply)) or 'no body'}</li>" for status, reply in replies]
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>\n<p>{escape(operation['summary'])}</p>\n"
        f"<p>Takes {', '.join(takes) or 'nothing'}; answers</p>\n<ul>{''.join(answers)}</ul>"
    )


def _types(described: Json) -> list[str]:
    """Return each media type, with the name of its component if it has one."""
    return [
        f"<code>{media_type}</code> {_name(each['schema'])}".strip()
        for media_type, each in described.get("content", {}).items()
    ]


def _name(schema: Json) -> str:
    narrowed = schema.get("allOf", [schema])[0]
    return str(narrowed.get("$ref", "")).rpartition("/")[2]
