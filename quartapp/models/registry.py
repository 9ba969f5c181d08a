"""The models of one blueprint, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from quartapp.core.errors import ChatError, SettingsError
from quartapp.core.request import ChatRequest
from quartapp.mock import CATALOGUE, is_fault, offers
from quartapp.models.config import Table, read_table, single_entry
from quartapp.models.fallback import Candidate, FallbackModel
from quartapp.models.own import Model, ModelFunction, OwnModel
from quartapp.settings.settings import Settings
from quartapp.settings.urls import host_and_port
from quartapp.upstreams.entry import Entry
from quartapp.upstreams.http.addresses import check_addresses
from quartapp.upstreams.http.servers import Server
from quartapp.upstreams.http.transport import open_trust
from quartapp.upstreams.model import OpenStream, UpstreamModel
from quartapp.upstreams.opener import Upstreams
from quartapp.upstreams.parameters import check_extras


class ListedModel(msgspec.Struct, frozen=True):
    """A model that clients may request by `name`.

    `allow` names parameters outside OpenAI's API that clients may send. `timeouts` are its own values of limits, by the
    names in `limits.Limits`. `is_mock` marks a model of the mock server.
    """

    name: str
    model: UpstreamModel
    allow: frozenset[str] = frozenset()
    timeouts: Mapping[str, float] = {}
    is_mock: bool = False

    def build(self, request: ChatRequest) -> OpenStream:
        """Build the upstream's request. Raises ChatError: invalid_request, too_large."""
        check_extras(request, self.allow)
        return self.model.build(replace(request, model=self.name))


class Models:
    """The models of a blueprint.

    `find` returns a model by its name. `names` are listed to clients. `default` answers a request that names no model.
    `summary` has a line for each model, with its kind and its server.
    """

    def __init__(
        self,
        find: Callable[[str], ListedModel | None],
        default: str,
        names: Sequence[str],
        upstreams: Upstreams | None = None,
        *,
        summary: Sequence[str] = (),
    ) -> None:
        self.summary = summary
        self._find = find
        self.default = default
        self._upstreams = upstreams
        self.names = names

    def get(self, name: str | None) -> ListedModel:
        """Return the model called `name`; None is the default. Raises ChatError, model_not_found."""
        offered = self._find(name or self.default)
        if offered is None:
            raise ChatError("model_not_found", path="model")
        return offered

    @property
    def servers(self) -> Sequence[Server]:
        """Return the open servers. Connections of the host app's own models are not among them."""
        return [] if self._upstreams is None else list(self._upstreams.servers)

    async def close(self) -> None:
        if self._upstreams is not None:
            await self._upstreams.close()


def open_models(
    settings: Settings, given: Mapping[str, Model | ModelFunction] | None = None, *, shows_faults: bool = False
) -> Models:
    """Return the models that `given` or the settings name, and open their servers; `Models.close` closes them.

    If `shows_faults`, clients receive the exceptions of `given` models. Raises SettingsError.
    """
    check_addresses(settings)
    if settings.ca_file is not None:  # checked also if no server uses TLS
        open_trust(settings.ca_file)
    if given:
        limit = settings.max_output_tokens
        own = {
            name: ListedModel(name, OwnModel(name, model, max_tokens=limit, shows_faults=shows_faults))
            for name, model in given.items()
        }
        summary = [f"{name}: Python, {_qualified(model)}" for name, model in given.items()]
        return Models(own.get, _default(settings, list(own)), list(own), summary=summary)
    table = read_table(settings)
    upstreams = Upstreams(settings, (table or {}).values())
    if table is not None:
        return _open_table(settings, table, upstreams)
    return _open_mock(settings, upstreams) if settings.is_mock else _open_single(settings, upstreams)


def _open_table(settings: Settings, table: Table, upstreams: Upstreams) -> Models:
    candidates = {name: _candidate(name, entry, upstreams.open(name, entry), settings) for name, entry in table.items()}
    offered = {
        name: _offered(entry, candidates[name], [candidates[other] for other in entry.fallbacks], settings)
        for name, entry in table.items()
        if entry.offered
    }
    summary = [_summary(name, entry) for name, entry in table.items()]
    return Models(offered.get, _default(settings, list(offered)), list(offered), upstreams, summary=summary)


def _open_single(settings: Settings, upstreams: Upstreams) -> Models:
    name, entry = single_entry(settings)
    candidate = _candidate(name, entry, upstreams.open(name, entry), settings)
    offered = {name: _offered(entry, candidate, [], settings)}
    return Models(offered.get, name, [name], upstreams, summary=[_summary(name, entry)])


def _summary(name: str, entry: Entry) -> str:
    """Return a description of a model, for example `fast: openai, gpt-5.4-mini at api.openai.com:443`."""
    place = "in this process" if entry.upstream.is_mock else f"at {host_and_port(entry.url)}"
    rest = "" if entry.offered else ", not offered"
    return f"{name}: {entry.kind}, {entry.model or name} {place}{rest}"


def _qualified(model: Model | ModelFunction) -> str:
    named = model if hasattr(model, "__qualname__") else type(model)
    return f"{named.__module__}.{named.__qualname__}"


def _open_mock(settings: Settings, upstreams: Upstreams) -> Models:
    """Return the mock model and its faults, which clients also select by name."""
    default, _ = single_entry(settings)
    if not offers(default):
        raise SettingsError(
            "CHAT_MODEL: no model of the mock server, and neither OPENAI_API_KEY nor OPENAI_BASE_URL is set; "
            "for example CHAT_MODEL=mock"
        )

    @lru_cache(maxsize=256)  # some names hold a number, so their count is unlimited
    def find(name: str) -> ListedModel | None:
        entry = Entry(kind="mock", model=name)
        if not offers(name):
            return None
        return _offered(entry, _candidate(name, entry, upstreams.open(name, entry), settings), [], settings)

    find(default)  # opens the shared server
    return Models(find, default, [name for name in CATALOGUE if not is_fault(name)], upstreams)


def _default(settings: Settings, names: Sequence[str]) -> str:
    if settings.model is not None and settings.model not in names:
        raise SettingsError(f"CHAT_MODEL: none of the models that are offered; for example CHAT_MODEL={names[0]}")
    return settings.model or names[0]


def _candidate(name: str, entry: Entry, model: UpstreamModel, settings: Settings) -> Candidate:
    retries = entry.retries
    if retries is None:  # a fault of the mock model is deliberate, and a retry would hide it
        retries = 0 if entry.upstream.is_mock else settings.retries
    timeouts = {
        "idle_timeout_s": entry.idle_timeout_s or settings.idle_timeout_s,
        "answer_timeout_s": entry.answer_timeout_s or settings.answer_timeout_s,
    }
    return Candidate(name, model, retries, entry.first_event_timeout_s, timeouts)


def _offered(entry: Entry, candidate: Candidate, fallbacks: Sequence[Candidate], settings: Settings) -> ListedModel:
    model = candidate.model
    if fallbacks or candidate.retries or candidate.first_event_timeout_s is not None:
        model = FallbackModel([candidate, *fallbacks], max_wait_s=settings.max_retry_wait_s)
    return ListedModel(
        candidate.name, model, frozenset(entry.allow), candidate.timeouts, is_mock=entry.upstream.is_mock
    )
