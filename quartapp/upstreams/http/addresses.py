"""Checks that the HTTP clients accept the URL of a server; they are stricter than `settings.urls`."""

from __future__ import annotations

from typing import Annotated

import httpx2
from pydantic import AfterValidator
from yarl import URL

from quartapp.settings.settings import Settings
from quartapp.settings.urls import ServerUrl

_UNUSABLE = "not a usable URL, whose host is an IP address, an ASCII name or a name in IDNA 2008"


def check_addresses(settings: Settings) -> None:
    """Raise SettingsError for a URL in the settings that the HTTP clients refuse."""
    addresses = {
        "OPENAI_BASE_URL": settings.openai_base_url,
        "AZURE_OPENAI_ENDPOINT": settings.azure_endpoint,
        "CHAT_PROXY": settings.proxy.get_secret_value() if settings.proxy else None,
    }
    for name, url in addresses.items():
        if url is not None and not _is_usable(url):
            raise settings.error(name, _UNUSABLE)


def _is_usable(url: str) -> bool:
    # The official client builds the URL with httpx2, and aiohttp reads it with yarl.
    try:
        URL(str(httpx2.URL(url)))
    except (httpx2.InvalidURL, ValueError):
        return False
    return True


def _check(url: str) -> str:
    if not _is_usable(url):
        raise ValueError(_UNUSABLE)
    return url


#: A server's base URL in an entry.
UpstreamUrl = Annotated[ServerUrl, AfterValidator(_check)]
