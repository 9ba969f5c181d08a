"""Models opened from their entries in the table, and the servers and tokens that they share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import SecretStr

from quartapp.mock import DEFAULT_MODEL, create_mock
from quartapp.settings.settings import Settings
from quartapp.upstreams.entry import Entry
from quartapp.upstreams.http.entra import EntraToken, open_credential
from quartapp.upstreams.http.servers import Address, Server, Servers
from quartapp.upstreams.http.transport import ConnectionOptions
from quartapp.upstreams.in_process import InProcessTransport
from quartapp.upstreams.model import UpstreamModel
from quartapp.upstreams.origins import Origins
from quartapp.upstreams.parameters import Parameters

if TYPE_CHECKING:
    from quartapp.upstreams.http.servers import Client


class Upstreams:
    """An opener of models, and the owner of the servers and tokens that they share.

    `entries` are those of all models, because state from one server must not reach another server.
    """

    def __init__(self, settings: Settings, entries: Iterable[Entry] = ()) -> None:
        self._settings = settings
        self._origins = Origins(entries)
        self._tokens: dict[str, EntraToken] = {}
        self.servers = Servers(_connection_options(settings))

    def open(self, name: str, entry: Entry) -> UpstreamModel:
        """Return the model of `entry`, which clients know as `name`.

        Raises SettingsError for a key, a proxy or a CA file that cannot be used.
        """
        return entry.upstream.model(self._server(entry, self._key(entry)), self._parameters(name, entry))

    def client(self, entry: Entry) -> Client:
        """Return the official client for the server of `entry`."""
        return self._server(entry, self._key(entry)).client

    async def close(self) -> None:
        await self.servers.close()
        for token in self._tokens.values():
            await token.close()

    def _server(self, entry: Entry, key: SecretStr | None) -> Server:
        if entry.upstream.is_mock:
            return self.servers.at(Address(entry.url), self._mock)
        auth = entry.auth or (entry.upstream.auth if key is not None else entry.upstream.keyless_auth)
        address = Address(
            entry.url,
            key=key,
            key_header="api-key" if auth == "api-key" else "authorization",
            token=self._token(entry.entra_scope) if auth == "entra" else None,
            query=(("api-version", entry.api_version),) if entry.api_version else (),
            headers=tuple(sorted((name.lower(), value) for name, value in entry.headers.items())),
            obeys_environment=self._settings.obey_client_environment,
        )
        return self.servers.at(address)

    def _key(self, entry: Entry) -> SecretStr | None:
        if entry.env_name is None or entry.auth in ("entra", "none"):
            return None
        return self._settings.key(entry.env_name)

    def _token(self, scope: str) -> EntraToken:
        """Return the token for `scope`, shared by all models, because equal addresses must share a server."""
        if scope not in self._tokens:
            settings = self._settings
            credential = open_credential(settings.proxy, obey_environment=settings.obey_client_environment)
            self._tokens[scope] = EntraToken(credential, scope)
        return self._tokens[scope]

    def _mock(self) -> InProcessTransport:
        return InProcessTransport(create_mock(self._settings.mock_tokens_per_s))

    def _parameters(self, name: str, entry: Entry) -> Parameters:
        default = DEFAULT_MODEL if entry.upstream.is_mock else name
        system_prompt = self._settings.system_prompt if entry.system_prompt is None else entry.system_prompt
        return Parameters(
            model=entry.model or default,
            system_prompt=system_prompt,
            params=entry.params,
            allow=frozenset(entry.allow),
            drop_params=frozenset(entry.drop_params),
            max_output_tokens=_output_tokens(entry, self._settings),
            unsent_limit=self._settings.max_output_tokens,
            output_limit=entry.output_limit or entry.upstream.limit_name(entry.api_version),
            think_tags=entry.think_tags,
            api_version=entry.api_version,
            max_line_bytes=self._settings.max_upstream_line_bytes,
            returned=self._origins.returned(entry, max_chars=self._settings.max_prompt_chars),
        )


def _output_tokens(entry: Entry, settings: Settings) -> int | None:
    """Return the lower one of the entry's limit and CHAT_MAX_OUTPUT_TOKENS; None if neither is set."""
    limits = [limit for limit in (entry.max_output_tokens, settings.sent_output_tokens) if limit is not None]
    return min(limits, default=None)


def _connection_options(settings: Settings) -> ConnectionOptions:
    return ConnectionOptions(
        timeout_s=settings.connect_timeout_s,
        max_connections=settings.max_connections or 2 * settings.max_open_streams,
        keep_alive_s=settings.connection_keep_alive_s,
        proxy=settings.proxy,
        ca_file=settings.ca_file,
        obey_environment=settings.obey_client_environment,
    )
