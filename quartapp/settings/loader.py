"""The sources of settings: mappings, the environment and `.env`. No other module reads the environment."""

from __future__ import annotations

import difflib
import json
import os
from collections import ChainMap
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from quartapp.core.errors import SettingsError

PREFIX = "CHAT_"

# Some editors write a byte order mark first. It is not part of a name.
ENCODING: Final = "utf-8-sig"

_NO_UNICODE: Final = "half of a character, or not UTF-8"

# Decorators of `Chat` that are written as keywords.
_HOOKS: Final = frozenset({"authenticate", "prepare", "on_answer"})

# Keywords of `Chat` that are no settings, and names that other programs use for a setting.
_OF_CHAT: Final = ("name", "url_prefix", "without")
_KEYWORDS: Final = {"api_key": "openai_api_key", "base_url": "openai_base_url"}

# Messages for faults that pydantic describes in terms of Python.
_WORDS: Final = {
    "extra_forbidden": "no such field",
    "missing": "not there",
    "model_type": "should be a table",
    "dict_type": "should be a table",
    "list_type": "should be a list",
    "string_type": "should be text",
    "string_unicode": _NO_UNICODE,
}


class SettingFault(NamedTuple):
    """A fault in a value: its path of names and indexes, pydantic's error type, and a message."""

    place: tuple[str, ...]
    kind: str
    words: str


def named(name: str, default: Any, example: str | None = None, **limits: Any) -> Any:
    """Return a field with the public name `name`, in the environment and in app.config.

    Without an `example`, it is the default, or true for a switch.
    """
    example = example or ("true" if default is False else str(default))
    return Field(default, validation_alias=name, examples=[example], **limits)


class Loaded(BaseSettings):
    """Settings from mappings, the environment and `.env`. An earlier source takes precedence over a later one."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding=ENCODING,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        case_sensitive=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def load(cls, *mappings: Mapping[str, Any] | None) -> Self:
        """Return the settings from `mappings`, the environment and `.env`. An earlier source takes precedence.

        Raises SettingsError for an unknown name in a mapping and for an invalid value. Unknown names in the
        environment and `.env` are ignored, because they may belong to the host app.
        """
        try:
            file = _file_values()
            sources = [_without_empty(source or {}) for source in (*mappings, os.environ, file)]
            given = dict(ChainMap(*sources[: len(mappings)]))
            cls._refuse_unknown(given)
            return cls(**given | dict.fromkeys(cls.outranked(sources)))
        except ValidationError as error:
            fault = first_fault(error)
            raise cls.error(fault.place[0], fault.words) from None

    @classmethod
    def named_in(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries of a host app's `config` that are settings, or that start with CHAT_."""
        known = cls.names()
        return {name: value for name, value in config.items() if name in known or name.startswith(PREFIX)}

    @classmethod
    def by_field(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of `given`, whose names are fields, by the settings' public names.

        Raises SettingsError for an unknown name, for example `models_fil` with the suggestion `models_file`.
        """
        names = {field: name for name, field in cls.names().items()}
        for field in given:
            if field not in names:
                if field in _HOOKS:
                    raise SettingsError(f"{field}: a decorator of Chat; for example @chat.{field}")
                meant = _KEYWORDS.get(field) or field.lower().removeprefix(PREFIX.lower())
                nearest = difflib.get_close_matches(meant, [*names, *_OF_CHAT], n=1, cutoff=0.6)
                suggestion = f", perhaps {nearest[0]} is meant" if nearest else ""
                raise SettingsError(f"{field}: not a keyword of Chat{suggestion}; for example model='mock'")
        return {names[field]: value for field, value in given.items()}

    @classmethod
    def unknown_around(cls) -> list[str]:
        """Return a sentence for each name in the environment and `.env` that starts with CHAT_ and is no setting.

        Such a name does not stop the start, because the host app may own it. No sentence contains a value.
        """
        known = cls.names()
        names = dict.fromkeys([*os.environ, *_file_values()])
        unknown = [name for name in names if name.upper().startswith(PREFIX) and name not in known]
        return [f"{name}: not a setting of quartapp{cls._suggestion(name)}; ignored" for name in unknown]

    @classmethod
    def accepted_names(cls) -> set[str]:
        """Return the names that a mapping may contain."""
        return {*cls.names()}

    @classmethod
    def outranked(cls, sources: Iterable[Mapping[str, Any]]) -> Iterable[str]:
        """Return the names that an earlier one of `sources` disables. No source contains an empty value."""
        return ()

    @classmethod
    def error(cls, name: str, message: str) -> SettingsError:
        """Return an error with the name of the setting, `message` and the setting's example."""
        [example, *_] = cls.model_fields[cls.names()[name]].examples or [""]
        return SettingsError(f"{name}: {message}; for example {name}={example}")

    @classmethod
    def names(cls) -> dict[str, str]:
        """Return the names of the fields by the settings' public names."""
        return {str(field.validation_alias): name for name, field in cls.model_fields.items()}

    @classmethod
    def _refuse_unknown(cls, given: Iterable[str]) -> None:
        known = cls.accepted_names()
        for name in given:
            if name not in known:
                raise SettingsError(
                    f"{name}: not a setting{cls._suggestion(name)}; docs/reference/settings.md lists them all, "
                    "for example CHAT_MODEL=mock"
                )

    @classmethod
    def _suggestion(cls, name: str) -> str:
        """Return the setting with the nearest name, for example CHAT_MODEL for model; empty if none is near."""
        written = name.upper() if name.upper().startswith(PREFIX) else f"{PREFIX}{name.upper()}"
        nearest = difflib.get_close_matches(written, cls.names(), n=1, cutoff=0.8)
        return f", perhaps {nearest[0]} is meant" if nearest else ""


def is_unicode(text: str) -> bool:
    """Return True if `text` can be encoded. Python reads an environment byte that is not UTF-8 as a lone surrogate."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def secret(name: str) -> SecretStr | None:
    """Return the environment variable `name`, or that line of `.env`, or None if it is unset or empty."""
    value = os.environ.get(name) or _file_values().get(name)
    return SecretStr(value) if value else None


def first_fault(error: ValidationError) -> SettingFault:
    """Return the first fault, without the value. A fault of an unknown name comes before all others."""
    faults = error.errors(include_url=False, include_input=False)
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    kind, message = first["type"], first["msg"].removeprefix("Value error, ")
    place = (*first["loc"], *first.get("ctx", {}).get("place", ()))
    return SettingFault(tuple(map(str, place)), kind, _WORDS.get(kind, message[:1].lower() + message[1:]))


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`. Raises ValueError with the place of the fault."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON, at line {error.lineno} and column {error.colno}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def client_headers() -> list[str]:
    """Return the names of the headers in OPENAI_CUSTOM_HEADERS, which the official client adds to its requests."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip() for line in lines if ":" in line]


def client_proxy(url: str) -> SecretStr | None:
    """Return the proxy for `url` from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or None if NO_PROXY names its host."""
    parts = urlsplit(url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return SecretStr(proxy if "://" in proxy else f"http://{proxy}")


def _check_text(text: str) -> str:
    if not is_unicode(text):
        raise ValueError(_NO_UNICODE)
    return text


def _file_values() -> Mapping[str, str | None]:
    try:
        return dotenv_values(".env", interpolate=False, encoding=ENCODING)
    except UnicodeDecodeError:
        raise SettingsError(".env: not UTF-8; for example CHAT_MODEL=mock") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return names


def _without_empty(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if value is not None and value != ""}


#: Text that can be encoded in UTF-8.
Text = Annotated[str, AfterValidator(_check_text)]
