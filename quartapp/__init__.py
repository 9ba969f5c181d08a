"""Streaming chat for Quart and Flask projects.

`create_app()` makes an app of its own, `chat_blueprint()` a blueprint to drop into one; README.md is the map.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from quart import Quart
from quart.logging import default_handler

from quartapp.app import ChatApp
from quartapp.blueprint import chat_blueprint
from quartapp.core.errors import ChatError, SettingsError
from quartapp.core.events import Annotation, Delta, Done, Image, Reasoning, Refusal, ToolCall, Usage
from quartapp.guards.auth import bearer_token
from quartapp.models.own import Model
from quartapp.protocols.common.messages import ChatRequest
from quartapp.routes.replies import handle_errors, render
from quartapp.settings.settings import Settings
from quartapp.stopping import ignore_cancelled_connections

__all__ = [
    "Annotation",
    "ChatError",
    "ChatRequest",
    "Delta",
    "Done",
    "Image",
    "Model",
    "Reasoning",
    "Refusal",
    "Settings",
    "SettingsError",
    "ToolCall",
    "Usage",
    "bearer_token",
    "chat_blueprint",
    "create_app",
]


def create_app(config: Mapping[str, Any] | None = None) -> Quart:
    """An app that is the chat: its page at `/`, its doors below `/api`.

    `config` goes into `app.config`; its `CHAT_…` names count before the environment. Each call makes an app that
    shares nothing with another.
    """
    app = ChatApp("quartapp", static_folder=None)
    app.config.from_mapping({"MAX_CONTENT_LENGTH": None} | dict(config or {}))  # CHAT_MAX_BODY_BYTES says it
    app.before_serving(_log_to_stderr)
    app.register_blueprint(chat_blueprint())
    ignore_cancelled_connections(app)
    handle_errors(app, render)
    return app


async def _log_to_stderr() -> None:
    """Show the lines of answers, unless the process has set up logging by the time the app starts serving."""
    logger = logging.getLogger("quartapp")
    logger.addFilter(is_no_wrong_setting)
    if not logger.hasHandlers():
        logger.addHandler(default_handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


def is_no_wrong_setting(record: logging.LogRecord) -> bool:
    """Return False for the traceback of a wrong setting, because the server logs its one sentence."""
    return record.exc_info is None or not isinstance(record.exc_info[1], SettingsError)
