"""The kinds of upstreams: the API, the server and the defaults of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from quartapp.core.request import JsonObject
from quartapp.settings.urls import is_same_server
from quartapp.upstreams.chat_completions.model import ChatCompletionsModel
from quartapp.upstreams.http.servers import Server
from quartapp.upstreams.model import UpstreamModel, no_fault
from quartapp.upstreams.parameters import Parameters
from quartapp.upstreams.responses.model import ResponsesModel
from quartapp.upstreams.responses.parameters import fault_in_params

OPENAI_URL: Final = "https://api.openai.com/v1"
AZURE_V1: Final = "/openai/v1"

Auth = Literal["bearer", "api-key", "entra", "none"]
OutputLimit = Literal["max_tokens", "max_completion_tokens"]


class UpstreamKind(msgspec.Struct, frozen=True):
    """One kind of upstream; for example `UpstreamKind(OPENAI_URL, key_env="OPENAI_API_KEY")`.

    `base_url` is the default server; None if an entry must name a server. `key_env` names the key of the default server
    only. `model` opens a model of its API. `fault_in_params` returns None for `params` of an entry that the API can
    take, otherwise a sentence and the path of the fault. `auth` is used with a key, and `keyless_auth` without one.
    """

    base_url: str | None = None
    key_env: str | None = None
    model: Callable[[Server, Parameters], UpstreamModel] = ChatCompletionsModel
    fault_in_params: Callable[[JsonObject], tuple[str, ...] | None] = no_fault
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


#: The kinds by their names in the table of models. A new one is a folder in `upstreams/` and a row here.
KINDS: Final[Mapping[str, UpstreamKind]] = {
    "openai": UpstreamKind(OPENAI_URL, "OPENAI_API_KEY", output_limit="max_completion_tokens", is_stateless=True),
    "azure": UpstreamKind(
        auth="api-key",
        keyless_auth="entra",
        output_limit="max_completion_tokens",
        is_stateless=True,
        has_dated_api=True,
    ),
    "responses": UpstreamKind(OPENAI_URL, "OPENAI_API_KEY", ResponsesModel, fault_in_params),
    "compatible": UpstreamKind(),
    "mock": UpstreamKind("http://mock/v1", is_stateless=True, is_mock=True),
}

if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[tuple(KINDS)]  # made here, so that a kind is named once
