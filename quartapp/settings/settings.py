"""The settings of a chat with their names, defaults, units and limits. Each docstring is the setting's description.

The sources in order of precedence: an argument, `app.config["CHAT_…"]`, the environment, `.env`. An empty value means
unset. A test compares docs/reference/settings.md and .env.example with this class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import SecretStr, field_validator
from pydantic_settings import NoDecode

from quartapp.core.errors import SettingsError
from quartapp.settings.loader import Loaded, Text, json_object, named, secret
from quartapp.settings.server import ServerSettings
from quartapp.settings.urls import ServerUrl, is_server

# An origin as browsers send it: without the default port of its scheme.
_ORIGIN = re.compile(r"(?!http://.*:80$|https://.*:443$)https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[1-9]\d{0,4})?")

# Characters that are valid in a header: no white space, for example no line feed at the end of a file.
_KEY = re.compile(r"[!-~]+")

# The settings that contain a key, and their fields.
KEYS = {"OPENAI_API_KEY": "openai_api_key", "AZURE_OPENAI_API_KEY": "azure_api_key"}

# The settings with a table of models, and all settings that name models.
_TABLES = frozenset({"CHAT_MODELS", "CHAT_MODELS_FILE"})
_MODELS = _TABLES | {"CHAT_MODEL"}

DAY_S = 86_400
MIB = 2**20


class Settings(Loaded):
    """The settings of a chat blueprint. A field has the name of its setting without `CHAT_`, for example
    `max_messages`.

    >>> Settings.load({"CHAT_MAX_MESSAGES": 20}).max_messages
    20
    """

    openai_api_key: SecretStr | None = named("OPENAI_API_KEY", None, "sk-…")
    """Key of the model's server. Without key and base URL: the mock model."""
    openai_base_url: ServerUrl | None = named("OPENAI_BASE_URL", None, "http://127.0.0.1:11434/v1")
    """Base URL of an OpenAI-compatible server. Unset: OpenAI's."""
    azure_endpoint: ServerUrl | None = named("AZURE_OPENAI_ENDPOINT", None, "https://example.openai.azure.com")
    """Endpoint of an Azure OpenAI resource. It takes precedence over OPENAI_API_KEY and OPENAI_BASE_URL."""
    azure_api_key: SecretStr | None = named("AZURE_OPENAI_API_KEY", None, "0123…")
    """Key of that resource. Unset: Entra ID, with azure-identity."""
    azure_api_version: str | None = named("AZURE_OPENAI_API_VERSION", None, "2024-10-21", max_length=200)
    """Azure's dated API. Unset: its v1 API."""
    azure_deployment: str | None = named("AZURE_OPENAI_DEPLOYMENT", None, "my-deployment", max_length=200)
    """Deployment of the model. Unset: CHAT_MODEL."""
    models: Annotated[dict[str, Any] | None, NoDecode] = named(
        "CHAT_MODELS", None, '{"fast": {"kind": "openai", "model": "gpt-5.4-mini"}}'
    )
    """Models by name, in place of one model. In the environment: JSON. docs/reference/models.md lists the fields."""
    models_file: str | None = named("CHAT_MODELS_FILE", None, "models.toml")
    """TOML file with models by name, each a table [models.name]."""
    model: str | None = named("CHAT_MODEL", None, "gpt-5.4-mini", max_length=200)
    """Name of the model, at its server and for clients. With several models: the default model. Unset: gpt-5.4-mini,
    or mock without a server, or the first of several models.
    """
    system_prompt: Text | None = named("CHAT_SYSTEM_PROMPT", None, "Answer briefly.")
    """First message of every conversation. Clients cannot replace it."""
    allow_system_role: bool = named("CHAT_ALLOW_SYSTEM_ROLE", False)
    """Clients may send messages with the role system or developer."""
    origins: Annotated[tuple[str, ...], NoDecode] = named("CHAT_ORIGINS", (), "http://localhost:5173")
    """Origins of other pages that may read answers, exact, separated by commas. None by default."""
    max_body_bytes: int = named("CHAT_MAX_BODY_BYTES", 262_144, ge=1024, le=64 * MIB)
    """Largest request body."""
    max_json_depth: int = named("CHAT_MAX_JSON_DEPTH", 32, ge=4, le=100)
    """Deepest nesting of a request's JSON."""
    max_json_values: int = named("CHAT_MAX_JSON_VALUES", 20_000, ge=100, le=1_000_000)
    """Largest number of values in a request's JSON."""
    max_messages: int = named("CHAT_MAX_MESSAGES", 200, ge=1, le=10_000)
    """Largest number of messages."""
    max_prompt_chars: int = named("CHAT_MAX_PROMPT_CHARS", 100_000, ge=1, le=2**24)
    """Largest number of characters of the messages."""
    max_attachments: int = named("CHAT_MAX_ATTACHMENTS", 16, "4", ge=0, le=1000)
    """Images, files and sounds of a request. 0 allows none."""
    max_attachment_bytes: int = named("CHAT_MAX_ATTACHMENT_BYTES", 5 * MIB, ge=1, le=64 * MIB)
    """Largest image, file or sound, decoded. CHAT_MAX_BODY_BYTES limits it too, encoded."""
    allow_remote_urls: bool = named("CHAT_ALLOW_REMOTE_URLS", False)
    """An image may be an http or https URL. The model's server fetches it."""
    allow_file_ids: bool = named("CHAT_ALLOW_FILE_IDS", False)
    """A file may be its id at the model's server. Any client can then use the files of other clients."""
    max_output_tokens: int = named("CHAT_MAX_OUTPUT_TOKENS", 32_768, "4096", ge=1, le=2**20)
    """Largest number of tokens in an answer. If set, it is sent when a client sends no limit."""
    max_choices: int = named("CHAT_MAX_CHOICES", 4, "1", ge=1, le=128)
    """Largest n in a request to /v1."""
    max_tool_steps: int = named("CHAT_MAX_TOOL_STEPS", 10, "5", ge=2, le=1000)
    """Largest number of calls of the model in one answer with tools in Python."""
    max_tool_calls: int = named("CHAT_MAX_TOOL_CALLS", 64, "20", ge=1, le=10_000)
    """Largest number of tools in Python that one answer calls. More calls get an error as their result."""
    max_tool_result_chars: int = named("CHAT_MAX_TOOL_RESULT_CHARS", 20_000, ge=100, le=2**24)
    """Longest result of a tool in Python. A longer one is truncated, with a note for the model."""
    max_open_streams: int = named("CHAT_MAX_OPEN_STREAMS", 2000, ge=1, le=100_000)
    """Largest number of open answers. More get 503."""
    max_buffered_bytes: int = named("CHAT_MAX_BUFFERED_BYTES", 262_144, ge=1024, le=64 * MIB)
    """Upstream bytes buffered for a slow client. Above that, reading from the upstream pauses."""
    max_upstream_line_bytes: int = named("CHAT_MAX_UPSTREAM_LINE_BYTES", 8 * MIB, ge=1024, le=64 * MIB)
    """Longest line of an upstream, or largest answer in one JSON object."""
    max_answer_bytes: int = named("CHAT_MAX_ANSWER_BYTES", 64 * MIB, ge=1024, le=1024 * MIB)
    """Largest number of bytes of one answer, as its upstream sends it. A token takes about 300."""
    connect_timeout_s: float = named("CHAT_CONNECT_TIMEOUT_S", 5, gt=0, le=300)
    """Time to connect to the model's server."""
    body_timeout_s: float = named("CHAT_BODY_TIMEOUT_S", 10, gt=0, le=3600)
    """Time for a request's body to arrive."""
    status_timeout_s: float = named("CHAT_STATUS_TIMEOUT_S", 10, gt=0, le=3600)
    """Time to wait for the first event before sending the status. Then NDJSON and SSE start with 200 and pings."""
    keep_alive_s: float = named("CHAT_KEEP_ALIVE_S", 15, gt=0, le=3600)
    """A stream without events for this time gets a ping."""
    first_event_timeout_s: float = named("CHAT_FIRST_EVENT_TIMEOUT_S", 180, gt=0, le=DAY_S)
    """Time for the model's first event."""
    idle_timeout_s: float = named("CHAT_IDLE_TIMEOUT_S", 60, gt=0, le=DAY_S)
    """Time without bytes from the upstream that ends an answer."""
    answer_timeout_s: float = named("CHAT_ANSWER_TIMEOUT_S", 900, gt=0, le=DAY_S)
    """Time for a complete answer."""
    tool_timeout_s: float = named("CHAT_TOOL_TIMEOUT_S", 30, gt=0, le=DAY_S)
    """Time for a tool in Python. Then the model gets an error as its result."""
    write_timeout_s: float = named("CHAT_WRITE_TIMEOUT_S", 30, gt=0, le=3600)
    """A client that reads nothing for this time is disconnected."""
    retries: int = named("CHAT_RETRIES", 1, "0", ge=0, le=10)
    """Largest number of retries of a model that fails before its first token."""
    max_retry_wait_s: float = named("CHAT_MAX_RETRY_WAIT_S", 5, gt=0, le=300)
    """Longest wait before a retry. If a server asks for a longer wait, there is no retry."""
    max_connections: int | None = named("CHAT_MAX_CONNECTIONS", None, "100", ge=1, le=200_000)
    """Largest number of connections to a model's server. Unset: twice CHAT_MAX_OPEN_STREAMS."""
    connection_keep_alive_s: float = named("CHAT_CONNECTION_KEEP_ALIVE_S", 75, gt=0, le=3600)
    """Time that an idle connection to a model's server stays open. Each new one costs a TLS handshake."""
    proxy: SecretStr | None = named("CHAT_PROXY", None, "http://proxy.example:3128")
    """HTTP proxy for models' servers, except those at localhost, 127.0.0.1 and ::1."""
    ca_file: str | None = named("CHAT_CA_FILE", None, "/etc/ssl/our-ca.pem")
    """PEM file of authorities trusted for models' servers, in addition to the system's."""
    mock_tokens_per_s: float = named("CHAT_MOCK_TOKENS_PER_S", 40, "0", ge=0, le=100_000)
    """Speed of the mock model. 0: without a limit."""
    obey_client_environment: bool = named("CHAT_OBEY_CLIENT_ENVIRONMENT", False)
    """Use OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_CUSTOM_HEADERS and HTTP_PROXY for the model's server."""
    log_upstream_messages: bool = named("CHAT_LOG_UPSTREAM_MESSAGES", False)
    """Log the error messages of upstreams, with secrets masked. They may quote a prompt."""

    @field_validator("origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        origins = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(origins, list | tuple) or not all(_ORIGIN.fullmatch(str(origin)) for origin in origins):
            raise ValueError("each is a scheme, a host and, if it is not the default, a port; no path, no star")
        return tuple(map(str, origins))

    @field_validator("models", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return json_object(value) if isinstance(value, str) else value

    @field_validator("proxy")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_server(value.get_secret_value()):
            raise ValueError("not the URL of an HTTP proxy")
        return value

    @classmethod
    def accepted_names(cls) -> set[str]:
        """Return the names that a mapping may contain. Those of the server are ignored."""
        return {*cls.names(), *ServerSettings.names()}

    @classmethod
    def outranked(cls, sources: Iterable[Mapping[str, Any]]) -> Iterable[str]:
        """Return the other settings of models, if a source has a table, because that replaces those of later ones."""
        named: set[str] = set()
        for source in sources:
            named |= _MODELS & source.keys()
            if named & _TABLES:
                return _MODELS - named
        return ()

    @property
    def is_mock(self) -> bool:
        """Return True if no key, no server and no models are set."""
        servers = (self.openai_api_key, self.openai_base_url, self.azure_endpoint, self.models, self.models_file)
        return all(each is None for each in servers)

    @property
    def user_timeout_ms(self) -> int:
        """Return TCP_USER_TIMEOUT for a listening socket: how long to try to send to a client that reads nothing.

        It is 3 seconds longer than `write_timeout_s`, so that the answer ends first and is logged.
        """
        return round((self.write_timeout_s + 3) * 1000)

    @property
    def sent_output_tokens(self) -> int | None:
        """Return the limit to send if a client sends none, or None if the setting has its default value.

        The default is not sent, because servers answer 400 to a limit above their model's: 16,384 for gpt-4o.
        """
        return self.max_output_tokens if "max_output_tokens" in self.model_fields_set else None

    def key(self, name: str) -> SecretStr | None:
        """Return the key in the setting `name`, or in another environment variable or line of `.env`.

        Raises SettingsError for a key that is not valid in a header.
        """
        key = getattr(self, KEYS[name]) if name in KEYS else secret(name)
        if key is not None and not _KEY.fullmatch(key.get_secret_value()):
            raise SettingsError(f"{name}: holds white space, or no plain text; for example {name}=sk-…")
        return key
