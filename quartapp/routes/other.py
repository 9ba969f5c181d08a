"""What lies between the doors: OPTIONS, 405 and 404 in our words, not as a page of the host's.

A blueprint's error handlers never see a 404 or 405 of the router, for no view of it was found.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from quart import Blueprint, Response, request
from quart.blueprints import BlueprintSetupState
from quart.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from quartapp.core.errors import ChatError

View = Callable[..., Awaitable[Response]]


class EveryMethod(set[str]):
    """The methods of a rule that takes those too which nobody has thought of; it lists a few."""

    def __contains__(self, _: object) -> bool:
        return True


def add_other(blueprint: Blueprint, doors: Mapping[str, tuple[str, ...]]) -> None:
    """Answers what the `doors`, paths with the methods they take, leave open, and every other path.

    Without a prefix other paths are left to the host: they would be those of its whole project.
    """

    def add(state: BlueprintSetupState) -> None:
        for number, (path, methods) in enumerate(doors.items()):
            _add(state, path, f"other_{number}", _closed(methods))
        if (state.url_prefix or "").strip("/"):
            _add(state, "/<path:path>", "not_found", _not_found)

    blueprint.record(add)


def serve_double_slashes(blueprint: Blueprint) -> None:
    """Serve an address of `blueprint` in which several slashes follow each other as the address with single ones.

    Clients join a base URL that ends in a slash with `/chat/completions`. The router would answer with a redirect as a
    page, to http behind most proxies. Only slashes behind the prefix count, so that a guard of the host by the prefix
    still sees each request, and the hooks of the host run later and see the address with single slashes.
    """

    def add(state: BlueprintSetupState) -> None:
        name = f"{state.name_prefix}.{state.name}.".lstrip(".")
        prefix = f"{(state.url_prefix or '').rstrip('/')}/"

        async def merge() -> None:
            if "//" in request.path and request.path.startswith(prefix) and _has_no_route(name):
                _merge_slashes(name)

        state.app.before_request_funcs[None].insert(0, merge)

    blueprint.record(add)


def _has_no_route(name: str) -> bool:
    """Return whether the router has found a redirect, or the 404 of the blueprint `name`."""
    endpoint = request.endpoint or ""
    is_ours = endpoint.startswith(name) and endpoint.endswith(".not_found")
    return is_ours or isinstance(request.routing_exception, RequestRedirect)


def _merge_slashes(name: str) -> None:
    """Match the request's path with single slashes, if that is a route below the blueprint `name`."""
    path = re.sub("/{2,}", "/", request.path)
    adapter = request_ctx.url_adapter
    if adapter is None:
        return
    try:
        rule, arguments = adapter.match(path_info=path, method=request.method, return_rule=True)
    except HTTPException:
        return
    if rule.endpoint.startswith(name):
        request.path, request.routing_exception = path, None
        request.url_rule, request.view_args = rule, dict(arguments)  # type: ignore[assignment]


def _add(state: BlueprintSetupState, path: str, name: str, view: View) -> None:
    """Add `view` for every method at `path`, and 404 for the handshake of a WebSocket, which no route here takes."""
    state.add_url_rule(path, f"{name}_websocket", _not_found, websocket=True)
    state.add_url_rule(path, name, view, methods=["OPTIONS"])
    for rule in state.app.url_map.iter_rules(f"{state.name_prefix}.{state.name}.{name}".lstrip(".")):
        rule.methods = EveryMethod({"OPTIONS"})


def _closed(methods: tuple[str, ...]) -> View:
    """Tells OPTIONS what a door takes, and refuses any other method with it."""
    allow = {"Allow": ", ".join((*methods, "OPTIONS"))}

    async def closed(**_: str) -> Response:
        if request.method == "OPTIONS":
            return Response(status=204, headers=allow)
        raise ChatError("method_not_allowed", headers=allow)

    return closed


async def _not_found(**_: str) -> Response:
    raise ChatError("not_found")
