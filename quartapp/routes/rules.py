"""The URL rules of a blueprint: of its protocols, and for OPTIONS, 405 and 404 in the form of the blueprint.

Error handlers of a blueprint never see a 404 or 405 of the router, because the router found no view of it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, update_wrapper

from quart import Blueprint, Response, current_app, request
from quart.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from quartapp.core.errors import ChatError
from quartapp.routes.context import RouteContext
from quartapp.routes.protocol import Route
from quartapp.routes.replies import handle_errors

View = Callable[..., Awaitable[Response]]


class EveryMethod(set[str]):
    """A set of methods that contains every method, also unknown ones, and lists only some."""

    def __contains__(self, _: object) -> bool:
        return True


def add_protocols(blueprint: Blueprint, context: RouteContext) -> None:
    """Add the routes of the protocols of `context` to `blueprint`, and rules for other methods and other paths."""
    for protocol in context.protocols:
        if protocol.name:
            nested = Blueprint(protocol.name, __name__)
            handle_errors(nested, protocol.render)
            _add_routes(nested, context, protocol.routes)
            blueprint.register_blueprint(nested, url_prefix=protocol.prefix)
    own = [route for protocol in context.protocols if not protocol.name for route in protocol.routes]
    _add_routes(blueprint, context, own)


def _add_routes(blueprint: Blueprint, context: RouteContext, routes: Sequence[Route]) -> None:
    for route in routes:
        view = update_wrapper(partial(route.view, context), route.view)
        blueprint.add_url_rule(
            route.path, route.name, view, methods=list(route.operations), provide_automatic_options=False
        )
    _add_other(blueprint, routes)


def _add_other(blueprint: Blueprint, routes: Sequence[Route]) -> None:
    """Answer OPTIONS and other methods at the paths of `routes`, and every other path with 404.

    Without a prefix other paths are not answered, because they belong to the host app.
    """

    def add(state: BlueprintSetupState) -> None:
        for number, route in enumerate(routes):
            _add(state, route.path, f"other_{number}", _closed(route.methods))
        if (state.url_prefix or "").strip("/"):
            _add(state, "/<path:path>", "not_found", _not_found)

    blueprint.record(add)


def serve_double_slashes(blueprint: Blueprint) -> None:
    """Serve a path of `blueprint` that contains several slashes in a row as the path with single slashes.

    Clients append `/chat/completions` to a base URL that ends in a slash. The router would send a redirect with an HTML
    page, and behind most proxies it would redirect to http. Only slashes after the prefix are merged. So a guard of
    the host app that matches the prefix still sees each request. Hooks of the host app see single slashes.
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
    adapter = current_app.create_url_adapter(request)
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
    """Return a view that sends the allowed methods: to OPTIONS with 204, to any other method with 405."""
    allow = {"Allow": ", ".join((*methods, "OPTIONS"))}

    async def closed(**_: str) -> Response:
        if request.method == "OPTIONS":
            return Response(status=204, headers=allow)
        raise ChatError("method_not_allowed", headers=allow)

    return closed


async def _not_found(**_: str) -> Response:
    raise ChatError("not_found")
