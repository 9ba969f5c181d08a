"""Every setting: its name, default, unit and limits in one place, and the only reader of the environment.

What counts, first to last: an argument, `app.config["CHAT_…"]`, the environment, `.env`. An empty value means unset.
docs/settings.md and .env.example are held to these classes by a test.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from quartapp.errors import SettingsError

PREFIX = "CHAT_"

# As browsers write an origin: without the port that its scheme has anyway.
_ORIGIN = re.compile(r"(?!http://.*:80$|https://.*:443$)https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[1-9]\d{0,4})?")

DAY_S = 86_400
MIB = 2**20


def _named(name: str, default: Any, example: str, description: str, **limits: Any) -> Any:
    """A field known by exactly `name`, in the environment as in app.config."""
    return Field(default, validation_alias=AliasChoices(name), examples=[example], description=description, **limits)


class _Loaded(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        case_sensitive=True,
    )

    @classmethod
    def load(cls, *mappings: Mapping[str, Any] | None) -> Self:
        """The settings as `mappings`, the environment and `.env` give them; an earlier mapping counts before a later.

        Raises SettingsError for an unknown name in a mapping, an unknown CHAT_ name anywhere, and a value that does
        not fit.
        """
        given = _merge(mappings)
        try:
            _refuse_unknown(given, [*os.environ, *dotenv_values(".env", interpolate=False)], cls)
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(_fault(cls, error)) from None
        except UnicodeDecodeError:
            raise SettingsError(".env: not UTF-8; for example CHAT_MODEL=embedded") from None

    @classmethod
    def named_in(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of a host's `config` that are ours: names of settings, and what looks like one."""
        known = cls.names()
        return {name: value for name, value in config.items() if name in known or name.startswith(PREFIX)}

    @classmethod
    def names(cls) -> dict[str, str]:
        """Each setting's public name and the field that holds it."""
        return {_public_name(cls, field): field for field in cls.model_fields}


