"""Which addresses of servers the clients can ask: they are stricter than what can be known without them."""

from __future__ import annotations

from typing import Annotated

import httpx2
from pydantic import AfterValidator
from yarl import URL

from quartapp.settings.settings import Settings
from quartapp.settings.urls import ServerUrl

_UNASKABLE = "no URL that can be asked, whose host is a name, in IDNA 2008 unless it is ASCII, or an address"


def check_addresses(settings: Settings) -> None:
    """Raises SettingsError for an address among the settings that the clients refuse."""
    addresses = {
        "OPENAI_BASE_URL": settings.openai_base_url,
        "AZURE_OPENAI_ENDPOINT": settings.azure_endpoint,
        "CHAT_PROXY": settings.proxy.get_secret_value() if settings.proxy else None,
    }
    for name, url in addresses.items():
        if url is not None and not _can_be_asked(url):
            raise settings.error(name, _UNASKABLE)


def _can_be_asked(url: str) -> bool:
    # The official client builds the URL with httpx2, and aiohttp reads it with yarl.
    try:
        URL(str(httpx2.URL(url)))
    except (httpx2.InvalidURL, ValueError):
        return False
    return True


def _check(url: str) -> str:
    if not _can_be_asked(url):
        raise ValueError(_UNASKABLE)
    return url


#: A server's base URL in an entry.
AskableUrl = Annotated[ServerUrl, AfterValidator(_check)]
