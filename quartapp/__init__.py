"""Streaming chat for Quart and Flask projects.

`create_app()` returns an app of its own. `chat_blueprint()` returns a blueprint for an app of yours. README.md links
to all documentation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from quart import Quart
from quart.logging import default_handler

from quartapp.answer.report import AnswerReport
from quartapp.app import ChatApp
from quartapp.blueprint import chat_blueprint
from quartapp.core.errors import ChatError, SettingsError
from quartapp.core.events import (
    Annotation,
    Delta,
    Done,
    Image,
    Reasoning,
    Refusal,
    Start,
    Step,
    ToolApproval,
    ToolCall,
    ToolResult,
    Usage,
)
from quartapp.core.principal import Principal
from quartapp.core.request import ChatRequest
from quartapp.extension import Chat
from quartapp.guards.auth import bearer_token
from quartapp.models.own import Model
from quartapp.routes.replies import handle_errors, render
from quartapp.settings.settings import Settings
from quartapp.stopping import ignore_cancelled_connections
from quartapp.tools.tool import ToolError

__all__ = [
    "Annotation",
    "AnswerReport",
    "Chat",
    "ChatError",
    "ChatRequest",
    "Delta",
    "Done",
    "Image",
    "Model",
    "Principal",
    "Reasoning",
    "Refusal",
    "Settings",
    "SettingsError",
    "Start",
    "Step",
    "ToolApproval",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "Usage",
    "bearer_token",
    "chat_blueprint",
    "create_app",
]

__version__ = "0.1.0"


def create_app(config: Mapping[str, Any] | None = None) -> Quart:
    """Return a new app with the chat's page at `/` and its API below `/api` and `/v1`.

    `config` is copied into `app.config`. Its `CHAT_…` names take precedence over the environment. Apps share no state.

    >>> app = create_app({"CHAT_MODEL": "mock"})
    """
    app = ChatApp("quartapp", static_folder=None)
    app.config.from_mapping({"MAX_CONTENT_LENGTH": None} | dict(config or {}))  # CHAT_MAX_BODY_BYTES is the limit
    app.before_serving(_log_to_stderr)
    app.register_blueprint(chat_blueprint())
    ignore_cancelled_connections(app)
    handle_errors(app, render)
    return app


async def _log_to_stderr() -> None:
    """Log to stderr from the level INFO, unless the process has set up logging before the app starts."""
    logger = logging.getLogger("quartapp")
    if not logger.hasHandlers():
        logger.addHandler(default_handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
