"""Bearer tokens of Entra ID: asked of azure-identity, kept while they are good, and renewed before they end."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import math
import time
from collections.abc import Callable
from typing import Final, Protocol

from pydantic import SecretStr

from quartapp.core.errors import ChatError, SettingsError, describe
from quartapp.settings.loader import client_proxy

log = logging.getLogger("quartapp.models")

LOGIN_URL: Final = "https://login.microsoftonline.com"

#: How long before its end a token is renewed, unless it says earlier itself.
MARGIN_S: Final = 300
#: Rest between two renewals while the token in hand is good.
PAUSE_S: Final = 30
#: Time for one renewal: a login at a developer's machine starts a process, which takes seconds.
TIMEOUT_S: Final = 30


class Issued(Protocol):
    """A token with its end, and the time from which it is better renewed; both in seconds of Unix time."""

    @property
    def token(self) -> str: ...

    @property
    def expires_on(self) -> int: ...

    @property
    def refresh_on(self) -> int | None: ...


class Credential(Protocol):
    """What gives tokens: the asynchronous credentials of azure-identity do."""

    async def get_token_info(self, *scopes: str) -> Issued: ...

    async def close(self) -> None: ...


def open_credential(
    client_id: str | None = None, *, proxy: SecretStr | None = None, obey_environment: bool = False
) -> Credential:
    """Whoever this process is to Azure: what its environment names, a workload, a managed identity, or a developer
    who has logged in with az, azd or PowerShell. Nothing that would open a browser is tried.

    `client_id` names a managed identity; unset, AZURE_CLIENT_ID does. The login server is asked by `proxy`, and by one
    of the environment only if that is to be obeyed. Raises SettingsError.
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
            use_env_settings=False,  # they would be more than proxies: passwords in ~/.netrc, too
            # Managed identities are asked over plain HTTP, next door.
            **({"proxies": {"https": proxy.get_secret_value()}} if proxy else {}),
            **({"managed_identity_client_id": client_id} if client_id else {}),
        )
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"AZURE_CLIENT_ID, AZURE_AUTHORITY_HOST and the like: azure-identity cannot use them "
            f"({type(error).__name__}); for example AZURE_AUTHORITY_HOST={LOGIN_URL}"
        ) from None


class EntraToken:
    """The bearer token for one scope, to be asked for with each request; `close` closes the credential.

    As long as a token is good nobody waits for the next. `now` is Unix time.
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
        self._issued: Issued | None = None
        self._rests_until = -math.inf
        self._renewal: asyncio.Task[Exception | None] | None = None

    async def __call__(self) -> str:
        """A token that is good now. Raises ChatError: upstream_error, where there is none within the time limit."""
        issued = self._good()
        if issued is None:
            return (await self._renewed()).token
        if self._is_due(issued):
            self._renew()
        return issued.token

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._credential.close()

    def _good(self) -> Issued | None:
        return self._issued if self._issued is not None and self._now() < self._issued.expires_on else None

    def _is_due(self, issued: Issued) -> bool:
        renew_on = min(issued.expires_on - MARGIN_S, issued.refresh_on or math.inf)
        return self._now() >= max(renew_on, self._rests_until)

    async def _renewed(self) -> Issued:
        """Waits for the renewal, which others may wait for too: one who is cancelled leaves it to them."""
        renewal = self._renew()
        await asyncio.wait([renewal])
        issued = self._good()
        if issued is None:
            raise ChatError("upstream_error") from (None if renewal.cancelled() else renewal.result())
        return issued

    def _renew(self) -> asyncio.Task[Exception | None]:
        """The renewal that is under way, begun if there is none; it belongs to no request."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._ask(), context=contextvars.Context())
        return self._renewal

    async def _ask(self) -> Exception | None:
        """Asks the credential, whose failure is returned: its words may quote anything."""
        try:
            async with asyncio.timeout(self._timeout_s):
                self._issued = await self._credential.get_token_info(self._scope)
        except Exception as error:  # noqa: BLE001 - credentials raise what their parts raise
            failure = ChatError("upstream_error")
            failure.__cause__ = error
            log.warning("no token of Entra ID: %s", json.dumps(describe(failure)))
            return error
        finally:
            self._rests_until = self._now() + PAUSE_S
        return None
