"""One entry of the table of models: its server, its parameters and its limits.

A test checks that docs/models.md lists these fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from quartapp.settings.loader import Text
from quartapp.settings.settings import DAY_S
from quartapp.settings.urls import is_same_server
from quartapp.upstreams.common.history import Field as HistoryField
from quartapp.upstreams.http.addresses import UpstreamUrl
from quartapp.upstreams.sendable import check_allow, check_headers, check_params, check_response_params

OPENAI_URL = "https://api.openai.com/v1"

Kind = Literal["openai", "azure", "responses", "compatible", "mock"]
Auth = Literal["bearer", "api-key", "entra", "none"]
MAX_NAME_CHARS = 200
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Seconds = Annotated[float, Field(gt=0, le=DAY_S)]


class Entry(BaseModel):
    """One model: its server, the parameters of its requests, its limits and its fallbacks."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Kind = Field(description="What its server speaks.")
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
        default="https://cognitiveservices.azure.com/.default", description="What a token of Entra ID is asked for."
    )
    model: Name | None = Field(
        default=None, description="Its name at its server, for Azure the deployment. Unset: the name it is offered by."
    )
    system_prompt: Text | None = Field(
        default=None, description="Goes first in every conversation; unset: CHAT_SYSTEM_PROMPT."
    )
    params: Annotated[dict[str, Any], AfterValidator(check_params)] = Field(
        default={}, description="Parameters that are sent unless a client says otherwise."
    )
    allow: Annotated[list[Name], AfterValidator(check_allow)] = Field(
        default=[], description="Parameters beyond OpenAI's that clients may send to it, for example top_k."
    )
    drop_params: list[Name] = Field(default=[], description="Parameters that the model refuses; never sent.")
    max_output_tokens: Annotated[int, Field(ge=1, le=2**20)] | None = Field(
        default=None,
        description="Most tokens of an answer; more are refused, and it is sent where a client names no limit. "
        "Unset: CHAT_MAX_OUTPUT_TOKENS.",
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
    returns: list[HistoryField] | None = Field(
        default=None,
        description="What of earlier answers its server gets back though nothing shows that they are its own. "
        "Unset: state, if no other server may attach any; for DeepSeek and Moonshot reasoning_content too.",
    )
    headers: Annotated[dict[str, str], AfterValidator(check_headers)] = Field(
        default={}, description="Headers to send to its server; never a key."
    )
    fallbacks: list[Name] = Field(
        default=[], description="Models that stand in for it, in order, before the first token."
    )
    retries: Annotated[int, Field(ge=0, le=10)] | None = Field(
        default=None, description="How often it is asked again, before its stand-ins. Unset: CHAT_RETRIES; mock: 0."
    )
    first_event_timeout_s: Seconds | None = Field(
        default=None,
        description="Time for its first event before the next is tried. Unset: CHAT_FIRST_EVENT_TIMEOUT_S for all.",
    )
    idle_timeout_s: Seconds | None = Field(default=None, description="As CHAT_IDLE_TIMEOUT_S.")
    answer_timeout_s: Seconds | None = Field(default=None, description="As CHAT_ANSWER_TIMEOUT_S.")
    offered: bool = Field(default=True, description="Whether clients may name it; if not, it only stands in.")

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.kind in ("azure", "compatible") and self.base_url is None:
            raise ValueError(f"{self.kind} needs a base_url")
        if self.kind == "mock" and (self.base_url or self.key_env or self.auth):
            raise ValueError("the mock model has no server and no key")
        if self.api_version and self.kind != "azure":
            raise ValueError("api_version is Azure's alone")
        if self.auth in ("bearer", "api-key") and self.env_name is None:
            raise ValueError("a key is to be sent, and key_env names none")
        if self.kind == "responses":
            check_response_params(self.params)
        return self

    @property
    def env_name(self) -> str | None:
        """The name of the variable that holds its key.

        OPENAI_API_KEY is the default for OpenAI's own server only, so that no other server receives that key.
        """
        speaks_openai = self.kind in ("openai", "responses")
        is_openai = speaks_openai and (self.base_url is None or is_same_server(self.base_url, OPENAI_URL))
        return self.key_env or ("OPENAI_API_KEY" if is_openai else None)
