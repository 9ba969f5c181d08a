"""The settings as keywords of `Chat`, for type checkers. A test compares them with `Settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class SettingsKeywords(TypedDict, total=False):
    """The names of the fields of `Settings`, with the types of values that a project writes."""

    openai_api_key: str | None
    openai_base_url: str | None
    azure_endpoint: str | None
    azure_api_key: str | None
    azure_api_version: str | None
    azure_deployment: str | None
    models: Mapping[str, Any] | None
    models_file: str | None
    model: str | None
    system_prompt: str | None
    allow_system_role: bool
    origins: Sequence[str] | str
    max_body_bytes: int
    max_json_depth: int
    max_json_values: int
    max_messages: int
    max_prompt_chars: int
    max_attachments: int
    max_attachment_bytes: int
    allow_remote_urls: bool
    allow_file_ids: bool
    max_output_tokens: int
    max_choices: int
    max_tool_steps: int
    max_tool_calls: int
    max_tool_result_chars: int
    max_open_streams: int
    max_buffered_bytes: int
    max_upstream_line_bytes: int
    max_answer_bytes: int
    connect_timeout_s: float
    body_timeout_s: float
    status_timeout_s: float
    keep_alive_s: float
    first_event_timeout_s: float
    idle_timeout_s: float
    answer_timeout_s: float
    tool_timeout_s: float
    write_timeout_s: float
    retries: int
    max_retry_wait_s: float
    max_connections: int | None
    connection_keep_alive_s: float
    proxy: str | None
    ca_file: str | None
    mock_tokens_per_s: float
    obey_client_environment: bool
    log_upstream_messages: bool
