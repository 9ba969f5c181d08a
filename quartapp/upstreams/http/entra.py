"""Bearer tokens of Entra ID, requested through azure-identity, cached, and renewed before they expire."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import SecretStr

from quartapp.core.error_log import describe
from quartapp.core.errors import ChatError, SettingsError
from quartapp.settings.loader import client_proxy
from quartapp.upstreams.rerouting import is_rerouted

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo

log = logging.getLogger("quartapp.models")

LOGIN_URL: Final = "https://login.microsoftonline.com"

#: Seconds before its expiry at which a token is renewed. An earlier `refresh_on` of the token wins.
MARGIN_S: Final = 300
#: Seconds between two renewals while the cached token is valid.
PAUSE_S: Final = 30
#: Seconds for one renewal. A login on a developer's machine starts a process, which takes seconds.
TIMEOUT_S: Final = 30


class Credential(Protocol):
    """A source of tokens, for example an asynchronous credential of azure-identity."""

    async def get_token_info(self, *scopes: str) -> AccessTokenInfo: ...

    async def close(self) -> None: ...


def open_credential(proxy: SecretStr | None, *, obey_environment: bool) -> Credential:
    """Return the Azure identity of this process.

    It comes from the environment, a workload, a managed identity, or a developer's login in az, azd or PowerShell. No
    browser is opened.

    The login server is reached through `proxy`. If `obey_environment`, the environment's proxy is the default.
    Raises SettingsError.
    """
    try:
        from azure.identity.aio import DefaultAzureCredential
    except ImportError:
        raise SettingsError(
            "AZURE_OPENAI_API_KEY: unset, as key_env is, and Entra ID needs azure-identity; "
            "for example pip install 'quartapp[azure]'"
        ) from None
    if proxy is None and obey_environment:
        proxy = client_proxy(LOGIN_URL)
    try:
        return DefaultAzureCredential(
            exclude_shared_token_cache_credential=True,
            exclude_visual_studio_code_credential=True,
            use_env_settings=False,  # otherwise it also reads passwords from ~/.netrc
            # Managed identities use plain HTTP to a local address, without a proxy.
            proxies={"https": proxy.get_secret_value()} if proxy else None,
        )
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"AZURE_CLIENT_ID, AZURE_AUTHORITY_HOST and the like: azure-identity cannot use them "
            f"({type(error).__name__}); for example AZURE_AUTHORITY_HOST={LOGIN_URL}"
        ) from None


class EntraToken:
    """The bearer token for one scope, called for each request; `close` closes the credential.

    While a token is valid, no request waits for its renewal, and a failed renewal fails no request. The provider of
    azure-identity promises neither: near the expiry, each request waits for the token service. `now` returns Unix time
    in seconds.
    """

    def __init__(
        self,
        credential: Credential,
        scope: str,
        *,
        now: Callable[[], float] = time.time,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._credential = credential
        self._scope = scope
        self._now = now
        self._timeout_s = timeout_s
        self._issued: AccessTokenInfo | None = None
        self._renew_on = 0.0
        self._renewal: asyncio.Task[Exception | None] | None = None

    async def __call__(self) -> str:
        """Return a valid token. Raises ChatError, upstream_error, if none comes within the time limit."""
        if is_rerouted():
            return "unused"
        token = self._valid_token()
        if token is None or self._now() >= self._renew_on:
            renewal = self._renew()
            if token is None:
                await asyncio.wait([renewal])  # not cancelled with this request, because others wait for it too
                token = self._valid_token()
                if token is None:
                    raise ChatError("upstream_error") from (None if renewal.cancelled() else renewal.result())
        return token

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._credential.close()

    def _valid_token(self) -> str | None:
        return self._issued.token if self._issued is not None and self._now() < self._issued.expires_on else None

    def _renew(self) -> asyncio.Task[Exception | None]:
        """Return the renewal under way, or start one. It belongs to no request."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._fetch(), context=contextvars.Context())
        return self._renewal

    async def _fetch(self) -> Exception | None:
        """Fetch a token. A failure is returned and not raised, because its text may contain secrets."""
        try:
            async with asyncio.timeout(self._timeout_s):
                issued = self._issued = await self._credential.get_token_info(self._scope)
        except Exception as error:  # noqa: BLE001 - credentials raise errors of many libraries
            failure = ChatError("upstream_error")
            failure.__cause__ = error
            log.warning("no token of Entra ID: %s", json.dumps(describe(failure)))
            return error
        finally:
            self._renew_on = self._now() + PAUSE_S
        due_on = min(issued.expires_on - MARGIN_S, issued.refresh_on or math.inf)
        self._renew_on = max(self._renew_on, due_on)
        return None
