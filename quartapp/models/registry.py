"""The models of one blueprint, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from quartapp.core.errors import ChatError, SettingsError
from quartapp.core.request import ChatRequest
from quartapp.mock import CATALOGUE, is_fault, offers
from quartapp.models.config import Table, read_table, single_entry
from quartapp.models.fallback import Candidate, FallbackModel
from quartapp.models.own import OwnEntry, OwnModel, OwnModels, own_entries
from quartapp.settings.settings import Settings
from quartapp.settings.urls import host_and_port
from quartapp.upstreams.entry import Entry
from quartapp.upstreams.http.addresses import check_addresses
from quartapp.upstreams.http.servers import Server
from quartapp.upstreams.http.transport import open_trust
from quartapp.upstreams.model import OpenStream, UpstreamModel
from quartapp.upstreams.opener import Upstreams
from quartapp.upstreams.parameters import check_extras

if TYPE_CHECKING:
    from quartapp.upstreams.http.servers import Client


class ListedModel(msgspec.Struct, frozen=True):
    """A model that clients may request by `name`.

    `allow` names parameters outside OpenAI's API that clients may send. `timeouts` are its own values of limits, by the
    names in `limits.Limits`. `is_mock` marks a model of the mock server. `client` is the official client for its
    server. A model in Python has none. If it `knows_all_tools`, its entry has no tools, and only those of a request can
    be called.
    """

    name: str
    model: UpstreamModel
    allow: frozenset[str] = frozenset()
    timeouts: Mapping[str, float] = {}
    is_mock: bool = False
    client: Client | None = None
    knows_all_tools: bool = False

    def build(self, request: ChatRequest) -> OpenStream:
        """Build the upstream's request. Raises ChatError: invalid_request, too_large."""
        check_extras(request, self.allow)
        return self.model.build(replace(request, model=self.name))


class Models:
    """The models of a blueprint.

    `find` returns a model by its name. `names` are listed to clients. `default` answers a request that names no model.
    `summary` has a line for each model, with its kind and its server. `hidden` models are found only for code of the
    host app.
    """

    def __init__(
        self,
        find: Callable[[str], ListedModel | None],
        default: str,
        names: Sequence[str],
        upstreams: Upstreams | None = None,
        *,
        summary: Sequence[str] = (),
        hidden: Collection[str] = (),
    ) -> None:
        self.summary = summary
        self._hidden = hidden
        self._find = find
        self.default = default
        self._upstreams = upstreams
        self.names = names

    def get(self, name: str | None, *, is_trusted: bool = False) -> ListedModel:
        """Return the model called `name`; None is the default. Raises ChatError, model_not_found.

        If code of the host app has chosen the name, `is_trusted`, it may be one that is not offered to clients.
        """
        found = self._find(name or self.default)
        if found is None or (found.name in self._hidden and not is_trusted):
            raise ChatError("model_not_found", path="model")
        return found

    @property
    def servers(self) -> Sequence[Server]:
        """Return the open servers. Connections of the host app's own models are not among them."""
        return [] if self._upstreams is None else list(self._upstreams.servers)

    async def close(self) -> None:
        if self._upstreams is not None:
            await self._upstreams.close()


def open_models(settings: Settings, given: OwnModels | None = None, *, shows_faults: bool = False) -> Models:
    """Return the models that `given` and the settings name, and open their servers; `Models.close` closes them.

    The mock model is among them only if there is no other. If `shows_faults`, clients receive the exceptions of `given`
    models. Raises SettingsError.
    """
    check_addresses(settings)
    if settings.ca_file is not None:  # checked also if no server uses TLS
        open_trust(settings.ca_file)
    own = own_entries(given or {})
    table = _configured(settings, own)
    if table is None:
        return _open_mock(settings, Upstreams(settings, ()))
    names = _offered_names(own, table)
    default = _default(settings, names)  # before a server is opened, because it may raise
    upstreams = Upstreams(settings, table.values())
    candidates = _own_candidates(own, settings, shows_faults=shows_faults)
    candidates |= {name: _candidate(name, each, upstreams.open(name, each), settings) for name, each in table.items()}
    entries: dict[str, Entry | OwnEntry] = {**own, **table}
    listed = {
        name: _listed(each, candidates[name], [candidates[other] for other in each.fallbacks], settings, upstreams)
        for name, each in entries.items()
    }
    summary = [_own_summary(name, each) for name, each in own.items()]
    summary += [_summary(name, each) for name, each in table.items()]
    return Models(listed.get, default, names, upstreams, summary=summary, hidden=listed.keys() - names)


