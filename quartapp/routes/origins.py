"""CORS headers (Fetch standard), so that pages of the allowed origins can read the responses of all routes."""

from __future__ import annotations

from quart import Blueprint, Response, request

from quartapp.routes.context import RouteContext

# The star allows the other headers that the official OpenAI client sends from a page. It never covers Authorization.
REQUEST_HEADERS = "Authorization, Content-Type, Last-Event-ID, X-Auth, X-Request-ID, *"
RESPONSE_HEADERS = "Retry-After, X-Offered, X-Request-ID, X-Should-Retry"
PREFLIGHT_MAX_AGE_S = 600


def allow_origins(blueprint: Blueprint, context: RouteContext) -> None:
    """Let pages of the origins in `CHAT_ORIGINS` read every response of `blueprint`; by default there are none."""

    async def add_headers(response: Response) -> Response:  # async, because Quart runs other functions in a thread
        chat = context.find()
        allowed = chat.settings.origins if chat is not None else ()
        if not allowed:
            return response
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin in allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
            if "Access-Control-Request-Method" in request.headers and "Allow" in response.headers:
                response.headers["Access-Control-Allow-Methods"] = response.headers["Allow"]
                response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
                response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_MAX_AGE_S)
        return response

    blueprint.after_request(add_headers)
