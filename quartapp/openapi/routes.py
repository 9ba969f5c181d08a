"""The routes of the OpenAPI document: `/openapi.json`, and `/docs`, a page of it from files on this server alone.

If the host app authenticates clients, these routes need authentication too.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from quart import Quart, Response, current_app, request, send_from_directory

from quartapp.core.errors import ChatError
from quartapp.openapi.document import describe
from quartapp.openapi.schemas import Json
from quartapp.routes.context import RouteContext
from quartapp.routes.page import HTML
from quartapp.routes.protocol import Operation, Reply, Route
from quartapp.routes.replies import json_reply, page_reply
from quartapp.routes.static import FILE_ERRORS, FILE_REPLIES

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


async def openapi(context: RouteContext) -> Response:
    """Return the OpenAPI document."""
    await context.admit()
    return json_reply(msgspec.json.encode(_document(context)))


async def docs(context: RouteContext) -> Response:
    """Return the page of the document: Swagger UI if its extra is installed, otherwise a plain list."""
    await context.admit()
    return page_reply(_VIEWER_PAGE if context.viewer else _listing(_document(context)).encode())


async def viewer_file(context: RouteContext, name: str) -> Response:
    """Return a file of Swagger UI. Raises ChatError: not_found."""
    await context.admit()
    if context.viewer is None or name not in VIEWER_FILES:
        raise ChatError("not_found")
    response = await send_from_directory(context.viewer, name)
    response.headers["Cache-Control"] = "no-cache"  # without a version in the URL, files of two releases could meet
    return response


DOCUMENT: Final = (
    Route(
        "/openapi.json",
        openapi,
        {
            "GET": Operation(
                summary="This document.",
                replies={200: Reply("OpenAPI 3.1.", {"application/json": {"type": "object"}})},
                errors=("internal_error",),
            )
        },
    ),
    Route(
        "/docs",
        docs,
        {
            "GET": Operation(
                summary="This document as a page.",
                replies={200: Reply("The page.", HTML)},
                errors=("internal_error",),
            )
        },
    ),
    Route(
        "/docs/<name>",
        viewer_file,
        {"GET": Operation(summary="A file of the page of this document.", replies=FILE_REPLIES, errors=FILE_ERRORS)},
    ),
)


def installed_viewer() -> Path | None:
    """Return the folder of Swagger UI, or None if the extra `quartapp[docs]` is not installed.

    The package of these files is not imported, because it would import Flask.
    """
    found = find_spec("flask_swagger_ui")
    return Path(found.origin).parent / "dist" if found and found.origin else None


def _document(context: RouteContext) -> Json:
    """Return the document of the registration that the request reached. It is built once: it does not change."""
    app: Quart = cast(Any, current_app)._get_current_object()  # quart-schema keeps a weak reference, not to a proxy
    made: dict[str, Json] = app.extensions.setdefault(EXTENSION, {})
    prefix = (request.endpoint or "").rpartition(".")[0] + "."
    if prefix not in made:
        made[prefix] = describe(app, prefix, context.protocols, is_guarded=context.hooks.authenticate is not None)
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
