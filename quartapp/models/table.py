"""The models a project offers: what an entry of its table may say, and the table that the settings make.

docs/models.md is held to these fields by a test.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from quartapp.embedded import DEFAULT_MODEL, offers
from quartapp.environment import secret
from quartapp.errors import SettingsError
from quartapp.settings import DAY_S, HTTP_URL, Settings

OPENAI_MODEL = "gpt-5.4-mini"
OPENAI_URL = "https://api.openai.com/v1"

Kind = Literal["openai", "azure", "responses", "compatible", "embedded"]
Auth = Literal["bearer", "api-key", "entra", "none"]
MAX_NAME_CHARS = 200
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Seconds = Annotated[float, Field(gt=0, le=DAY_S)]

Table = Mapping[str, "Entry"]

# Headers that hold the key, or belong to the connection.
_OUR_HEADERS = frozenset(
    {
        "authorization",
        "api-key",
        "content-type",
        "content-length",
        "accept-encoding",
        "transfer-encoding",
        "host",
        "cookie",
    }
)
# What an answer is made of; no entry can say otherwise.
_OUR_PARAMS = frozenset({"model", "messages", "input", "stream", "n"})

_EXAMPLE = '[models.fast] kind = "openai"'


class Entry(BaseModel):
    """One model: its server, what is sent to it, and what is done when it fails."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Kind = Field(description="What its server speaks.")
    base_url: Annotated[str, Field(pattern=HTTP_URL)] | None = Field(
        default=None, description="Base URL of its server, for Azure the resource's endpoint. Unset: OpenAI's."
    )
    key_env: Name | None = Field(
        default=None,
        description="Name of the environment variable, or of the line in .env, that holds its key. "
        "Unset: OPENAI_API_KEY for OpenAI's own server, Entra ID for Azure, no key for others.",
    )
    auth: Auth | None = Field(
        default=None,
        description="How the key is sent: as Authorization: Bearer, as api-key, not at all, or a token of Entra ID in "
        "its place. Unset: bearer; for Azure api-key, or entra without a key.",
    )
    api_version: Name | None = Field(default=None, description="Azure's dated API; unset: its v1 API.")
    entra_scope: Name = Field(
        default="https://cognitiveservices.azure.com/.default", description="What a token of Entra ID is asked for."
    )
    model: Name | None = Field(
        default=None, description="Its name at its server, for Azure the deployment. Unset: the name it is offered by."
    )
    system_prompt: str | None = Field(
        default=None, description="Goes first in every conversation; unset: CHAT_SYSTEM_PROMPT."
    )
    params: dict[str, Any] = Field(default={}, description="Parameters that are sent unless a client says otherwise.")
    drop_params: list[Name] = Field(default=[], description="Parameters that the model refuses; never sent.")
    max_output_tokens: Annotated[int, Field(ge=1, le=2**20)] | None = Field(
        default=None,
        description="Most tokens of an answer; more are refused, and it is sent where a client names no limit.",
    )
    output_limit: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        default=None,
        description="What it calls that limit. Unset: max_completion_tokens for OpenAI and Azure, max_tokens for "
        "others and for Azure's dated API before 2024-12.",
    )
    think_tags: Literal["leading", "open", "none"] = Field(
        default="leading",
        description="Whether text in <think> tags is reasoning: a block that opens the answer; an answer that begins "
        "inside one; no.",
    )
    headers: dict[str, str] = Field(default={}, description="Headers to send to its server; never a key.")
    fallbacks: list[Name] = Field(
        default=[], description="Models that stand in for it, in order, before the first token."
    )
    retries: Annotated[int, Field(ge=0, le=10)] | None = Field(
        default=None, description="How often it is asked again, before its stand-ins. Unset: CHAT_RETRIES; embedded: 0."
    )
    first_event_timeout_s: Seconds | None = Field(
        default=None,
        description="Time for its first event before the next is tried. Unset: CHAT_FIRST_EVENT_TIMEOUT_S for all.",
    )
    idle_timeout_s: Seconds | None = Field(default=None, description="As CHAT_IDLE_TIMEOUT_S.")
    answer_timeout_s: Seconds | None = Field(default=None, description="As CHAT_ANSWER_TIMEOUT_S.")
    offered: bool = Field(default=True, description="Whether clients may name it; if not, it only stands in.")

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        lines = [f"{name}{value}" for name, value in headers.items()]
        if not all(line.isascii() and line.isprintable() for line in lines) or not all(headers):
            raise ValueError("names and values are plain text of one line")
        if not _OUR_HEADERS.isdisjoint(map(str.lower, headers)):
            raise ValueError("the key goes into key_env, and the connection's own headers are not to be set")
        return headers

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        if not _OUR_PARAMS.isdisjoint(params):
            raise ValueError("model, messages, input, stream and n are not parameters")
        return params

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.kind in ("azure", "compatible") and self.base_url is None:
            raise ValueError(f"{self.kind} needs a base_url")
        if self.kind == "embedded" and (self.base_url or self.key_env or self.auth):
            raise ValueError("the embedded model has no server and no key")
        if self.api_version and self.kind != "azure":
            raise ValueError("api_version is Azure's alone")
        if self.auth in ("bearer", "api-key") and self.env_name is None:
            raise ValueError("a key is to be sent, and key_env names none")
        return self

    @property
    def env_name(self) -> str | None:
        """Where its key is: OpenAI's own server has a usual name, and no other server is ever sent that key unasked."""
        is_openai = self.kind in ("openai", "responses") and self.base_url in (None, OPENAI_URL)
        return self.key_env or ("OPENAI_API_KEY" if is_openai else None)


