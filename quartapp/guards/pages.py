"""The checks of the page that sent a request: pages of other sites must not spend the tokens of their visitors."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from quart import request

from quartapp.core.errors import ChatError
from quartapp.guards.accept import not_acceptable, preference

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def refuse_foreign_page(origins: Container[str]) -> None:
    """Refuse a request with a cookie from a page of another origin that is not in `origins`.

    Browsers send cookies without the page's consent, so a cookie alone is no proof of a user's intent. A POST without
    `Sec-Fetch-Site` and `Origin` passes, because browsers always send `Origin` with it.

    Raises ChatError: forbidden.
    """
    if "Cookie" in request.headers and _is_foreign(origins):
        raise ChatError("forbidden", path="Origin")


def refuse_unwanted_get(origins: Container[str], offered: Sequence[str]) -> None:
    """Refuse a GET unless a script of this site or of a page in `origins` sent it, because an answer costs money.

    Browsers send `Sec-Fetch-...` only over https and to loopback. Over http the `Accept` header shows whether the
    client requests a format in `offered`, or for example an image or a frame. `Origin` or `Referer`
    shows a foreign page. If a browser sends neither, it is refused, because a foreign page can use `fetch` with
    `no-cors`, `no-referrer` and any `Accept`.

    Raises ChatError: method_not_allowed, forbidden, not_acceptable.
    """
    if request.method == "HEAD":
        raise ChatError("method_not_allowed", headers={"Allow": "GET, POST, OPTIONS"})
    headers = request.headers
    purpose = headers.get("Sec-Purpose") or headers.get("Purpose") or headers.get("X-Moz") or ""
    if "prefetch" in purpose or _is_foreign(origins):
        raise ChatError("forbidden")
    if _hides_its_page():
        raise ChatError("forbidden", path="Referer")
    if not _is_for_script(offered):
        raise ChatError("forbidden") if "Sec-Fetch-Dest" in headers else not_acceptable(offered)


def _is_for_script(offered: Sequence[str]) -> bool:
    """Return whether a script reads the response: `Sec-Fetch-Dest` is `empty`, or Accept names one of the formats."""
    if "Sec-Fetch-Dest" in request.headers:
        return request.headers["Sec-Fetch-Dest"] == "empty"
    return any(specificity == 2 and quality > 0 for quality, specificity in map(preference, offered))


def _is_foreign(origins: Container[str]) -> bool:
    """Return whether the request comes from a page of another origin that is not in `origins`."""
    headers = request.headers
    site = headers.get("Sec-Fetch-Site")
    if site in ("cross-site", "same-site"):
        return headers.get("Origin") not in origins
    if site == "same-origin":
        return False
    pages = [headers[name] for name in ("Origin", "Referer") if name in headers]
    return not all(_is_own(page) or _origin(page) in origins for page in pages)


def _hides_its_page() -> bool:
    """Return whether a browser sent the request without a header that shows the page.

    A cookie or `User-Agent` shows the browser, because a page cannot change the latter.
    """
    headers = request.headers
    is_shown = any(name in headers for name in ("Sec-Fetch-Site", "Origin", "Referer"))
    return not is_shown and ("Cookie" in headers or headers.get("User-Agent", "").startswith("Mozilla/"))


def _origin(page: str) -> str:
    return "/".join(page.split("/", 3)[:3])


def _is_own(page: str) -> bool:
    """Return whether the host of `page` is the host of the request, according to the client or its first proxy.

    A foreign page cannot set these two headers. Proxies may add the port that browsers leave out.
    """
    scheme, _, place = _origin(page).lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    hosts = (request.headers.get(name, "").partition(",")[0] for name in ("Host", "X-Forwarded-Host"))
    return place.removesuffix(port) in {host.strip().lower().removesuffix(port) for host in hosts} - {""}
