"""Whatever else lies below a blueprint's prefix: 404 and 405 in our words, not as a page of the host's.

A blueprint's error handlers never see those two: no view of it was found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from quart import Blueprint, Response
from quart.blueprints import BlueprintSetupState

from quartapp.errors import ChatError

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")


def add_other(blueprint: Blueprint, doors: Mapping[str, tuple[str, ...]]) -> None:
    """Adds a 405 for the methods that the paths in `doors` do not take, and a 404 for every other path.

    Without a prefix the 404 is left to the host: it would be one for the host's whole project.
    """
    for path, methods in doors.items():
        others = [method for method in METHODS if method not in methods]
        blueprint.add_url_rule(
            path,
            endpoint="not_allowed_" + path.strip("/").replace("/", "_"),
            view_func=_refusal("method_not_allowed", {"Allow": ", ".join(methods)}),
            methods=others,
            provide_automatic_options=False,
        )

    def add_not_found(state: BlueprintSetupState) -> None:
        if (state.url_prefix or "").strip("/"):
            state.add_url_rule("/<path:path>", "not_found", _refusal("not_found", {}), methods=[*METHODS, "OPTIONS"])

    blueprint.record(add_not_found)


def _refusal(code: str, headers: Mapping[str, str]) -> Callable[..., Awaitable[Response]]:
    async def refuse(path: str = "") -> Response:
        raise ChatError(code, headers=headers)

    return refuse