def check_table(settings: Settings, given: OwnModels | None) -> None:
    """Check the models that `given` and the settings name. Raises SettingsError.

    If `given` is None, the models in Python are not known yet, and names are not checked.
    """
    if given is None:
        read_table(settings, None)
        return
    own = own_entries(given)
    table = _configured(settings, own)
    if table is None:
        check_mock(settings)
    else:
        _default(settings, _offered_names(own, table))


def _offered_names(own: Mapping[str, OwnEntry], table: Table) -> list[str]:
    """Return the names that clients may request. Raises SettingsError if there are none."""
    entries: dict[str, Entry | OwnEntry] = {**own, **table}
    names = [name for name, each in entries.items() if each.offered]
    if not names:
        raise SettingsError("none of the models is offered to clients; remove `offered=False` from one")
    return names


def _configured(settings: Settings, own: Mapping[str, OwnEntry]) -> Table | None:
    """Return the models of the settings. None is the mock model, which is no model next to `own` ones.

    Raises SettingsError for a table with the name of an `own` model, and for an unknown fallback.
    """
    table = read_table(settings, own)
    if table is None and not settings.is_mock:
        name, entry = single_entry(settings)
        table = {} if name in own else {name: entry}
    if table is None and not own:
        return None
    table = table or {}  # an empty table names no model next to `own` ones
    for name, each in own.items():
        unknown = [other for other in each.fallbacks if other == name or other not in {**own, **table}]
        if unknown:
            known = ", ".join(other for other in {**own, **table} if other != name) or "no other one"
            raise SettingsError(
                f"the model {name}: its fallback {unknown[0]} is unknown; there is {known}. "
                'Next to models in Python the mock model needs a name, for example models={"mock": {"kind": "mock"}}'
            )
    return table


def _own_candidates(own: Mapping[str, OwnEntry], settings: Settings, *, shows_faults: bool) -> dict[str, Candidate]:
    limit = settings.max_output_tokens
    return {
        name: Candidate(
            name,
            OwnModel(name, each.model, max_tokens=limit, shows_faults=shows_faults),
            each.retries,
            each.first_event_timeout_s,
        )
        for name, each in own.items()
    }


def _summary(name: str, entry: Entry) -> str:
    """Return a description of a model, for example `fast: openai, gpt-5.4-mini at api.openai.com:443`."""
    place = "in this process" if entry.upstream.is_mock else f"at {host_and_port(entry.url)}"
    rest = "" if entry.offered else ", not offered"
    return f"{name}: {entry.kind}, {entry.model or name} {place}{rest}"


def _own_summary(name: str, entry: OwnEntry) -> str:
    named = entry.model if hasattr(entry.model, "__qualname__") else type(entry.model)
    return f"{name}: Python, {named.__module__}.{named.__qualname__}"


def _open_mock(settings: Settings, upstreams: Upstreams) -> Models:
    """Return the mock model and its faults, which clients also select by name."""
    default = check_mock(settings)

    @lru_cache(maxsize=256)  # some names hold a number, so their count is unlimited
    def find(name: str) -> ListedModel | None:
        entry = Entry(kind="mock", model=name)
        if not offers(name):
            return None
        return _listed(entry, _candidate(name, entry, upstreams.open(name, entry), settings), [], settings, upstreams)

    find(default)  # opens the shared server
    return Models(find, default, [name for name in CATALOGUE if not is_fault(name)], upstreams)


def check_mock(settings: Settings) -> str:
    """Return the mock model's default name. Raises SettingsError for another model without a server."""
    default, _ = single_entry(settings)
    if not offers(default):
        raise SettingsError(
            "CHAT_MODEL: no model of the mock server and none in Python, and neither OPENAI_API_KEY nor "
            "OPENAI_BASE_URL is set; for example CHAT_MODEL=mock"
        )
    return default


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


def _listed(
    entry: Entry | OwnEntry,
    candidate: Candidate,
    fallbacks: Sequence[Candidate],
    settings: Settings,
    upstreams: Upstreams,
) -> ListedModel:
    model = candidate.model
    if fallbacks or candidate.retries or candidate.first_event_timeout_s is not None:
        model = FallbackModel([candidate, *fallbacks], max_wait_s=settings.max_retry_wait_s)
    if isinstance(entry, OwnEntry):
        return ListedModel(candidate.name, model)
    return ListedModel(
        candidate.name,
        model,
        frozenset(entry.allow),
        candidate.timeouts,
        is_mock=entry.upstream.is_mock,
        client=upstreams.client(entry),
        knows_all_tools="tools" not in entry.params,
    )
