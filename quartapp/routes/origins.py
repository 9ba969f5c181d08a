"""Pages from elsewhere: which origins may read what the doors answer (the Fetch standard's CORS)."""

from __future__ import annotations

from quart import Blueprint, Response, request

from quartapp.routes.asking import House

# The star stands for any other, as the official OpenAI client in a page sends them; it never stands for Authorization.
REQUEST_HEADERS = "Authorization, Content-Type, Last-Event-ID, X-Auth, X-Request-ID, *"
RESPONSE_HEADERS = "Retry-After, X-Offered, X-Request-ID, X-Should-Retry"
PREFLIGHT_MAX_AGE_S = 600


def allow_origins(blueprint: Blueprint, house: House) -> None:
    """Lets the pages of the settings' origins read every reply below `blueprint`; by default no other page's."""

    async def add_headers(response: Response) -> Response:  # Quart runs what is not async in a thread
        chat = house.find()
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