def read_table(settings: Settings) -> Table | None:
    """The models that CHAT_MODELS or CHAT_MODELS_FILE lists, by name and in their order; None if neither is set.

    Raises SettingsError with the place of the fault, and nothing of the value.
    """
    if settings.models is not None and settings.models_file is not None:
        raise SettingsError("CHAT_MODELS_FILE: CHAT_MODELS is set too; use one of them")
    if settings.models is not None:
        return _table("CHAT_MODELS", settings.models, settings)
    if settings.models_file is not None:
        return _table("CHAT_MODELS_FILE", _read_file(settings.models_file), settings)
    return None


def _read_file(path: str) -> Any:
    example = f"for example a file that says {_EXAMPLE}"
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"CHAT_MODELS_FILE: cannot be read ({type(error).__name__}); {example}") from None
    except ValueError as error:  # TOML's and UTF-8's errors are; the former tell the place alone
        place = f": {error}" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise SettingsError(f"CHAT_MODELS_FILE: not TOML in UTF-8{place}; {example}") from None
    if list(document) != ["models"]:
        raise SettingsError(f"CHAT_MODELS_FILE: everything in it is below [models]; {example}")
    return document["models"]


def _table(source: str, models: Any, settings: Settings) -> Table:
    if not isinstance(models, Mapping) or not models:
        raise SettingsError(f"{source}: no models; for example {_EXAMPLE}")
    table = {str(name): _entry(f"{source}: models.{name}", given) for name, given in models.items()}
    for name, entry in table.items():
        for fault in _faults(name, entry, table, settings):
            raise SettingsError(f"{source}: models.{name}{fault}")
    if not any(entry.offered for entry in table.values()):
        raise SettingsError(f"{source}: none of the models is offered; take offered = false away from one")
    return table


def _faults(name: str, entry: Entry, table: Table, settings: Settings) -> Iterator[str]:
    """What is wrong with an entry among the others and the settings, each fault with the field that is at fault."""
    if not (name.isprintable() and 0 < len(name) <= MAX_NAME_CHARS):
        yield f": a name has 1 to {MAX_NAME_CHARS} characters that can be printed; for example models.fast"
    if entry.env_name is not None and entry.auth not in ("entra", "none") and secret(entry.env_name) is None:
        yield ".key_env: no such variable, nor line in .env; for example OPENAI_API_KEY"
    if entry.kind == "embedded" and not offers(entry.model or DEFAULT_MODEL):
        yield ".model: not one of the embedded server; for example embedded"
    others = [other for other in dict.fromkeys(entry.fallbacks) if other in table and other != name]
    if others != entry.fallbacks:
        yield ".fallbacks: each is the name of another model of the table, once"
    if (entry.first_event_timeout_s or 0) > settings.first_event_timeout_s:
        yield ".first_event_timeout_s: over CHAT_FIRST_EVENT_TIMEOUT_S, which is for all attempts together"


def _entry(place: str, given: Any) -> Entry:
    try:
        return Entry.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join([place, *map(str, first["loc"])])
        message = first["msg"].removeprefix("Value error, ").replace("Input", "input").replace("Extra", "extra")
        raise SettingsError(f"{where}: {message}; docs/models.md lists the fields, for example {_EXAMPLE}") from None


def single_entry(settings: Settings) -> tuple[str, Entry]:
    """The one model that the settings name, and the name it is offered by, where there is no table."""
    if settings.is_embedded:
        name = settings.model or DEFAULT_MODEL
        return name, Entry(kind="embedded", model=name)
    if settings.azure_endpoint is not None:
        model = settings.azure_deployment or settings.model or OPENAI_MODEL
        azure = Entry(
            kind="azure", base_url=settings.azure_endpoint, api_version=settings.azure_api_version, model=model
        )
        return settings.model or model, azure
    kind: Kind = "openai" if settings.openai_base_url in (None, OPENAI_URL) else "compatible"
    return settings.model or OPENAI_MODEL, Entry(kind=kind, base_url=settings.openai_base_url)
