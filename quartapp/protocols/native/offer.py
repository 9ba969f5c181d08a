"""The body of `/api/models`: the offered models, and the limits of a request."""

from __future__ import annotations

import msgspec


class OfferedModel(msgspec.Struct):
    """A model that a request may name by its `id`. `is_mock` marks the mock model, which needs no key."""

    id: str
    is_mock: bool


class RequestLimits(msgspec.Struct):
    """The bounds of one request: the settings `CHAT_MAX_...` of the same names."""

    max_body_bytes: int
    max_json_values: int
    max_messages: int
    max_prompt_chars: int
    max_attachments: int
    max_attachment_bytes: int


class Offer(msgspec.Struct):
    """The offered models. Requests without a model go to `default`."""

    default: str
    models: list[OfferedModel]
    limits: RequestLimits