class Settings(_Loaded):
    """What a chat blueprint runs by."""

    openai_api_key: SecretStr | None = _named(
        "OPENAI_API_KEY", None, "sk-…", "Key of the model's server. Without key and base URL: the embedded model."
    )
    openai_base_url: str | None = _named(
        "OPENAI_BASE_URL",
        None,
        "http://127.0.0.1:11434/v1",
        "Base URL of an OpenAI-compatible server; unset means OpenAI's.",
        pattern=r"^https?://[^\s/]+\S*$",
    )
    model: str | None = _named(
        "CHAT_MODEL",
        None,
        "gpt-5.4-mini",
        "The model's name, at its server and for clients. Unset: gpt-5.4-mini, or embedded without a server.",
        max_length=200,
    )
    system_prompt: str | None = _named(
        "CHAT_SYSTEM_PROMPT", None, "Answer briefly.", "Goes first in every conversation; clients cannot replace it."
    )
    allow_system_role: bool = _named(
        "CHAT_ALLOW_SYSTEM_ROLE", False, "true", "Whether clients may send messages with the role system or developer."
    )
    origins: Annotated[tuple[str, ...], NoDecode] = _named(
        "CHAT_ORIGINS",
        (),
        "http://localhost:5173",
        "Origins of other pages that may read answers, separated by commas; exact, none by default.",
    )
    max_body_bytes: int = _named(
        "CHAT_MAX_BODY_BYTES", 262_144, "262144", "Largest request body.", ge=1024, le=64 * MIB
    )
    max_json_depth: int = _named("CHAT_MAX_JSON_DEPTH", 32, "32", "Deepest nesting of a request's JSON.", ge=4, le=100)
    max_json_values: int = _named(
        "CHAT_MAX_JSON_VALUES", 20_000, "20000", "Most values in a request's JSON together.", ge=100, le=1_000_000
    )
    max_messages: int = _named("CHAT_MAX_MESSAGES", 200, "200", "Most messages of a request.", ge=1, le=10_000)
    max_prompt_chars: int = _named(
        "CHAT_MAX_PROMPT_CHARS", 100_000, "100000", "Most characters of a request's messages together.", ge=1, le=2**24
    )
    max_output_tokens: int = _named(
        "CHAT_MAX_OUTPUT_TOKENS", 32_768, "4096", "Largest max_tokens a client may ask for.", ge=1, le=2**20
    )
    max_choices: int = _named("CHAT_MAX_CHOICES", 4, "1", "Largest n a client of /v1 may ask for.", ge=1, le=128)
    max_open_streams: int = _named(
        "CHAT_MAX_OPEN_STREAMS", 2000, "2000", "Answers open at once; one more is refused with 503.", ge=1, le=100_000
    )
    max_buffered_bytes: int = _named(
        "CHAT_MAX_BUFFERED_BYTES",
        262_144,
        "262144",
        "Upstream bytes held for one slow reader before the upstream is read no further.",
        ge=1024,
        le=64 * MIB,
    )
    max_upstream_line_bytes: int = _named(
        "CHAT_MAX_UPSTREAM_LINE_BYTES", MIB, "1048576", "Longest line an upstream may send.", ge=1024, le=64 * MIB
    )
    max_answer_bytes: int = _named(
        "CHAT_MAX_ANSWER_BYTES",
        64 * MIB,
        "67108864",
        "Most bytes of one answer as its upstream sends it; a token weighs about 300.",
        ge=1024,
        le=1024 * MIB,
    )
    connect_timeout_s: float = _named(
        "CHAT_CONNECT_TIMEOUT_S", 5, "5", "Time to connect to the model's server.", gt=0, le=300
    )
    body_timeout_s: float = _named(
        "CHAT_BODY_TIMEOUT_S", 10, "10", "Time for a request's body to arrive.", gt=0, le=3600
    )
    gate_s: float = _named(
        "CHAT_GATE_S",
        10,
        "10",
        "How long a true status is waited for; then formats with room for it open the stream and ping.",
        gt=0,
        le=3600,
    )
    keep_alive_s: float = _named(
        "CHAT_KEEP_ALIVE_S", 15, "15", "A stream that said nothing for so long gets a ping.", gt=0, le=3600
    )
    first_event_timeout_s: float = _named(
        "CHAT_FIRST_EVENT_TIMEOUT_S", 180, "180", "Time for the model's first event.", gt=0, le=DAY_S
    )
    idle_timeout_s: float = _named(
        "CHAT_IDLE_TIMEOUT_S", 60, "60", "Silence of the upstream that ends an answer.", gt=0, le=DAY_S
    )
    answer_timeout_s: float = _named("CHAT_ANSWER_TIMEOUT_S", 900, "900", "Time for a whole answer.", gt=0, le=DAY_S)
    write_timeout_s: float = _named(
        "CHAT_WRITE_TIMEOUT_S", 30, "30", "A reader that takes nothing for so long is given up.", gt=0, le=3600
    )
    embedded_tokens_per_s: float = _named(
        "CHAT_EMBEDDED_TOKENS_PER_S", 40, "0", "Pace of the embedded model; 0 is as fast as it can.", ge=0, le=100_000
    )
    obey_client_environment: bool = _named(
        "CHAT_OBEY_CLIENT_ENVIRONMENT",
        False,
        "true",
        "Whether OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_CUSTOM_HEADERS and HTTP_PROXY count for the model's server.",
    )
    log_upstream_messages: bool = _named(
        "CHAT_LOG_UPSTREAM_MESSAGES",
        False,
        "true",
        "Whether the log holds what an upstream said of its errors, secrets masked; it may quote a prompt.",
    )

    @field_validator("origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        origins = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(origins, list | tuple) or not all(_ORIGIN.fullmatch(str(origin)) for origin in origins):
            raise ValueError("each is a scheme, a host and, if it is not the usual one, a port; no path, no star")
        return tuple(map(str, origins))

    @property
    def is_embedded(self) -> bool:
        """Neither a key nor a server is set."""
        return self.openai_api_key is None and self.openai_base_url is None


class ServerSettings(_Loaded):
    """Where `python -m quartapp` and gunicorn.conf.py listen; a host project's own HOST and PORT are not looked at."""

    host: str = _named("HOST", "127.0.0.1", "0.0.0.0", "Address to listen on.")
    port: int = _named("PORT", 8000, "8000", "Port to listen on.", ge=1, le=65_535)


def client_headers() -> list[str]:
    """Names of the headers the official client would add on the environment's word (OPENAI_CUSTOM_HEADERS)."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    return [line.partition(":")[0].strip() for line in lines if ":" in line]


def _merge(mappings: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for mapping in mappings:
        for name, value in (mapping or {}).items():
            if value is not None and value != "":
                merged.setdefault(name, value)
    return merged


def _refuse_unknown(given: Iterable[str], around: Iterable[str], settings: type[_Loaded]) -> None:
    known = Settings.names()
    unknown = [name for name in given if name not in known and name not in settings.names()]
    unknown += [name for name in around if name.upper().startswith(PREFIX) and name not in known]
    if unknown:
        raise SettingsError(
            f"{unknown[0]}: not a setting; docs/settings.md lists them all, for example CHAT_MODEL=embedded"
        )


def _public_name(settings: type[BaseSettings], field: str) -> str:
    alias = settings.model_fields[field].validation_alias
    if not isinstance(alias, AliasChoices):
        raise TypeError(f"{field} has no public name")
    return str(alias.choices[0])


def _fault(settings: type[BaseSettings], error: ValidationError) -> str:
    """The first fault in words, without pydantic's echo of the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = str(first["loc"][0])
    field = settings.model_fields[{**Settings.names(), **ServerSettings.names()}.get(name, name)]
    return f"{name}: {first['msg'].lower()}; for example {name}={(field.examples or [''])[0]}"


def user_timeout_ms(settings: Settings) -> int:
    """TCP_USER_TIMEOUT for a listening socket, inherited by its connections: how long the kernel keeps trying to send
    to a peer that takes nothing. Later than `write_timeout_s`, so that the answer itself gives its reader up first.
    """
    return round((settings.write_timeout_s + 3) * 1000)
