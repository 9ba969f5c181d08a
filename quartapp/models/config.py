"""The table of models, read from the settings; an error names the place of the fault."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from quartapp.core.error_log import masked
from quartapp.core.errors import SettingsError
from quartapp.mock import DEFAULT_MODEL, offers
from quartapp.settings.loader import first_fault
from quartapp.settings.settings import KEYS, Settings
from quartapp.settings.urls import is_same_server
from quartapp.upstreams.entry import MAX_NAME_CHARS, Entry
from quartapp.upstreams.kinds import OPENAI_URL, KindName
from quartapp.upstreams.rerouting import needs_keys

OPENAI_MODEL: Final = "gpt-5.4-mini"
MAX_DEPTH: Final = 32

Table = Mapping[str, Entry]

# Names that other programs use for a field.
_MEANT: Final = {"api_key": "key_env", "api_base": "base_url", "url": "base_url"}


class _TableSource(NamedTuple):
    """The setting that holds a table, and an example of the shortest table in its notation."""

    setting: str
    example: str

    def place(self, *path: object) -> str:
        """Return a place below the setting, as a dotted key of TOML."""
        return f"{self.setting}: {'.'.join(map(_shown, path))}"


_FILE: Final = _TableSource("CHAT_MODELS_FILE", 'models.fast = { kind = "openai" }')
_MAPPING: Final = _TableSource("CHAT_MODELS", '{"fast": {"kind": "openai"}}')


def read_table(settings: Settings, own: Collection[str] | None = ()) -> Table | None:
    """Return the models of CHAT_MODELS or CHAT_MODELS_FILE by name, in their order; None if neither is set.

    `own` are the names of the host app's own models. They may be fallbacks of the table, and are no names in it. If it
    is None, they are not known yet, and fallbacks are not checked.

    Raises SettingsError with the place of the fault, and without the value, because it may be a key.
    """
    if settings.models is not None and settings.models_file is not None:
        raise SettingsError("CHAT_MODELS_FILE: CHAT_MODELS is set too; use one of them")
    if settings.models is not None:
        return _table(_MAPPING, settings.models, settings, own)
    if settings.models_file is not None:
        return _table(_FILE, _read_file(settings.models_file), settings, own)
    return None


def _read_file(path: str) -> Any:
    example = f"for example a file with {_FILE.example}"
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        place = _shown(Path(path).absolute())
        raise SettingsError(f"CHAT_MODELS_FILE: {place} cannot be read ({type(error).__name__}); {example}") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are
        place = f": {error}" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise SettingsError(f"CHAT_MODELS_FILE: not TOML in UTF-8{place}; {example}") from None
    if list(document) != ["models"]:
        raise SettingsError(f"CHAT_MODELS_FILE: the only table at the top is [models]; {example}")
    _refuse_dots(document["models"])
    return document["models"]


def _refuse_dots(models: Any) -> None:
    """Raise SettingsError for a name with an unquoted dot, because TOML reads it as nested tables."""
    for name, given in models.items() if isinstance(models, dict) else ():
        for meant in _dotted(name, given):
            raise SettingsError(
                f"{_FILE.place('models', name)}: a name with a dot goes in quotes; "
                f"for example [{'.'.join(map(_shown, ('models', meant)))}]"
            )


def _dotted(name: str, given: Any) -> Iterator[str]:
    """Yield each dotted name below `name` that was probably meant: a table that is no field of an entry."""
    for part, inner in given.items() if isinstance(given, dict) else ():
        if part not in Entry.model_fields and isinstance(inner, dict):
            below = [*_dotted(f"{name}.{part}", inner)]
            yield from below or [f"{name}.{part}"]


def _table(source: _TableSource, given: Any, settings: Settings, own: Collection[str] | None) -> Table:
    models = _plain(given, source)
    may_be_empty = own is None or bool(own)  # it leaves only models in Python
    if not isinstance(models, dict) or not (models or may_be_empty):
        raise SettingsError(f"{source.setting}: no models; for example {source.example}")
    table = {str(name): _entry(source, str(name), fields) for name, fields in models.items()}
    for name, entry in table.items():
        for fault in _faults(name, entry, None if own is None else {*table, *own} - {name}, settings):
            raise SettingsError(f"{source.place('models', name)}{fault}")
        if name in (own or ()):
            raise SettingsError(
                f"{source.place('models', name)}: the name of a model in Python too; rename one of them"
            )
    if own is not None and not own and not any(entry.offered for entry in table.values()):
        raise SettingsError(f"{source.setting}: none of the models is offered; remove `offered = false` from one")
    return table


def _plain(value: Any, source: _TableSource, depth: int = 0) -> Any:
    """Return `value` in JSON's types; Python's other mappings, sequences and subclasses are converted."""
    if depth > MAX_DEPTH:
        raise SettingsError(f"{source.setting}: nested deeper than {MAX_DEPTH}; for example {source.example}")
    match value:
        case Mapping():
            return {_exact(name): _plain(each, source, depth + 1) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each, source, depth + 1) for each in value]
        case _:
            return _exact(value)


def _exact(value: Any) -> Any:
    """Return text or a number as an exact str, int or float, because subclasses cannot be encoded."""
    match value:
        case str():
            return str.__str__(value)  # the characters, because a subclass may override __str__
        case int() if not isinstance(value, bool):
            return int(value)
        case float():
            return float(value)
        case _:
            return value


def _entry(source: _TableSource, name: str, given: Any) -> Entry:
    try:
        return Entry.model_validate(given)
    except ValidationError as error:
        fault = first_fault(error)
    nearest = _nearest(fault.place[-1]) if fault.kind == "extra_forbidden" else None
    words = f"{fault.words}, perhaps {nearest} is meant" if nearest else fault.words
    raise SettingsError(
        f"{source.place('models', name, *fault.place)}: {words}; "
        f"docs/reference/models.md lists the fields, for example {source.example}"
    )


def _nearest(name: str) -> str | None:
    """Return the field that `name` probably stands for."""
    return _MEANT.get(name) or next(iter(difflib.get_close_matches(name, Entry.model_fields, n=1)), None)


def _faults(name: str, entry: Entry, others: Collection[str] | None, settings: Settings) -> Iterator[str]:
    """Yield the faults of an entry against the `others` and the settings, each with its field."""
    if not (name.isprintable() and 0 < len(name) <= MAX_NAME_CHARS):
        yield f": a name has 1 to {MAX_NAME_CHARS} characters that can be printed; for example fast"
    sends_key = entry.env_name is not None and entry.auth not in ("entra", "none")
    if sends_key and settings.key(entry.env_name or "") is None and needs_keys():
        yield _no_key(entry)
    if entry.upstream.is_mock and not offers(entry.model or DEFAULT_MODEL):
        yield ".model: not a model of the mock server; for example mock"
    for index, other in enumerate(entry.fallbacks if others is not None else ()):
        fault = _fallback_fault(other, entry.fallbacks[:index], sorted(others or ()))
        if fault is not None:
            yield f".fallbacks: {_shown(other)} {fault}"
    if (entry.first_event_timeout_s or 0) > settings.first_event_timeout_s:
        yield ".first_event_timeout_s: above CHAT_FIRST_EVENT_TIMEOUT_S, the limit of all attempts together"


def _fallback_fault(name: str, earlier: Sequence[str], others: Sequence[str]) -> str | None:
    """Return the fault of a fallback after `earlier` ones; `others` are the other models."""
    if name in earlier:
        return "is listed twice; each fallback is listed once"
    if name in others:
        return None
    nearest = [*difflib.get_close_matches(name, others, n=1), *others]
    return f"is not another model; for example {_shown(nearest[0]) if nearest else '[]'}"


def _no_key(entry: Entry) -> str:
    """Return the fault of a missing key.

    The variable's name is shown only if it cannot be a key. Some users write the key in its place.
    """
    field, name = ".key_env" if entry.key_env else "", entry.env_name or ""
    if name in KEYS:
        return f"{field}: {name} is not set; for example {name}=sk-… in .env, or another key_env"
    named = f" {name}" if _is_variable(name) else ""
    return f"{field}: no such variable{named}, nor line in .env; for example OPENAI_API_KEY"


def _is_variable(name: str) -> bool:
    """Return whether `name` cannot be a key: capitals with underscores, and no long part with a digit."""
    return bool(re.fullmatch(r"[A-Z]+(_[A-Z0-9]+)*", name)) and masked(name) == name


def _shown(part: object) -> str:
    """Return a part of a place, or a path, in quotes if TOML needs them."""
    return str(part) if re.fullmatch(r"[A-Za-z0-9_-]+|/[\w./-]+", str(part)) else json.dumps(str(part))


def single_entry(settings: Settings) -> tuple[str, Entry]:
    """Return the name and the entry of the one model that the settings describe without a table.

    Raises SettingsError for Azure without a deployment.
    """
    if settings.is_mock:
        name = settings.model or DEFAULT_MODEL
        return name, Entry(kind="mock", model=name)
    if settings.azure_endpoint is not None:
        return _azure_entry(settings, settings.azure_endpoint)
    url = settings.openai_base_url
    kind: KindName = "openai" if url is None or is_same_server(url, OPENAI_URL) else "compatible"
    key_env = None if settings.openai_api_key is None else "OPENAI_API_KEY"
    return settings.model or OPENAI_MODEL, Entry(kind=kind, base_url=url, key_env=key_env)


def _azure_entry(settings: Settings, endpoint: str) -> tuple[str, Entry]:
    deployment = settings.azure_deployment or settings.model
    if deployment is None:
        raise SettingsError(
            "AZURE_OPENAI_DEPLOYMENT: not set, nor is CHAT_MODEL; for example AZURE_OPENAI_DEPLOYMENT=my-deployment"
        )
    entry = Entry(
        kind="azure",
        base_url=endpoint,
        key_env=None if settings.azure_api_key is None else "AZURE_OPENAI_API_KEY",
        api_version=settings.azure_api_version,
        model=deployment,
    )
    return settings.model or deployment, entry
