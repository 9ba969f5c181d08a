"""Tools for tests of a project with a chat: the mock model with answers of the test, and clients of each format.

The pytest plugin, the module `pytest_quartapp`, makes fixtures of them.
"""

from __future__ import annotations

from quartapp.testing.answers import AnswerError, ChatAnswer, CompleteToolCall, TruncatedAnswerError
from quartapp.testing.clients import FlaskChatClient, QuartChatClient, chat_client
from quartapp.testing.model import MockModel
from quartapp.testing.received import ModelRequest
from quartapp.testing.serving import ModelServer

__all__ = [
    "AnswerError",
    "ChatAnswer",
    "CompleteToolCall",
    "FlaskChatClient",
    "MockModel",
    "ModelRequest",
    "ModelServer",
    "QuartChatClient",
    "TruncatedAnswerError",
    "chat_client",
]
