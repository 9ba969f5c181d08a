"""The kinds of upstreams: the API, the server and the defaults of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from quartapp.settings.urls import is_same_server

OPENAI_URL: Final = "https://api.openai.com/v1"
AZURE_V1: Final = "/openai/v1"

KindName = Literal["openai", "azure", "responses", "compatible", "mock"]
Auth = Literal["bearer", "api-key", "entra", "none"]
OutputLimit = Literal["max_tokens", "max_completion_tokens"]


class UpstreamKind(msgspec.Struct, frozen=True):
    """One kind of upstream; for example `UpstreamKind(OPENAI_URL, key_env="OPENAI_API_KEY")`.

    `base_url` is the default server; None if an entry must name a server. `key_env` names the key of the default server
    only. `auth` is used with a key, and `keyless_auth` without one.
    """

    base_url: str | None = None
    key_env: str | None = None
    api: Literal["chat_completions", "responses"] = "chat_completions"
    auth: Auth = "bearer"
    keyless_auth: Auth = "bearer"
    output_limit: OutputLimit = "max_tokens"
    is_stateless: bool = False
    has_dated_api: bool = False
    is_mock: bool = False

    def is_default(self, url: str | None) -> bool:
        """Return whether `url` is the default server; None counts as it if there is one."""
        return self.base_url is not None and is_same_server(url or self.base_url, self.base_url)

    def attaches_state(self, url: str | None) -> bool:
        """Return whether the server at `url` may attach state to an answer.

        A stateless kind has state only at a server other than its default one, for example a gateway.
        """
        return not (self.is_stateless and (self.base_url is None or self.is_default(url)))

    def url(self, url: str | None, api_version: str | None) -> str:
        """Return the URL of the API, without the path of a request."""
        url = (url or self.base_url or "").rstrip("/")
        if not self.has_dated_api:
            return url
        endpoint = url.removesuffix(AZURE_V1)
        return f"{endpoint}/openai" if api_version else f"{endpoint}{AZURE_V1}"

    def limit_name(self, api_version: str | None) -> OutputLimit:
        """Return the name of the token limit. Azure's dated APIs before 2024-12 accept only the older name."""
        return "max_tokens" if api_version and api_version < "2024-12" else self.output_limit


KINDS: Final[Mapping[KindName, UpstreamKind]] = {
    "openai": UpstreamKind(OPENAI_URL, "OPENAI_API_KEY", output_limit="max_completion_tokens", is_stateless=True),
    "azure": UpstreamKind(
        auth="api-key",
        keyless_auth="entra",
        output_limit="max_completion_tokens",
        is_stateless=True,
        has_dated_api=True,
    ),
    "responses": UpstreamKind(OPENAI_URL, "OPENAI_API_KEY", api="responses"),
    "compatible": UpstreamKind(),
    "mock": UpstreamKind("http://mock/v1", is_stateless=True, is_mock=True),
}
