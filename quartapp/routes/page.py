"""The page: a box to ask in and the answer as it streams, from files of this package alone."""

from __future__ import annotations

from importlib.resources import files

from quart import Blueprint, Response

PAGE = files("quartapp").joinpath("static", "index.html").read_bytes()

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


def add_page(blueprint: Blueprint) -> None:
    """Adds the page at the blueprint's root; its links are relative, so that any prefix will do."""

    async def page() -> Response:
        response = Response(PAGE, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        return response

    blueprint.add_url_rule("/", view_func=page, methods=["GET"], provide_automatic_options=False)
