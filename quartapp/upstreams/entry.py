"""One entry of the table of models: its server, its parameters and its limits.

A test checks that docs/reference/models.md lists these fields.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from quartapp.core.request import JsonObject
from quartapp.settings.loader import Text, is_unicode
from quartapp.settings.settings import DAY_S
from quartapp.upstreams.common.history import Field as HistoryField
from quartapp.upstreams.http.addresses import UpstreamUrl
from quartapp.upstreams.kinds import KINDS, Auth, KindName, OutputLimit, UpstreamKind

MAX_NAME_CHARS = 200
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Seconds = Annotated[float, Field(gt=0, le=DAY_S)]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2

# Endings of the names of headers that carry a key, and beginnings of keys.
_KEY_NAME: Final = re.compile(r"(auth|authorization|cookie|credentials?|key|password|secret|token)$", re.IGNORECASE)
_KEY_VALUE: Final = re.compile(r"\s*((bearer|basic)\s|sk-)", re.IGNORECASE)

# Headers of the connection and of the body. The transport sets them.
_OUR_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# Fields that this package sets; an entry cannot override them.
_OUR_PARAMS: Final = frozenset({"model", "messages", "input", "stream", "n"})

# Python's default limit for converting an int to text.
_MAX_DIGITS: Final = 4300
_MAX_INT: Final = 10**_MAX_DIGITS

_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return `headers` if HTTP can carry them. Raises PydanticCustomError with the place of the fault."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise _fault("the name of a header has letters, digits and hyphens")  # not shown, because it may hold a key
        if name.lower() in _OUR_HEADERS:
            raise _fault("belongs to the connection, and cannot be set", name)
        if _KEY_NAME.search(name) or _KEY_VALUE.match(value):
            raise _fault("carries a key, which goes into the variable that key_env names", name)
        if not (value.isascii() and value.isprintable()):
            raise _fault("the value of a header is plain text of one line", name)
    if len({name.lower() for name in headers}) < len(headers):
        raise _fault("the same header twice")
    return headers


def _check_params(params: JsonObject) -> JsonObject:
    """Return `params` if JSON can carry them. Raises PydanticCustomError with the place of the fault."""
    if not _OUR_PARAMS.isdisjoint(params):
        raise _fault("model, messages, input, stream and n are not parameters")
    for fault in _json_faults(params, ()):
        raise fault
    for name in _LIMITS:
        limit = params.get(name, 1)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise _fault("a limit of tokens is a whole number, and at least 1", name)
    return params


def _check_allow(names: list[str]) -> list[str]:
    """Return `names` if clients may send these parameters. Raises PydanticCustomError with the place of the fault."""
    for index, name in enumerate(names):
        if name in _OUR_PARAMS or name in _LIMITS or name == "stream_options":
            raise _fault("a parameter of the chat itself, which clients send in its documented form", str(index))
    return names


def _json_faults(value: Any, place: tuple[str, ...]) -> Iterator[PydanticCustomError]:
    match value:
        case dict() if not all(isinstance(name, str) and is_unicode(name) for name in value):
            yield _fault("a name that is not text in Unicode", *place)  # not shown, because it may hold a key
        case dict():
            for name, each in value.items():
                yield from _json_faults(each, (*place, name))
        case list():
            for index, each in enumerate(value):
                yield from _json_faults(each, (*place, str(index)))
        case _:
            words = _value_fault(value)
            if words is not None:
                yield _fault(words, *place)


def _value_fault(value: Any) -> str | None:
    match value:
        case float() if not math.isfinite(value):
            return "not a finite number"
        case int() if abs(value) >= _MAX_INT:
            return f"a number of more than {_MAX_DIGITS} digits"
        case str() if not is_unicode(value):
            return "half of a character"
        case None | str() | bool() | int() | float():
            return None
        case _:
            return "not a value of JSON, a date or a time goes in quotes"


def _fault(words: str, *place: str) -> PydanticCustomError:
    """Return a fault at a place below the checked field."""
    return PydanticCustomError("unsendable", "{words}", {"words": words, "place": place})


class Entry(BaseModel):
    """One model: its server, the parameters of its requests, its limits and its fallbacks."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: KindName = Field(description="The API of its server.")
    base_url: UpstreamUrl | None = Field(
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
        default="https://cognitiveservices.azure.com/.default", description="Scope of the token of Entra ID."
    )
    model: Name | None = Field(
        default=None, description="Its name at its server, for Azure the deployment. Unset: its name in the table."
    )
    system_prompt: Text | None = Field(
        default=None, description="Goes first in every conversation; unset: CHAT_SYSTEM_PROMPT."
    )
    params: Annotated[dict[str, Any], AfterValidator(_check_params)] = Field(
        default={}, description="Parameters of each request; those of the client override them."
    )
    allow: Annotated[list[Name], AfterValidator(_check_allow)] = Field(
        default=[], description="Parameters beyond OpenAI's that clients may send to it, for example top_k."
    )
    drop_params: list[Name] = Field(default=[], description="Parameters that the model refuses; never sent.")
    max_output_tokens: Annotated[int, Field(ge=1, le=2**20)] | None = Field(
        default=None,
        description="Most tokens of an answer. A request for more is refused. It is sent if a client sets no limit. "
        "Unset: CHAT_MAX_OUTPUT_TOKENS.",
    )
    output_limit: OutputLimit | None = Field(
        default=None,
        description="Its name for that limit. Unset: max_completion_tokens for OpenAI and Azure, max_tokens for "
        "others and for Azure's dated API before 2024-12.",
    )
    think_tags: Literal["leading", "open", "none"] = Field(
        default="leading",
        description="Where text in <think> tags is reasoning: in a block at the start; in an answer that starts inside "
        "a block; nowhere.",
    )
    returns: list[HistoryField] | None = Field(
        default=None,
        description="State of earlier answers that its server gets back although it has no mark. "
        "Unset: state, if no other server may attach any; for DeepSeek and Moonshot reasoning_content too.",
    )
    headers: Annotated[dict[str, str], AfterValidator(_check_headers)] = Field(
        default={}, description="Headers to send to its server; never a key."
    )
    fallbacks: list[Name] = Field(
        default=[],
        description="Its fallbacks: models that are called in this order if it fails before the first token.",
    )
    retries: Annotated[int, Field(ge=0, le=10)] | None = Field(
        default=None, description="How often it is retried, before its fallbacks. Unset: CHAT_RETRIES; mock: 0."
    )
    first_event_timeout_s: Seconds | None = Field(
        default=None,
        description="Time for its first event before the next is tried. Unset: CHAT_FIRST_EVENT_TIMEOUT_S for all.",
    )
    idle_timeout_s: Seconds | None = Field(default=None, description="As CHAT_IDLE_TIMEOUT_S.")
    answer_timeout_s: Seconds | None = Field(default=None, description="As CHAT_ANSWER_TIMEOUT_S.")
    offered: bool = Field(default=True, description="Whether clients may name it; if not, it is only a fallback.")

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.base_url is None and self.upstream.base_url is None:
            raise ValueError(f"{self.kind} needs a base_url")
        if self.upstream.is_mock and (self.base_url or self.key_env or self.auth):
            raise ValueError("the mock model has no server and no key")
        if self.api_version and not self.upstream.has_dated_api:
            raise ValueError("api_version is for Azure only")
        if self.auth in ("bearer", "api-key") and self.env_name is None:
            raise ValueError("auth sends a key, and key_env is unset")
        if fault := self.upstream.fault_in_params(self.params):
            sentence, *place = fault
            raise _fault(sentence, "params", *place)
        return self

    @property
    def upstream(self) -> UpstreamKind:
        return KINDS[self.kind]

    @property
    def url(self) -> str:
        """Return the URL of its server's API, without the path of a request."""
        return self.upstream.url(self.base_url, self.api_version)

    @property
    def env_name(self) -> str | None:
        """Return the name of the variable that holds its key.

        OPENAI_API_KEY is the default for OpenAI's own server only, so that no other server receives that key.
        """
        return self.key_env or (self.upstream.key_env if self.upstream.is_default(self.base_url) else None)
